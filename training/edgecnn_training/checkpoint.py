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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from edgecnn.errors import DataError
from edgecnn_training.averaging import Weights, swapped

_PREFIX = "step-"
_KEEP = 2  # the newest ones; the best one stays beside them


@dataclass(frozen=True, slots=True)
class State:
    """Where training stood.

    Attributes:
        step: Batches seen since the beginning of the run.
        epoch: Whole epochs done.
        validation_top1: Accuracy on the validation split, 0 to 1; None in the middle of an epoch, or without one.
        sha256: Of ``model.keras``, in hex.
        seeds: State of each of the network's random generators (dropout), which Keras's own format leaves out.
        recipe: The recipe it was trained by; None in checkpoints that do not say.
        averaged_sha256: Of ``averaged.keras``, in hex; None where no average of the weights is kept.
    """

    step: int
    epoch: int
    validation_top1: float | None
    sha256: str
    seeds: tuple[tuple[int, ...], ...]
    recipe: Mapping[str, object] | None = None
    averaged_sha256: str | None = None


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
        path = self.averaged_path if self.state.averaged_sha256 else self.model_path
        try:
            return keras.models.load_model(path, compile=False)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path} must hold layers that Keras can rebuild: decorate the architecture's own ones with "
                f"@keras.saving.register_keras_serializable() and train again ({str(error).strip().splitlines()[0]})"
            ) from error

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
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self.path} must fit the run's network ({error}): train again into a new --run"
            ) from error

    def check(self) -> None:
        """Compare the file with its hash.

        Raises:
            DataError: They differ.
        """
        for path, expected in ((self.model_path, self.state.sha256), (self.averaged_path, self.state.averaged_sha256)):
            if expected is not None and (not path.is_file() or _sha256(path) != expected):
                raise DataError(
                    f"a checkpoint must be as it was saved; {path} is damaged: "
                    f"delete the folder {self.path}, the checkpoint before it is then used"
                )


def save(
    folder: Path,
    model: keras.Model,
    *,
    step: int,
    epoch: int,
    validation_top1: float | None,
    recipe: Mapping[str, object] | None = None,
    averaged: Weights | None = None,
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

    Raises:
        DataError: The disk is full or cannot be written to; the checkpoints before this one are untouched.
    """
    final = folder / f"{_PREFIX}{step:08d}"
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
            whole = _sha256(temporary / "averaged.keras")
        state = State(step, epoch, validation_top1, _sha256(temporary / "model.keras"), seeds, recipe, whole)
        (temporary / "state.json").write_text(json.dumps(asdict(state)) + "\n")
        _to_disk(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise DataError(f"a checkpoint must be written to {folder}: {error}; free some space, then --resume") from error
    _prune(folder)
    return Checkpoint(final, state)


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """All complete checkpoints of a run, oldest first."""
    found = []
    for path in sorted(folder.glob(f"{_PREFIX}*")):
        try:
            state = _read_state(path / "state.json")
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue  # not complete: nothing we wrote
        found.append(Checkpoint(path, state))
    return found


def newest_whole(folder: Path) -> tuple[Checkpoint | None, list[Checkpoint]]:
    """The newest checkpoint that is as it was saved, and those after it, which are not.

    Without one, training begins anew. What a killed process has left half-written is deleted.
    """
    for partial in folder.glob(f".{_PREFIX}*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    damaged = []
    for found in reversed(list_checkpoints(folder)):
        try:
            found.check()
        except DataError:
            damaged.append(found)
        else:
            return found, damaged
    return None, damaged


def latest(folder: Path) -> Checkpoint:
    """The newest checkpoint.

    Raises:
        DataError: There is none.
    """
    found = list_checkpoints(folder)
    if not found:
        raise DataError(f"a run must have a checkpoint; {folder} holds none: train again into a new --run")
    return found[-1]


def best(folder: Path) -> Checkpoint:
    """The checkpoint with the highest validation accuracy, the later one of equals; without any, the newest one.

    Raises:
        DataError: There is none.
    """
    newest = latest(folder)
    measured = [c for c in list_checkpoints(folder) if c.state.validation_top1 is not None]
    return max(measured, key=lambda c: (c.state.validation_top1, c.state.step), default=newest)


def _read_state(path: Path) -> State:
    values = json.loads(path.read_text(encoding="utf-8"))
    top1 = values["validation_top1"]
    return State(
        step=int(values["step"]),
        epoch=int(values["epoch"]),
        validation_top1=None if top1 is None else float(top1),
        sha256=str(values["sha256"]),
        seeds=tuple(tuple(map(int, seed)) for seed in values["seeds"]),
        recipe=values.get("recipe"),
        averaged_sha256=values.get("averaged_sha256"),
    )


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
