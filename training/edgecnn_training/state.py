"""Where a training stood when a checkpoint was written: its ``state.json``, and what of it can be right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

_MOST = 2**53
"""Largest whole number that is taken from a file: no training counts further, and a float still holds it."""


@dataclass(frozen=True, slots=True)
class SoFar:
    """What the batches of an epoch came to, which a checkpoint keeps in the middle of one.

    All batches have one size, so that the mean over an epoch follows from the means over its parts.

    Attributes:
        batches: How many there were.
        loss: Their mean loss.
        top1: Their mean accuracy, 0 to 1.
        seconds: How long they took.
    """

    batches: int = 0
    loss: float = 0.0
    top1: float = 0.0
    seconds: float = 0.0

    def then(self, batches: int, logs: Mapping[str, float], seconds: float) -> SoFar:
        """With more batches, of which Keras's `logs` have the means."""
        whole = self.batches + batches
        share = batches / max(whole, 1)
        loss, top1 = (
            own + share * (logs.get(name, 0.0) - own) for name, own in (("loss", self.loss), ("top1", self.top1))
        )
        return SoFar(whole, float(loss), float(top1), self.seconds + seconds)


@dataclass(frozen=True, slots=True)
class State:
    """Where training stood.

    Attributes:
        step: Batches seen since the beginning of the run.
        epoch: Whole epochs done.
        validation_top1: Accuracy on the validation split, 0 to 1; None in the middle of an epoch, or without one.
        sha256: Of ``model.keras``, in hex.
        seeds: State of each of the network's random generators (dropout), which Keras's own format leaves out.
        recipe: The recipe it was trained by; None in checkpoints that do not say.
        averaged_sha256: Of ``averaged.keras``, in hex; None where no average of the weights is kept.
        settled: What else was settled for the run when it began, as `settled.of` has it; None where it is not said.
        so_far: In the middle of an epoch, its batches; None otherwise, and where it is not said.
    """

    step: int
    epoch: int
    validation_top1: float | None
    sha256: str
    seeds: tuple[tuple[int, ...], ...]
    recipe: Mapping[str, object] | None = None
    averaged_sha256: str | None = None
    settled: Mapping[str, object] | None = None
    so_far: SoFar | None = None


def read(path: Path) -> State:
    """The state in a file.

    Raises:
        ValueError: Not as a training writes it; the message says what is wrong.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError("there is none") from error
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from error
    _check(isinstance(values, dict), "it", "a JSON object", values)
    top1, averaged, seeds = values.get("validation_top1"), values.get("averaged_sha256"), values.get("seeds")
    _check(top1 is None or (_is_number(top1) and 0 <= top1 <= 1), "validation_top1", "0 to 1, or null", top1)
    _check(_is_hash(values.get("sha256")), "sha256", "64 hexadecimal digits", values.get("sha256"))
    _check(averaged is None or _is_hash(averaged), "averaged_sha256", "64 hexadecimal digits, or null", averaged)
    fine = isinstance(seeds, list) and all(isinstance(seed, list) and all(map(_is_count, seed)) for seed in seeds)
    _check(fine, "seeds", "lists of whole numbers", seeds)
    for name in ("recipe", "settled"):
        found = values.get(name)
        _check(found is None or isinstance(found, dict), name, "an object, or null", found)
    return State(
        step=_count(values, "step"),
        epoch=_count(values, "epoch"),
        validation_top1=top1,
        sha256=values["sha256"],
        seeds=tuple(tuple(seed) for seed in cast("list[list[int]]", seeds)),
        recipe=values.get("recipe"),
        averaged_sha256=averaged,
        settled=values.get("settled"),
        so_far=_so_far(values.get("so_far")),
    )


def _so_far(values: object) -> SoFar | None:
    if values is None:
        return None
    fine = isinstance(values, dict) and set(values) == set(SoFar.__slots__) and all(map(_is_number, values.values()))
    _check(fine, "so_far", f"numbers {', '.join(SoFar.__slots__)}, or null", values)
    numbers = cast("dict[str, float]", values)
    return SoFar(_count(numbers, "batches"), numbers["loss"], numbers["top1"], numbers["seconds"])


def _count(values: Mapping[str, object], name: str) -> int:
    found = values.get(name)
    _check(_is_count(found), name, "a whole number, 0 or more", found)
    return cast(int, found)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(cast(float, value)) <= _MOST and math.isfinite(cast(float, value))


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _check(holds: bool, what: str, rule: str, received: object) -> None:
    if not holds:
        raise ValueError(f"{what} must be {rule}; received {str(received)[:40]!r}")
