"""The teacher of a run: a larger network, trained before on the same classes, whose answers the smaller one learns."""

from __future__ import annotations

import zipfile
from collections.abc import Set
from pathlib import Path

import keras
import numpy as np

from edgecnn.errors import DataError, UsageError
from edgecnn_training import checkpoint as checkpoints
from edgecnn_training import networks, splits
from edgecnn_training.batches import Teacher
from edgecnn_training.pictures import Floats
from edgecnn_training.run import Run, RunInfo

FILE = "teacher.keras"
"""A run keeps its teacher: pixels, float32 (N, H, W, C) from 0 to 255 → logits."""


def read(info: RunInfo, test: Set[bytes]) -> keras.Model:
    """The network of the run that a recipe names as its teacher, with its normalisation.

    Args:
        info: The run to be taught.
        test: Content hashes of the pictures that it will be tested on.

    Returns:
        Pixels from 0 to 255 → logits.

    Raises:
        DataError: No finished run, or one that has seen the test pictures: it would pass on what it knows of them.
        UsageError: Other labels, or another size or number of channels.
    """
    path = Path(info.recipe.teacher)
    taught = Run.open(path)
    if taught.info.labels != info.labels:
        raise UsageError(
            f"a teacher must know the same classes; {path} has {_few(taught.info.labels)}, the data {_few(info.labels)}"
        )
    ours, theirs = info.input, taught.info.input
    if (ours.height, ours.width, ours.channels) != (theirs.height, theirs.width, theirs.channels):
        raise UsageError(
            f"a teacher must take the pictures that the network takes, {ours.height}x{ours.width} with {ours.channels} "
            f"channels; {path} takes {theirs.height}x{theirs.width} with {theirs.channels}: set --size and --channels"
        )
    known = splits.read_splits(taught.splits)
    seen = sum(known.get(content) in ("train", "validation") for content in test)
    if seen:
        raise DataError(
            f"a teacher must not have seen the pictures that its pupil is tested on; {path} has trained or validated "
            f"on {seen:,} of {len(test):,}: train it on the very same data, of which one picture more makes another "
            "split, with the same --split and split_seed"
        )
    network = networks.load_network(taught, checkpoints.best(taught.checkpoints))
    network.trainable = False
    image = keras.Input((ours.height, ours.width, ours.channels))
    mean, std = taught.info.normalization.mean, taught.info.normalization.std
    scaled = keras.layers.Normalization(mean=mean, variance=[value**2 for value in std])(image)
    return keras.Model(image, network(scaled, training=False))


def load(run: Run) -> Teacher:
    """The teacher that a run keeps.

    Raises:
        DataError: The file is gone or damaged.
    """
    path = run.path / FILE
    try:
        network = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} must hold the run's teacher ({error}): train again into a new --run") from error

    def teacher(pixels: Floats) -> Floats:
        return np.asarray(network.predict_on_batch(pixels), np.float32)

    return teacher


def _few(labels: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, labels[:5]))
    return f"{len(labels)}: {shown}{' …' if len(labels) > 5 else ''}"
