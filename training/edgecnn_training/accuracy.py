"""Accuracy with its interval, per class and as a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgecnn_training.pictures import Floats, Images, Indices

Counts = npt.NDArray[np.int64]
Scorer: TypeAlias = Callable[[Images], Floats]
"""uint8 ``(N, H, W, C)`` → probabilities, float32 ``(N, classes)``."""

_MANY_CLASSES = 200  # the matrix of 9,000 classes is 81 million numbers
Z95 = 1.959963984540054  # the standard normal distribution's 97.5 % point


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How a classifier did on labelled pictures.

    Attributes:
        labels: Names of the classes.
        confusion: int64 ``(C, C)``: how often a picture of the row's class was given the column's label.
    """

    labels: tuple[str, ...]
    confusion: Counts

    @property
    def n(self) -> int:
        """Pictures."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Pictures that were given their own label."""
        return int(np.trace(self.confusion))

    @property
    def top1(self) -> float:
        """Share of the pictures that were given their own label, 0 to 1."""
        return self.correct / self.n

    @property
    def macro(self) -> float:
        """Mean of the classes' recalls, 0 to 1: every class counts alike, however few pictures it has."""
        own = self.confusion.sum(1)
        present = own > 0
        return float((np.diag(self.confusion)[present] / own[present]).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `top1`."""
        return wilson(self.correct, self.n)

    def per_class(self) -> list[ClassResult]:
        """Each class's counts; classes without a picture included."""
        own, given, right = self.confusion.sum(1), self.confusion.sum(0), np.diag(self.confusion)
        return [ClassResult(label, int(own[i]), int(right[i]), int(given[i])) for i, label in enumerate(self.labels)]

    def to_record(self) -> dict[str, object]:
        """As JSON: top1, macro, n, correct, interval, per class, and up to 200 classes the confusion matrix."""
        return {
            "top1": self.top1,
            "macro": self.macro,
            "n": self.n,
            "correct": self.correct,
            "interval": list(self.interval),
            "labels": list(self.labels),
            "per_class": [
                {"label": c.label, "n": c.n, "correct": c.correct, "recall": c.recall, "precision": c.precision}
                for c in self.per_class()
            ],
        } | ({"confusion": self.confusion.tolist()} if len(self.labels) <= _MANY_CLASSES else {})


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class of an `Evaluation`.

    Attributes:
        label: Its name.
        n: Pictures of the class.
        correct: Those given the class's label.
        given: Pictures of any class given this label.
    """

    label: str
    n: int
    correct: int
    given: int

    @property
    def recall(self) -> float | None:
        """Share of the class's pictures that were recognised; None without pictures."""
        return self.correct / self.n if self.n else None

    @property
    def precision(self) -> float | None:
        """Share of the pictures given this label that deserve it; None where none was given it."""
        return self.correct / self.given if self.given else None


def evaluate(labels: tuple[str, ...], truth: Indices, predicted: Indices) -> Evaluation:
    """Count predictions against the truth.

    Args:
        labels: Names of the classes.
        truth: int64 ``(N,)``, each picture's class.
        predicted: int64 ``(N,)``, the class it was given.
    """
    size = len(labels)
    cells = np.bincount(truth * size + predicted, minlength=size * size)
    return Evaluation(labels, cells.reshape(size, size).astype(np.int64))


def in_batches(
    scorer: Scorer, images: Images, rows: Indices, *, size: int = 256, done: Callable[[int], None] | None = None
) -> Floats:
    """Scores of many pictures, some at a time.

    Args:
        scorer: Gives the scores of some pictures.
        images: uint8 ``(M, H, W, C)``, may be memory-mapped.
        rows: int64 ``(N,)``: which of them.
        size: Pictures at a time.
        done: Called with the number of pictures after each time.

    Returns:
        float32 ``(N, classes)``.
    """
    parts = []
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        parts.append(scorer(np.asarray(images[chosen])))
        if done:
            done(len(chosen))
    return np.concatenate(parts)


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
