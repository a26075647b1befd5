"""What a person should know of their pictures before the training: too few, uneven, grey among coloured, left out."""

from __future__ import annotations

from collections import Counter

from edgecnn_training.dataset import reasons
from edgecnn_training.loading import Dataset

FEW = 10
"""Pictures of a class; with fewer of them a tenth is less than one picture."""

UNEVEN = 10
"""How many times as many pictures as the smallest class the largest one may have."""

_SHOWN = 5


def advice(data: Dataset) -> list[str]:
    """Lines the user should see about the pictures themselves; none where all is well."""
    counts = Counter(record.label for record in data.records)
    return [*reasons(data.rejected), *_few(data.labels, counts), *_uneven(data.labels, counts), *_grey(data)]


def _few(labels: tuple[str, ...], counts: Counter[str]) -> list[str]:
    few = [f"{label!r} {counts[label]}" for label in labels if counts[label] < FEW]
    if not few:
        return []
    shown = ", ".join(few[:_SHOWN]) + (" …" if len(few) > _SHOWN else "")
    return [
        f"fewer than {FEW} pictures: {shown}; little can be learned from so few, and a single one decides what is "
        "measured: add more"
    ]


def _uneven(labels: tuple[str, ...], counts: Counter[str]) -> list[str]:
    largest, smallest = (choose(labels, key=counts.__getitem__) for choose in (max, min))
    if counts[largest] < UNEVEN * counts[smallest]:
        return []
    return [
        f"uneven classes: {largest!r} {counts[largest]:,} pictures, {smallest!r} {counts[smallest]:,}; the accuracy is "
        "mostly that of the large ones: add pictures of the small ones, or show them more often with --set balance=1"
    ]


def _grey(data: Dataset) -> list[str]:
    grey, count = sum(record.grey for record in data.records), len(data.records)
    if data.images.shape[3] == 1 or grey in (0, count):
        return []
    return [
        f"{grey:,} of {count:,} pictures are grey and become RGB; if one class has more of them than another, the "
        "network may go by that: --channels 1 makes all of them grey"
    ]
