"""What a data set yields: one `Example` for each picture, one `Rejected` for each thing that is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "validation", "test")
"""The three splits, in the order of their codes 0, 1, 2."""

SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names under which people keep their splits, in lower case, and what we call each."""


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with its label.

    Attributes:
        image: The bytes of a picture file, or a decoded uint8 array ``(H, W, C)``.
        label: Its class.
        name: Its path within the data set, with ``/``; unique.
        split: ``"train"``, ``"validation"``, ``"test"``, or None where the data set gives no split.
        group: Pictures of one group never fall on two sides of a split; None where each stands alone.
    """

    image: bytes | npt.NDArray[np.uint8]
    label: str
    name: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something in a data set that is left out of training, and why.

    Attributes:
        name: Its path within the data set.
        reason: One line that a user understands.
    """

    name: str
    reason: str


Item: TypeAlias = Example | Rejected
