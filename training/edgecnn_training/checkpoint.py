"""Checkpoints of a run: a folder each, complete or not there at all.

``checkpoints/step-000421/`` holds ``model.keras`` (network, weights, optimiser; Keras opens it), ``averaged.keras``
where the recipe averages the weights, and ``state.json``. A checkpoint is written under a temporary name and then
renamed, so that a crash leaves the ones before it as they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from edgecnn.errors import DataError
from edgecnn_training.averaging import Weights, swapped
from edgecnn_training.state import SoFar, State
from edgecnn_training.state import read as read_state

_PREFIX = "step-"
_KEEP = 2  # the newest ones; the best one stays beside them


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint on disk.

    Attributes:
        path: Its folder.
        state: Where training stood.
    """

    path: Path
    state: State

    @property
    def model_path(self) -> Path:
        """The network, its weights and its optimiser, in Keras's own format."""
        return self.path / "model.keras"

    @property
    def averaged_path(self) -> Path:
        """The network with the averaged weights, where `State.averaged_sha256` says that there is one."""
        return self.path / "averaged.keras"

    def load(self) -> keras.Model:
        """The network for use, uncompiled: with the averaged weights where there are some.

        Raises:
            DataError: The file is not the one that was saved, or holds layers that Keras does not know.
        """
        self.check()
        return load_model(self.averaged_path if self.state.averaged_sha256 else self.model_path)

    def restore(self, model: keras.Model) -> None:
        """Load weights and optimiser into a compiled and built model of the same network.

        Raises:
            DataError: The file is not the one that was saved.
        """
        self.check()
        try:
            model.load_weights(self.model_path)
            for variable, seed in zip(_seeds(model), self.state.seeds, strict=True):
                variable.assign(np.array(seed, variable.dtype))
        except (ValueError, TypeError, KeyError, OverflowError, RuntimeError, zipfile.BadZipFile) as error:
            why = str(error).strip().partition("\n")[0]
            raise DataError(f"{self.path} must fit the run's network ({why}): train again into a new --run") from error

    def check(self) -> None:
        """Compare the file with its hash.

        Raises:
            DataError: They differ.
        """
        path = self.changed_file()
        if path is not None:
            raise DataError(
                f"a checkpoint must be as it was saved; {path} is damaged: "
                f"delete the folder {self.path}; the checkpoint before it, if there is one, is then used"
            )

    def changed_file(self) -> Path | None:
        """The file that is gone or has another hash than when it was saved; None where all is well."""
        for path, expected in ((self.model_path, self.state.sha256), (self.averaged_path, self.state.averaged_sha256)):
            if expected is not None and (not path.is_file() or sha256(path) != expected):
                return path
        return None


@dataclass(frozen=True, slots=True)
class Damaged:
    """A folder that should hold a checkpoint and does not.

    Attributes:
        path: The folder.
        why: What is wrong with it.
    """

    path: Path
    why: str


def load_model(path: Path) -> keras.Model:
    """A network in Keras's own format, uncompiled.

    Raises:
        DataError: It holds layers that Keras does not know.
    """
    try:
        return keras.models.load_model(path, compile=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path} must hold layers that Keras can rebuild: decorate the architecture's own ones with "
            f"@keras.saving.register_keras_serializable() and train again ({str(error).strip().splitlines()[0]})"
        ) from error


def save(
    folder: Path,
    model: keras.Model,
    *,
    step: int,
    epoch: int,
    validation_top1: float | None,
    recipe: Mapping[str, object] | None = None,
    averaged: Weights | None = None,
    settled: Mapping[str, object] | None = None,
    so_far: SoFar | None = None,
) -> Checkpoint:
    """Write a checkpoint of `model` and delete those no longer needed.

    Args:
        folder: The run's folder of checkpoints.
        model: Compiled model.
        step: Batches seen.
        epoch: Whole epochs done.
        validation_top1: Accuracy on the validation split, 0 to 1.
        recipe: The recipe's keys, so that a resumed run is not trained by another one.
        averaged: The averaged weights, for use; those of `model` are the ones to go on with.
        settled: What else was settled when the run began, for the same reason.
        so_far: In the middle of an epoch, what its batches came to.

    Raises:
        DataError: The disk is full or cannot be written to; the checkpoints before this one are untouched.
    """
    final = folder / _name(step)
    temporary = folder / f".{final.name}.partial"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        model.save(temporary / "model.keras")
        seeds = tuple(tuple(map(int, np.asarray(variable))) for variable in _seeds(model))
        whole = None
        if averaged is not None:
            with swapped(model, averaged):
                model.save(temporary / "averaged.keras")
            whole = sha256(temporary / "averaged.keras")
        own = sha256(temporary / "model.keras")
        state = State(step, epoch, validation_top1, own, seeds, recipe, whole, settled, so_far)
        (temporary / "state.json").write_text(json.dumps(asdict(state)) + "\n")
        _to_disk(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    except OSError as error:
        raise DataError(f"a checkpoint must be written to {folder}: {error}; free some space, then --resume") from error
    finally:  # Ctrl-C too
        shutil.rmtree(temporary, ignore_errors=True)
    _prune(folder)
    return Checkpoint(final, state)


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """All complete checkpoints of a run, oldest first."""
    return _sorted_out(folder)[0]


def damaged(folder: Path) -> list[Damaged]:
    """The folders of a run's checkpoints that tell no state that can be right, oldest first."""
    return _sorted_out(folder)[1]


def newest_whole(folder: Path) -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest checkpoint that is as it was saved, and those after it, which are not, the newest first.

    A run that was killed before its first checkpoint has none, and begins anew. What a killed process has left
    half-written is deleted.

    Raises:
        DataError: There are checkpoints, and none is whole.
    """
    for partial in folder.glob(f".{_PREFIX}*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    whole, left_out = _sorted_out(folder)
    newest = None
    for found in reversed(whole):
        changed = found.changed_file()
        if changed is None:
            newest = found
            break
        left_out.append(Damaged(found.path, f"{changed.name} is not as it was saved"))
    if newest is None and left_out:
        lame = ", ".join(f"{one.path.name} ({one.why})" for one in left_out)
        raise DataError(
            f"a run goes on from a checkpoint that is whole; {folder} holds none, but {lame}: put the files back as "
            f"they were, or delete {folder} to begin this run anew"
        )
    after = [one for one in left_out if newest is None or one.path.name > newest.path.name]
    return newest, sorted(after, key=lambda one: one.path.name, reverse=True)


def latest(folder: Path) -> Checkpoint:
    """The newest checkpoint.

    Raises:
        DataError: There is none.
    """
    found, left_out = _sorted_out(folder)
    if not found:
        lame = "".join(f", {one.path.name} is damaged ({one.why})" for one in left_out)
        raise DataError(f"a run must have a checkpoint; {folder} holds none{lame}: train again into a new --run")
    return found[-1]


def best(folder: Path) -> Checkpoint:
    """The checkpoint with the highest validation accuracy, the later one of equals; without any, the newest one.

    Raises:
        DataError: There is none.
    """
    newest = latest(folder)
    measured = [c for c in list_checkpoints(folder) if c.state.validation_top1 is not None]
    return max(measured, key=lambda c: (c.state.validation_top1, c.state.step), default=newest)


def _sorted_out(folder: Path) -> tuple[list[Checkpoint], list[Damaged]]:
    """The checkpoints with a state that can be right, and the others; both oldest first."""
    whole, left_out = [], []
    for path in sorted(folder.glob(f"{_PREFIX}*")):
        try:
            state = read_state(path / "state.json")
            if path.name != _name(state.step):
                raise ValueError(f"step must be that of the folder's name; received {state.step}")
        except ValueError as error:
            left_out.append(Damaged(path, f"state.json: {error}"))
        else:
            whole.append(Checkpoint(path, state))
    return whole, left_out


def _name(step: int) -> str:
    return f"{_PREFIX}{step:08d}"


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """States of the network's random generators, always in the same order."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def _prune(folder: Path) -> None:
    found = list_checkpoints(folder)
    keep = {c.path for c in found[-_KEEP:]} | {best(folder).path}
    for checkpoint in found:
        if checkpoint.path not in keep:
            shutil.rmtree(checkpoint.path, ignore_errors=True)


def _to_disk(folder: Path) -> None:
    """Have the system write a checkpoint's files out before the rename, which a power cut might else overtake."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
