"""Which candidate ships: ordered on validation, tried on test, down to float32.

Every figure here is of pictures the network did not learn from. The order is decided by the validation split, and only
then is the test split looked at, by one candidate after the other until one passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecnn.errors import UsageError
from edgecnn_training.export.bound import CONFIDENCE, upper_bound
from edgecnn_training.pictures import Floats, Indices

FLOAT32, FLOAT16 = "float32", "float16"
TARGETS: Mapping[str, tuple[str, ...]] = {
    "any": ("int8", "int8 mixed", "int8 first float", "int8 percentile", "int8 entropy", "int8 signed", FLOAT16),
    "host": (),
    "pi3": ("int8", "int8 first float", "int8 mixed", "int8 percentile", "int8 entropy", FLOAT16),
    "pi4": ("int8", "int8 first float", "int8 mixed", "int8 percentile", "int8 entropy", FLOAT16),
    "pi5": ("int8 signed", "int8", "int8 percentile", "int8 entropy", "int8 mixed", FLOAT16),
    "gpu": (FLOAT16,),
}
"""For each machine the schemes it may get, the best first; what is not named is not chosen for it.

Million instructions of one inference (conv 5×5×32, pool, conv 5×5×64, pool, dense 1024, 28×28×1; ONNX Runtime 1.31.1,
counted in an emulator, which knows no cache and no memory): Pi 3 and Pi 4 float32 6.12, U8S8 4.66, S8S8 5.15, U8U8
7.06; Pi 5, which has dot products, float32 6.12, S8S8 2.41, U8S8 2.45. On CUDA int8 loses to float. Nothing was
measured on a real board. ``host`` goes by the time measured here and by nothing else. What only `host` may get, on
purpose: ``int8 full``, which an x86 CPU without VNNI computes wrongly (docs/decisions/0010), ``int8 fast``, which is
made of this machine's times, and ``int8 dense``, which holds an operator of ONNX Runtime's own whose speed on ARM
nobody has measured.
"""

NEAR, SHARE_NEAR = 0.15, 0.9
"""On this share of the pictures all scores must be so near to Keras's."""

_FASTER = 0.95  # a candidate must take less than this share of another's time to count as faster: below is noise
_WORTH = 0.9  # a file that takes more than this share of float32's bytes is not worth another number format
_CLOSE_BYTES = 1.02  # files within two percent count as equally large


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a candidate before the test split is looked at.

    Attributes:
        name: Its scheme.
        size_bytes: Of its file.
        top1: On validation.
        loss: Of top-1 on validation against float32, as a share of the pictures; negative where it gains.
        milliseconds: Of one picture here.
    """

    name: str
    size_bytes: int
    top1: float
    loss: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Loss:
    """What a candidate loses against float32 on pictures that nothing was chosen on.

    Attributes:
        worse: Pictures that only float32 gets right.
        better: Pictures that only the candidate gets right.
        n: All of them.
        confidence: Of `upper`.
        upper: Upper bound of the loss, as a share of the pictures.
    """

    worse: int
    better: int
    n: int
    confidence: float
    upper: float

    @classmethod
    def of(cls, exact: Floats, other: Floats, truth: Indices, confidence: float = CONFIDENCE) -> Loss:
        """Compare scores, float32 ``(N, classes)``, on the same pictures."""
        right, also = exact.argmax(1) == truth, other.argmax(1) == truth
        worse, better = int((right & ~also).sum()), int((also & ~right).sum())
        return cls(worse, better, len(truth), confidence, upper_bound(worse, better, len(truth), confidence))

    @property
    def measured(self) -> float:
        """Share of the pictures; negative where the candidate is the better one."""
        return (self.worse - self.better) / self.n

    def told(self, split: str) -> str:
        """In words, in percentage points of the pictures of a split."""
        change = "gained" if self.measured < 0 else "lost"
        return (
            f"{change} {abs(self.measured) * 100:.2f} points on {split}; with {self.n:,} pictures no more than "
            f"{max(self.upper, 0) * 100:.1f} points is proven"
        )


def order(
    exact: Standing, others: Sequence[Standing], target: str, max_drop: float, *, asked: bool = False
) -> list[Standing]:
    """The candidates that may be tried on test, the most wanted first; float32 follows them all.

    Args:
        exact: float32.
        others: All other candidates.
        target: One of `TARGETS`.
        max_drop: Percentage points of top-1 they may lose, on validation too.
        asked: Whether their precision was asked for by name; then they need be neither faster nor smaller.
    """
    fit = [one for one in others if one.loss * 100 <= max_drop + 1e-9]
    if target == "host":
        faster = [one for one in fit if asked or one.milliseconds < _FASTER * exact.milliseconds]
        best = min((one.milliseconds for one in faster), default=0.0)

        def fast(one: Standing) -> tuple[float, float]:
            return (0.0, -one.top1) if _FASTER * one.milliseconds <= best else (one.milliseconds, 0.0)

        return sorted(faster, key=fast)
    allowed = TARGETS[target]
    worth = math.inf if asked else _WORTH * exact.size_bytes
    fit = [one for one in fit if one.name in allowed and one.size_bytes <= worth]
    if not fit:
        return []
    smallest = min(one.size_bytes for one in fit)

    def wanted(one: Standing) -> tuple[bool, float, int]:
        return one.size_bytes > _CLOSE_BYTES * smallest, -one.top1, allowed.index(one.name)

    return sorted(fit, key=wanted) if target == "any" else sorted(fit, key=lambda one: allowed.index(one.name))


def why_not(one: Standing, exact: Standing, target: str, max_drop: float, *, asked: bool = False) -> str:
    """Why a candidate is not among those `order` gives."""
    if one.loss * 100 > max_drop + 1e-9:
        why = "; 8 bits overflow on x86 without VNNI" if one.name == "int8 full" else ""
        return f"loses {one.loss * 100:.2f} points on validation{why}"
    if target == "host":
        return "" if asked or one.milliseconds < _FASTER * exact.milliseconds else "not faster here"
    if one.name not in TARGETS[target]:
        return f"not for --target {target}"
    return "hardly smaller than float32" if not asked and one.size_bytes > _WORTH * exact.size_bytes else ""


def passes(loss: Loss, max_drop: float, *, prove: bool) -> bool:
    """Whether the measured loss, or with `prove` its upper bound, is at most `max_drop` percentage points."""
    return (loss.upper if prove else loss.measured) * 100 <= max_drop + 1e-9


def confidence_of_each(candidates: int) -> float:
    """Confidence with which each of so many candidates must be proven, for all of them together to hold by 95 %."""
    return 1 - (1 - CONFIDENCE) / max(1, candidates)


def pictures_needed(max_drop: float, candidates: int) -> int:
    """How many test pictures without a single difference prove a loss within `max_drop` percentage points."""
    if max_drop <= 0:
        raise UsageError("--prove needs a --max-drop above 0: that nothing at all is lost cannot be proven")
    return math.ceil(math.log(1 - confidence_of_each(candidates)) / math.log1p(-min(max_drop / 100, 1 - 1e-12)))


def disagreement(ours: Floats, keras_says: Floats) -> str:
    """In what a quantised file and Keras differ on real pictures; empty where they agree on nearly all of them.

    Honest int8 is within 0.15 of Keras on every one of 400 hand signs and CIFAR-10 pictures, and calibrated with
    pixels of 0 to 1 instead of 0 to 255 on 42 and 44 % of them; swapped channels and batch normalisation in training
    mode lie far below 90 % too. Generated pictures do not tell them apart: where nothing was calibrated for them,
    honest int8 differs as well.

    Args:
        ours: Scores, float32 ``(N, classes)``.
        keras_says: Keras's scores of the same pictures.
    """
    near = np.abs(ours - keras_says).max(1) <= NEAR
    if near.mean() >= SHARE_NEAR:
        return ""
    return (
        f"within {NEAR:g} of Keras's scores on {near.mean() * 100:.0f} % of {len(near):,} pictures only, where "
        f"{SHARE_NEAR * 100:.0f} % are needed"
    )


def agreement(exact: Floats, other: Floats) -> float:
    """Share of the pictures that get the same label from both."""
    return float(np.mean(exact.argmax(1) == other.argmax(1)))
