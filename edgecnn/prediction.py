"""What a classifier says of one picture, and what goes to the sinks of it."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecnn.errors import ModelError, UsageError

SINK_OPTIONS = ("only", "every")
"""Options that all sinks have; `thinning` takes them."""

Scores = npt.NDArray[np.float32]
"""float32 probabilities; ``(C,)`` for one picture or ``(N, C)`` for several, rows sum to 1."""

Maps = npt.NDArray[np.float32]
"""float32 class activation maps: ``(h, w)`` of one label, ``(h, w, C)`` of one picture, ``(N, h, w, C)`` of several."""

_FAINT = 0.01  # a place must speak for a label at least so much of what the strongest place says for or against it


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a picture that a network saw, in the picture's own pixels; beyond its edges where it was padded."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where in a picture the network saw what spoke for each label, and against it.

    Attributes:
        maps: float32 ``(h, w, C)``: what each place of the last feature map adds to each label's logit. Their mean over
            all places and the label's bias are the logit, at the temperature of the scores.
        region: The part of the picture over which the places lie, evenly: each is ``1/h`` of its height high.
    """

    maps: Maps
    region: Region


def heat(evidence: Maps) -> Maps:
    """One label's map as it is drawn: 0 where a place does not speak for the label, 1 where it speaks for it most.

    That is the normalisation of Keras's Grad-CAM, ``max(x, 0) / max(x)``; but where no place says as much for the
    label as a hundredth of what one says against it, the map stays dark, for there is nothing but rounding to see.

    Args:
        evidence: float32 ``(h, w)``.

    Returns:
        float32 ``(h, w)``, 0 to 1.

    Raises:
        ModelError: A place is no number.
    """
    strongest = float(np.abs(evidence).max())
    if not math.isfinite(strongest):
        raise ModelError("an activation map must be of numbers; the model gave some that are none: export it again")
    most = max(float(evidence.max()), _FAINT * strongest)
    shown: Maps = (np.maximum(evidence, 0) / (most or 1.0)).astype(np.float32)
    return shown


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The scores of one picture and the label they speak for.

    Attributes:
        scores: float32 ``(C,)``, one probability per label, in the order of `labels`.
        labels: The model's labels.
        unknown: True where the model's own threshold says that none of the labels can be relied upon; always False for
            a model without a threshold.
        explanation: Where the network looked; None where nobody asked for it.
    """

    scores: Scores
    labels: tuple[str, ...]
    unknown: bool = False
    explanation: Explanation | None = None

    @property
    def class_index(self) -> int:
        """Index of the highest score; the first one of equals."""
        return int(np.argmax(self.scores))

    @property
    def label(self) -> str:
        """Label with the highest score."""
        return self.labels[self.class_index]

    @property
    def score(self) -> float:
        """The highest score, 0 to 1."""
        return float(self.scores[self.class_index])

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` likeliest labels with their scores, likeliest first; all of them where there are fewer."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return [(self.labels[i], float(self.scores[i])) for i in order]

    @property
    def activation_map(self) -> Maps | None:
        """What each place of the picture added to the logit of `label`, float32 ``(h, w)``; see `explanation`."""
        return None if self.explanation is None else self.activation_map_of(self.label)

    def activation_map_of(self, label: str) -> Maps:
        """What each place of the picture added to the logit of any label, float32 ``(h, w)``.

        Raises:
            UsageError: The model has no such label, or the picture was predicted without an explanation.
        """
        if label not in self.labels:
            raise UsageError(f"label must be one of {', '.join(self.labels)}; received {label!r}")
        if self.explanation is None:
            raise UsageError("an activation map must be asked for: predict with explain=True")
        return self.explanation.maps[:, :, self.labels.index(label)]


Record: TypeAlias = "dict[str, bool | str | float | list[dict[str, str | float]] | dict[str, float]]"
"""One line of JSON; ``record.schema.json`` describes it."""


@dataclass(frozen=True, slots=True)
class Result:
    """A prediction with where its picture came from and what it took.

    Attributes:
        source: The input, as the user named it.
        prediction: What the model says of it.
        model: The model's name and the first 12 digits of its graph's hash, ``signs@0edb4e07aca7``.
        device: Where it was computed.
        ms: Milliseconds spent on this picture: ``decode``, ``preprocess`` and ``inference``, its share of the batch; of
            a live feed also ``capture_to_label`` since the frame's arrival, and where the source knows when the sensor
            was exposed, ``glass_to_label``.
        image: The picture itself, uint8 ``(H, W, C)``, where a sink wants it; otherwise None, to save memory.
        index: Number of the frame in a live feed or a video, from 0; None where the source gives pictures one by one.
        time: Of a live feed, when it was labelled, in seconds since 1970; None for others.
    """

    source: str
    prediction: Prediction
    model: str
    device: str
    ms: Mapping[str, float]
    image: npt.NDArray[np.uint8] | None = None
    index: int | None = None
    time: float | None = None

    @property
    def labelled_at(self) -> str:
        """`time` in UTC, ``2026-11-27T18:33:42.921Z``; empty where there is none."""
        if self.time is None:
            return ""
        at = datetime.datetime.fromtimestamp(self.time, datetime.UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def to_record(self, top: int) -> Record:
        """The JSON record, with the `top` likeliest labels; scores to 6 decimals, times to 3."""
        when: Record = {} if self.index is None else {"index": self.index}
        when |= {} if self.time is None else {"time": self.labelled_at}
        return {
            "type": "prediction",
            "source": _utf8(self.source),
            **when,
            "label": self.prediction.label,
            "score": round(self.prediction.score, 6),
            "top": [{"label": label, "score": round(score, 6)} for label, score in self.prediction.top(top)],
            "unknown": self.prediction.unknown,
            "model": self.model,
            "device": self.device,
            "ms": {name: round(time, 3) for name, time in self.ms.items()},
        }


@dataclass(frozen=True, slots=True)
class ErrorResult:
    """An input that gave no prediction.

    Attributes:
        source: The input, as the user named it.
        error: Why, in one line.
    """

    source: str
    error: str

    def to_record(self) -> Record:
        """The JSON record."""
        return {"type": "error", "source": _utf8(self.source), "error": _utf8(self.error)}


class Sink(Protocol):
    """What a sink plug-in opens; write to it in order, close it as often as you like.

    One that needs more than scores says so in an attribute ``wants``, a collection of words: ``"image"`` for
    `Result.image`, ``"activation_map"`` for `Prediction.explanation`.
    """

    def write(self, result: Result | ErrorResult) -> None:
        """Pass on one result.

        Raises:
            SinkError: It cannot be written.
            BrokenPipeError: Whoever read the results has gone.
        """
        ...

    def close(self) -> None:
        """Write out what is held back and give back the file or connection; idempotent."""
        ...


def _utf8(text: str) -> str:
    """A file name whose bytes are not UTF-8 has lone surrogates in Python; JSON and UTF-8 have no place for them."""
    return text.encode("utf-8", "backslashreplace").decode()
