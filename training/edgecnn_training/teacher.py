"""The teacher of a run: a larger network, trained before on the same classes, whose answers the smaller one learns."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Set
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np

from edgecnn import plugins
from edgecnn.errors import DataError, UsageError
from edgecnn.plugins import is_path
from edgecnn_training import checkpoint as checkpoints
from edgecnn_training import networks, run, screen, splits
from edgecnn_training.batches import Teacher
from edgecnn_training.checkpoint import Checkpoint
from edgecnn_training.finite import is_finite
from edgecnn_training.pictures import Floats
from edgecnn_training.settled import TEACHER, TEACHER_NOTE, noted_teacher

FILE = "teacher.keras"
"""A run keeps its teacher: pixels, float32 (N, H, W, C) from 0 to 255 → logits."""
ARCHITECTURE = "teacher_architecture.py"
"""The file with the architecture of a teacher that has one of its own."""


def read(info: run.RunInfo, test: Set[bytes]) -> tuple[keras.Model, str]:
    """The network of the run that a recipe names as its teacher, with its normalisation.

    Args:
        info: The run to be taught.
        test: Content hashes of the pictures that it will be tested on.

    Returns:
        Pixels from 0 to 255 → logits, and the architecture of the teacher's run.

    Raises:
        DataError: No run, or one that has seen the test pictures: it would pass on what it knows of them.
        UsageError: Other labels, or another size or number of channels.
    """
    path = Path(info.recipe.teacher)
    taught = run.Run.open(path)
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
    _, network = networks.load_best(taught)
    if told := networks.unfinished(taught):
        screen.say(f"note: the teacher {path} is not finished, {told}")
    if not is_finite(network):
        raise DataError(f"a teacher's weights must be finite numbers; some of {path} are not: train it again")
    network.trainable = False
    image = keras.Input((ours.height, ours.width, ours.channels))
    mean, std = taught.info.normalization.mean, taught.info.normalization.std
    scaled = keras.layers.Normalization(mean=mean, variance=[value**2 for value in std])(image)
    return keras.Model(image, network(scaled, training=False)), taught.info.recipe.arch


def keep(network: keras.Model, arch: str, folder: Path) -> None:
    """Write a teacher into a run, with what a training that goes on compares and needs.

    Args:
        network: What `read` gave.
        arch: The architecture of the teacher's own run. A file is kept too, since Keras rebuilds its layers from it.
        folder: The run's directory.
    """
    network.save(folder / FILE)
    hashes = {"sha256": checkpoints.sha256(folder / FILE)}
    if is_path(arch):
        shutil.copyfile(arch, folder / ARCHITECTURE)
        hashes["architecture_sha256"] = checkpoints.sha256(folder / ARCHITECTURE)
    run.write_json(folder / TEACHER_NOTE, hashes)


def load(pupil: run.Run, newest: Checkpoint | None) -> Teacher:
    """The teacher that a run keeps.

    Args:
        pupil: The run.
        newest: The checkpoint it goes on from, which has noted the teacher's hashes too.

    Raises:
        DataError: A file is gone, damaged, or not the one that the run began with.
    """
    path, architecture, noted = pupil.path / FILE, pupil.path / ARCHITECTURE, noted_teacher(pupil)
    settled = newest.state.settled if newest is not None else None
    then = noted if settled is None else settled.get(TEACHER)
    if noted != then:
        _refuse(pupil.path / TEACHER_NOTE)
    for file, key in ((path, "sha256"), (architecture, "architecture_sha256")):
        if noted is not None and key in noted and (not file.is_file() or checkpoints.sha256(file) != noted[key]):
            _refuse(file)
    if architecture.is_file():
        plugins.load(networks.ARCHITECTURES, str(architecture))
    try:
        network = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} must hold the run's teacher ({error}): train again into a new --run") from error

    def teacher(pixels: Floats) -> Floats:
        return np.asarray(network.predict_on_batch(pixels), np.float32)

    return teacher


def _refuse(path: Path) -> NoReturn:
    raise DataError(
        f"a run must go on with the teacher it began with; {path} is gone or another one than then: put it back, or "
        "train again into a new --run"
    )


def _few(labels: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, labels[:5]))
    return f"{len(labels)}: {shown}{' …' if len(labels) > 5 else ''}"
