"""What a classifier says of one picture, and what goes to the sinks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
"""float32 probabilities; ``(C,)`` for one picture or ``(N, C)`` for several, rows sum to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The scores of one picture and the label they speak for.

    Attributes:
        scores: float32 ``(C,)``, one probability per label, in the order of `labels`.
        labels: The model's labels.
        unknown: True where the model's own threshold says that none of the labels can be relied upon; always False for
            a model without a threshold.
    """

    scores: Scores
    labels: tuple[str, ...]
    unknown: bool = False

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
        ms: Milliseconds spent on this picture: ``decode``, ``preprocess`` and ``inference`` (its share of the batch).
    """

    source: str
    prediction: Prediction
    model: str
    device: str
    ms: Mapping[str, float]

    def to_record(self, top: int) -> Record:
        """The JSON record, with the `top` likeliest labels; scores to 6 decimals, times to 3."""
        return {
            "type": "prediction",
            "source": _utf8(self.source),
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
    """What a sink plug-in opens; write to it in order, close it as often as you like."""

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
