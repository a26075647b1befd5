"""``predictions.csv``: what a network said of each picture, the mistakes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecnn.errors import SinkError
from edgecnn_training.dataset import write_csv
from edgecnn_training.pictures import Floats, Indices

NAME = "predictions.csv"
HEADER = ("name", "split", "label", "given", "score", "unknown")


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of the pictures of one split.

    Attributes:
        split: Its name.
        names: Each picture's name within the data.
        truth: int64 ``(N,)``: each one's class.
        scores: Calibrated probabilities, float32 ``(N, classes)``.
    """

    split: str
    names: Sequence[str]
    truth: Indices
    scores: Floats


def write(path: Path, labels: Sequence[str], parts: Sequence[Said], threshold: float | None) -> None:
    """Write the list: all mistakes, the surest first, then all other pictures in the data's order.

    Args:
        path: The CSV file, written under a temporary name first.
        labels: Names of the classes.
        parts: The pictures.
        threshold: Scores below it are unknown; None leaves that column empty.

    Raises:
        SinkError: The file cannot be written.
    """
    rows = [row for part in parts for row in _rows(part, labels, threshold)]
    rows.sort(key=lambda row: (row[2] == row[3], -float(row[4]) if row[2] != row[3] else 0.0))
    try:
        write_csv(path, HEADER, rows)
    except OSError as error:
        raise SinkError(
            f"the list of predictions must be written to {path}: {error.strerror}; free some space or name another file"
        ) from error


def _rows(part: Said, labels: Sequence[str], threshold: float | None) -> list[tuple[str, str, str, str, str, str]]:
    given, sure = part.scores.argmax(1), part.scores.max(1)
    unknown = [""] * len(sure) if threshold is None else np.where(sure < np.float32(threshold), "yes", "no").tolist()
    return [
        (name, part.split, labels[truth], labels[said], f"{score:.4f}", rejected)
        for name, truth, said, score, rejected in zip(
            part.names, part.truth.tolist(), given.tolist(), sure.tolist(), unknown, strict=True
        )
    ]
