"""Which seeds a card's self-test asks about, and what the file that ships says of their pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgecnn.card import InputSpec
from edgecnn.self_test import SelfTest, picture_of
from edgecnn_training.pictures import Floats, Images

COUNT, COUNT_LARGE = 12, 8
"""Pictures of a self-test; fewer where one has more than `_LARGE` pixels and takes longer: it runs at each load."""

_TRIED, _FEWEST = 1000, 100
_PIXELS = 64 * 64  # larger pictures cost more: fewer of them are tried
_LARGE = 48 * 48
_BATCH = 50
_MIDDLE, _MARGIN, _SATURATED = 0.6, 0.2, 0.9

Scorer = Callable[[Images], Floats]


def self_test(scores: Scorer, spec: InputSpec) -> SelfTest:
    """Choose pictures that tell much of a file, and keep what it says of them.

    Of a thousand seeds those are taken whose highest score is neither low nor saturated and well above the next one,
    each label in turn, so that every one that can be reached is asked for.

    Args:
        scores: uint8 ``(N, H, W, C)`` → float32 ``(N, classes)``, of the file that ships.
        spec: Size of its pictures.
    """
    tried = min(_TRIED, max(_FEWEST, _TRIED * _PIXELS // (spec.height * spec.width)))
    count = COUNT if spec.height * spec.width <= _LARGE else COUNT_LARGE
    # where any size is taken, even and odd seeds make pictures of another one: as many of each
    groups = [range(0, tried, 2), range(1, tried, 2)] if spec.sizes == "any" else [range(tried)]
    seeds = [seed for group in groups for seed in _best(scores, spec, group, count // len(groups))]
    return SelfTest.of(seeds, np.concatenate([scores(pictures([seed], spec)) for seed in seeds]))


def _best(scores: Scorer, spec: InputSpec, seeds: range, count: int) -> list[int]:
    rows = [scores(pictures(seeds[i : i + _BATCH], spec)) for i in range(0, len(seeds), _BATCH)]
    return [seeds[place] for place in chosen(np.concatenate(rows), count)]


def chosen(scores: Floats, count: int = COUNT) -> list[int]:
    """So many rows of float32 ``(N, classes)`` that a self-test is made of, best first."""
    ordered = np.sort(scores, axis=1)
    highest, margin = ordered[:, -1], ordered[:, -1] - ordered[:, -2]
    badness = np.abs(highest - _MIDDLE) + 1.0 * (margin < _MARGIN) + 1.0 * (highest > _SATURATED)
    label = scores.argmax(1)
    # rank of each picture within its label: all first ones, then all second ones …
    order = np.lexsort((badness, label))
    begins = np.r_[True, label[order][1:] != label[order][:-1]]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - first
    return [int(i) for i in np.lexsort((badness, rank, badness > 1))[:count]]


def pictures(seeds: Sequence[int], spec: InputSpec) -> Images:
    """uint8 ``(N, H, W, C)`` of the size that a network takes, or where it takes any, that of these seeds."""
    return np.stack([picture_of(seed, spec) for seed in seeds])
