"""What a person should know of their pictures before the training: too few, uneven, left out, there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from edgecnn_training.dataset import reasons
from edgecnn_training.health import KINDS, Health
from edgecnn_training.loading import Dataset
from edgecnn_training.recipe import Recipe

FEW = 10
"""Pictures of a class; with fewer of them a tenth is less than one picture."""

UNEVEN = 3
"""How many times as many pictures as the smallest class the largest one may have."""

_SHOWN = 5


def advice(data: Dataset) -> list[str]:
    """Lines the user should see about the pictures themselves; none where all is well."""
    counts = Counter(record.label for record in data.records)
    return [*reasons(data.rejected), *_few(data.labels, counts), *_uneven(data.labels, counts), *_grey(data)]


def summary(health: Health) -> str:
    """What was found to be there twice, in a line; empty where nothing was."""
    least = "" if health.complete else "at least "
    parts = [
        ("", health.two_labels, "identical under two labels"),
        ("", sum(health.identical_across.values()), "identical on two sides"),
        (least, health.near_two_labels, "nearly the same under two labels"),
        (least, sum(health.near_across.values()), "nearly the same on two sides"),
        ("", sum(health.identical_within.values()), f"identical within {_listed(health.identical_within)}"),
        (least, sum(health.near_within.values()), f"nearly the same within {_listed(health.near_within)}"),
    ]
    found = [f"{how}{count:,} {what}" for how, count, what in parts if count]
    return f"data: {', '.join(found)} (duplicates.png)" if found else ""


def repetitions(health: Health, split: str) -> list[str]:
    """Lines the user should see about what is there twice; none where all is well.

    Args:
        health: What was found.
        split: ``"given"``, ``"random"`` or ``"ordered"``.
    """
    near = near_on_two_sides(health.near_across, health.near_labels, health.sizes, health.complete, split)
    return [*_two_labels(health), *_flattered(health), *near]


def _two_labels(health: Health) -> list[str]:
    if not health.two_labels:
        return []
    pair = next(pair for pair in health.pairs if pair.kind == KINDS[0])
    return [
        f"{_pictures(health.two_labels)} under two labels, such as {pair.first.name!a} ({pair.first.label!r}) and "
        f"{pair.second.name!a} ({pair.second.label!r}); no network can be right about both: delete or move the wrong "
        "ones, see duplicates.csv"
    ]


def _flattered(health: Health) -> list[str]:
    return [
        f"{count:,} of {health.sizes[split]:,} {split} pictures are identical to ones on a side nearer to training: "
        f"the {split} accuracy is flattered; delete them on one side, see duplicates.csv"
        for split, count in health.identical_across.items()
    ]


def early_stop(recipe: Recipe) -> list[str]:
    """A line where stopping early cuts off what the schedule is for; none otherwise."""
    if not recipe.patience or recipe.schedule not in ("one-cycle", "cosine"):
        return []
    return [
        f"patience = {recipe.patience} may stop the training before the low learning rates at the end of "
        f"{recipe.schedule!r}, to which it owes much of its accuracy: fewer --epochs shorten it better, or add "
        "--set schedule=constant"
    ]


def near_on_two_sides(
    across: Mapping[str, int], labels: Mapping[str, int], sizes: Mapping[str, int], complete: bool, split: str
) -> list[str]:
    """A line about held-out pictures that are nearly the same as one nearer to training; none where there is none.

    Args:
        across: How many of each split.
        labels: The most frequent labels of these, the most frequent one first.
        sizes: All pictures of each split.
        complete: Whether all pictures were compared.
        split: ``"given"``, ``"random"`` or ``"ordered"``.
    """
    count = sum(across.values())
    if not count:
        return []
    label, most = next(iter(labels.items()), ("", 0))
    share = f", mostly of {label!r}," if 2 * most > count else ""
    remedy = {
        "given": "keep each scene on one side",
        "random": "--split ordered, or a group for each scene in a manifest, keeps them together",
        "ordered": "a group for each scene in a manifest keeps them together",
    }[split]
    least = "" if complete else "at least "
    held = sum(size for name, size in sizes.items() if name != "train")
    return [
        f"{least}{count:,} of {held:,} held-out pictures{share} are nearly the same as one on another side: look at "
        f"duplicates.png; simple shapes are honestly alike, frames of a video or a burst flatter the accuracy: {remedy}"
    ]


def _pictures(count: int) -> str:
    return "1 picture stands" if count == 1 else f"{count:,} different pictures stand"


def _listed(words: Collection[str]) -> str:
    """``train``, ``train and test``, ``train, validation and test``."""
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


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
        f"uneven classes: {largest!r} has {counts[largest]:,} pictures, {smallest!r} {counts[smallest]:,}; the network "
        "leans to the large ones, and the accuracy is mostly theirs: add pictures of the small ones, or show them more "
        "often with --set balance=1"
    ]


def _grey(data: Dataset) -> list[str]:
    grey, count = sum(record.grey for record in data.records), len(data.records)
    if data.images.shape[3] == 1 or grey == 0:
        return []
    if grey == count:
        return ["the pictures are grey and become RGB, three times the same: the network takes colours"]
    return [
        f"{grey:,} of {count:,} pictures are grey and become RGB; if one class has more of them than another, the "
        "network may go by that: --channels 1 makes all of them grey"
    ]
