"""Networks: built from a recipe, and loaded from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import keras
import numpy as np

from edgecnn import plugins
from edgecnn.errors import EdgecnnError, UsageError
from edgecnn.plugins import is_path
from edgecnn_training import applications
from edgecnn_training import checkpoint as checkpoints
from edgecnn_training.averaging import batch_norms
from edgecnn_training.checkpoint import Checkpoint
from edgecnn_training.disk import scratch
from edgecnn_training.features import last_dense
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
    except Exception as error:  # a user's own code may raise anything
        raise UsageError(
            f"architecture {recipe.arch} does not build for {shape}, {dict(recipe.options)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not fine:
        raise UsageError(
            f"architecture {recipe.arch}: build must return a keras.Model with one input {shape} and {classes} logits, "
            "all float32"
        )
    return model


def check_reloads(model: keras.Model) -> None:
    """Save a network and load it again, before hours are spent on training it.

    Raises:
        DataError: Keras cannot rebuild one of its layers, or the disk is full.
    """
    with scratch("to train", 8 * model.count_params() + (1 << 20)) as folder:  # float32, twice
        trial = checkpoints.save(folder, model, step=0, epoch=0, validation_top1=None)
        trial.load()


def load_network(run: Run, chosen: Checkpoint) -> keras.Model:
    """The network of a checkpoint, uncompiled; an architecture given by path is imported first, for layers of its own.

    Raises:
        DataError: The checkpoint is damaged, or holds layers that Keras does not know.
    """
    arch = run.info.recipe.arch
    if is_path(arch) and Path(arch).is_file():
        plugins.load(ARCHITECTURES, arch)
    return chosen.load()


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
