"""Which training pictures set the ranges of an int8 model's activations."""

from __future__ import annotations

import numpy as np

from edgecnn_training.pictures import Indices, Pictures

COUNT = 512
"""Pictures for calibration; ten were enough on a CIFAR-10 network, some hundreds cover rare classes."""


def calibration_rows(train: Pictures, *, count: int = COUNT, seed: int = 0) -> Indices:
    """Rows of the cache to calibrate on: from the training split, as many of each class as there are, evenly.

    Args:
        train: The training split.
        count: How many at most.
        seed: Draws them.

    Returns:
        int64 rows, classes interleaved.
    """
    return train.rows[_evenly(train, count, seed)]


def with_negatives(train: Pictures, *, count: int = COUNT, seed: int = 0) -> Pictures:
    """What to calibrate a network on that was shown negatives too: pictures of the training split, and their negatives.

    Args:
        train: The training split.
        count: How many pictures at most; there are as many negatives.
        seed: Draws them.

    Returns:
        Copies in memory, uint8 ``(2 · count, H, W, C)``.
    """
    chosen = _evenly(train, count, seed)
    images = train.take(chosen)
    both, classes = np.concatenate([images, 255 - images]), train.class_index[chosen]
    return Pictures(both, np.arange(len(both)), np.concatenate([classes, classes]))


def _evenly(train: Pictures, count: int, seed: int) -> Indices:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))
    classes = train.class_index[order]
    # rank of each picture within its class: all first ones, then all second ones …
    rank = np.empty(len(order), np.int64)
    for index in np.unique(classes):
        own = np.flatnonzero(classes == index)
        rank[own] = np.arange(len(own))
    return order[np.argsort(rank, kind="stable")[:count]]
