"""Networks: built from a recipe, and loaded from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import keras
import numpy as np

from edgecnn import plugins
from edgecnn.errors import DataError, EdgecnnError, UsageError
from edgecnn.plugins import is_path
from edgecnn_training import applications, screen, settled
from edgecnn_training import checkpoint as checkpoints
from edgecnn_training.averaging import batch_norms
from edgecnn_training.checkpoint import Checkpoint
from edgecnn_training.disk import scratch
from edgecnn_training.features import last_dense
from edgecnn_training.finite import is_finite
from edgecnn_training.metrics import stopped_early
from edgecnn_training.recipe import Recipe
from edgecnn_training.run import Run

ARCHITECTURES = "edgecnn_training.architectures"


def architecture(recipe: Recipe) -> Callable[..., keras.Model]:
    """The ``build`` function of a recipe's architecture.

    Raises:
        UsageError: There is no such architecture, its file cannot be imported, or has no such function.
    """
    if applications.is_application(recipe.arch):
        return applications.builder(recipe.arch)
    make: object = getattr(plugins.load(ARCHITECTURES, recipe.arch), "build", None)
    if not callable(make):
        raise UsageError(f"an architecture must have a function build(input_shape, classes); {recipe.arch} has none")
    return cast("Callable[..., keras.Model]", make)


def build(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a recipe's network, with fresh weights.

    Args:
        recipe: Its ``options`` go to the ``build`` of the architecture that it names.
        shape: (H, W, C).
        classes: Number of logits.

    Raises:
        UsageError: The module has no ``build``, or does not take the options, or builds something else.
    """
    make = architecture(recipe)
    try:
        model = make(shape, classes, **recipe.options)
        fine = isinstance(model, keras.Model)
        if fine:
            for layer in batch_norms(model):
                layer.momentum = recipe.batch_norm_momentum
            logits = model(np.zeros((1, *shape), np.float32), training=False)
            fine = bool(keras.ops.is_tensor(logits)) and tuple(logits.shape) == (1, classes)
            fine = fine and keras.backend.standardize_dtype(logits.dtype) == "float32"
    except EdgecnnError:
        raise
    except (Exception, SystemExit) as error:  # a user's own code may raise anything
        raise UsageError(
            f"architecture {recipe.arch} does not build for {shape}, {str(dict(recipe.options))[:100]}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not fine:
        raise UsageError(
            f"architecture {recipe.arch}: build must return a keras.Model with one input {shape} and {classes} logits, "
            "all float32"
        )
    _refuse_useless(model, recipe.arch)
    return model


def _refuse_useless(model: keras.Model, arch: str) -> None:
    if not model.trainable_variables:
        raise UsageError(f"architecture {arch} must have weights to train; it has none: leave out trainable=False")
    if not is_finite(model):
        raise UsageError(f"architecture {arch} must begin with finite weights; some are not: mend its initializers")


@contextmanager
def own_code(arch: str) -> Iterator[None]:
    """Name the architecture's file where its layers raise what is no error of ours, in the midst of a training.

    Raises:
        UsageError: In the place of that; it is its cause.
    """
    try:
        yield
    except (EdgecnnError, OSError, MemoryError):
        raise
    except Exception as error:
        if not is_path(arch):
            raise
        text = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"architecture {arch} must be one that can be trained; Keras says: {type(error).__name__}: {text}: mend "
            "its layers, `edgecnn --debug train …` shows where"
        ) from error


def check_reloads(model: keras.Model, arch: str) -> None:
    """Save a network and load it again, before hours are spent on training it.

    Raises:
        DataError: Keras cannot save it or rebuild one of its layers, or the disk is full.
    """
    with scratch("to train", 8 * model.count_params() + (1 << 20)) as folder:  # float32, twice
        trial = folder / "trial.keras"
        try:
            model.save(trial)
            keras.models.load_model(trial, compile=False)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a user's own layers may raise anything
            text = str(error).strip().partition("\n")[0]
            raise DataError(
                f"architecture {arch} must consist of layers that Keras can rebuild: decorate the architecture's own "
                f"ones with @keras.saving.register_keras_serializable() and give them a get_config ({text})"
            ) from error


def load_best(run: Run) -> tuple[Checkpoint, keras.Model]:
    """The best checkpoint of a run and its network, uncompiled; checkpoints that are damaged are told.

    Raises:
        DataError: There is none, it is damaged or of another run, or holds layers that Keras does not know.
    """
    best = checkpoints.best(run.checkpoints)
    for damaged in checkpoints.damaged(run.checkpoints):
        screen.say(
            f"note: {damaged.path} is damaged and left out ({damaged.why}); the best of the others is used, "
            f"{best.path.name} of epoch {best.state.epoch}"
        )
    return best, load_network(run, best)


def load_network(run: Run, chosen: Checkpoint) -> keras.Model:
    """The network of a checkpoint, uncompiled; an architecture given by path is imported first, for layers of its own.

    Raises:
        DataError: The checkpoint is damaged, of another run, or holds layers that Keras does not know.
    """
    settled.refuse_another(run, chosen)
    arch, spec = run.info.recipe.arch, run.info.input
    there = is_path(arch) and Path(arch).is_file()
    if there:
        plugins.load(ARCHITECTURES, arch)
    try:
        network = chosen.load()
    except DataError as error:
        if there or not is_path(arch) or chosen.changed_file() is not None:
            raise
        raise DataError(f"{error}; the architecture's file {arch} is gone: put it back") from error
    shapes = (tuple(network.input_shape[1:]), network.output_shape[-1])
    if shapes != ((spec.height, spec.width, spec.channels), len(run.info.labels)):
        raise DataError(
            f"{run.path / 'run.json'} must fit the run's network, which takes (height, width, channels) {shapes[0]} "
            f"and tells {shapes[1]} classes; it has {(spec.height, spec.width, spec.channels)} and "
            f"{len(run.info.labels)} labels: put the file back as it was, or train again into a new --run"
        )
    return network


def unfinished(run: Run) -> str:
    """``3 of 30 epochs are done``, of a run that has not come to its end; empty where it has.

    Raises:
        DataError: It has no checkpoint, or its metrics are damaged.
    """
    recipe, epoch = run.info.recipe, checkpoints.latest(run.checkpoints).state.epoch
    if epoch >= recipe.epochs or (recipe.patience and stopped_early(run.read_metrics(), recipe.patience)):
        return ""
    return f"{epoch} of {recipe.epochs} epochs are done"


def with_temperature(network: keras.Model, temperature: float) -> keras.Model:
    """A network whose logits are divided by a temperature.

    The division goes into the weights of the last dense layer, so that it costs nothing; a network that ends in
    something else gets a layer for it.

    Args:
        network: → logits. Its last layer is changed.
        temperature: Above 0.
    """
    last = last_dense(network)
    if last is None:
        return keras.Model(network.inputs[0], keras.layers.Rescaling(1 / temperature)(network.outputs[0]))
    last.set_weights([weights / np.float32(temperature) for weights in last.get_weights()])
    return network
