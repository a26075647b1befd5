"""Pictures of a cached data set as a network takes them, and how their pixels are normalised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
"""uint8 ``(N, H, W, C)``."""
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
LARGEST, SMALLEST_STD = 1e6, 1e-6
"""Bounds of a mean and of a deviation that can be right: pixels are 0 to 255, and a million million of them that are
all alike but for one have a deviation of 1e-6."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """What is done to pixels before the network: ``(image - mean) / std``, per channel, on values 0 to 255.

    Attributes:
        mean: One per channel.
        std: One per channel, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Images | Floats) -> Floats:
        """uint8 or float32 ``(N, H, W, C)`` → float32 of the same shape."""
        scale = np.float32(1) / np.asarray(self.std, np.float32)
        return (images.astype(np.float32, copy=False) - np.asarray(self.mean, np.float32)) * scale


def read_normalization(values: object, channels: int) -> Normalization:
    """A normalisation from JSON, ``{"mean": [...], "std": [...]}``.

    Args:
        values: What was read.
        channels: How many values mean and std must have.

    Raises:
        ValueError: It is none that pixels can be given to the network with; the message names the rule.
    """
    if not isinstance(values, dict):
        raise ValueError(f"normalization must be an object with mean and std; received {str(values)[:40]!r}")
    found: dict[str, tuple[float, ...]] = {}
    for name, low in (("mean", -LARGEST), ("std", SMALLEST_STD)):
        numbers = values.get(name)
        if not isinstance(numbers, list) or len(numbers) != channels:
            raise ValueError(f"{name} must be a list with a number for each of {channels} channels")
        for number in numbers:
            if type(number) not in (int, float) or not low <= number <= LARGEST:
                raise ValueError(f"each {name} must be {low:g} to {LARGEST:g}; received {str(number)[:40]!r}")
        found[name] = tuple(map(float, numbers))
    return Normalization(found["mean"], found["std"])


@dataclass(frozen=True, slots=True)
class Pictures:
    """Some pictures of a cached data set, with their classes.

    Attributes:
        images: The whole cache, uint8 ``(M, H, W, C)``, memory-mapped.
        rows: int64 ``(N,)``: which rows of the cache these pictures are.
        class_index: int64 ``(N,)``: index of each one's label.
    """

    images: Images
    rows: Indices
    class_index: Indices

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: Indices) -> Images:
        """The chosen pictures, copied: uint8 ``(len(chosen), H, W, C)``."""
        return np.asarray(self.images[self.rows[chosen]])


def measure_normalization(pictures: Pictures, *, chunk: int = 4096) -> Normalization:
    """Mean and standard deviation of each channel over `pictures`; a constant channel counts as std 1.

    Read in chunks, exact: sums of uint8 values and of their squares fit a 64-bit integer.
    """
    channels = pictures.images.shape[3]
    total, squares, count = np.zeros(channels, np.int64), np.zeros(channels, np.int64), 0
    for start in range(0, len(pictures), chunk):
        values = pictures.take(np.arange(start, min(start + chunk, len(pictures)))).reshape(-1, channels)
        values = values.astype(np.int64)
        total, squares, count = total + values.sum(0), squares + (values**2).sum(0), count + len(values)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return Normalization(tuple(map(float, mean)), tuple(float(s) if s > 0 else 1.0 for s in std))


def same_pixels(images: Images) -> Indices:
    """For each picture the first one with the very same pixels, its own index where it is the first: int64 ``(N,)``."""
    first: dict[bytes, int] = {}
    rows = np.asarray(images)  # a memory map makes an object of its own for each row
    found = (first.setdefault(hashlib.sha256(row).digest(), i) for i, row in enumerate(rows))
    return np.fromiter(found, np.int64, len(rows))
