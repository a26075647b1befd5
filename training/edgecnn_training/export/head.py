"""From a network that may end in probabilities to one with logits, as an export wants it; without its augmentation."""

from __future__ import annotations

import keras
import numpy as np

from edgecnn.errors import ModelError
from edgecnn_training.export.repairs import every_layer
from edgecnn_training.pictures import Floats

_TINY = 1e-7  # a probability below this has no logarithm worth having
_SUM = 1e-3
_NO_LABEL = "sigmoid", "hard_sigmoid", "sparse_sigmoid"


def without_augmentation(model: keras.Model) -> tuple[keras.Model, list[str]]:
    """A network whose layers Random… are gone; the others are the very same ones, with their weights.

    They do nothing in a prediction. Exported with them (Keras 3.15) a file draws random numbers or does not load.

    Returns:
        The network, itself where it has none, and the names of the layers that are left out.
    """
    found = [layer.name for layer in every_layer(model) if type(layer).__name__.startswith("Random")]
    if not found:
        return model, []

    def keep(layer: keras.Layer) -> keras.Layer:
        if type(layer).__name__.startswith("Random"):
            return keras.layers.Identity(name=layer.name)
        return without_augmentation(layer)[0] if isinstance(layer, keras.Model) else layer

    return keras.models.clone_model(model, clone_function=keep), found


def with_logits(model: keras.Model) -> tuple[keras.Model, str]:
    """A network whose softmax of outputs are the scores, and in words what it gave before.

    A Softmax at the end is taken away, be it a layer or the activation of one. One output is that of a binary
    classifier: the logit or, after a sigmoid, the probability of the second of two labels.

    Raises:
        ModelError: Each output has a sigmoid of its own: several labels at once, or none, may be right.
    """
    last = model.outputs[0]._keras_history.operation  # Keras has no public name for it
    if isinstance(last, keras.Model):
        inner, told = with_logits(last)
        return keras.Model(model.inputs[0], inner(_before(model))), told
    single = model.output_shape[-1] == 1
    activation = _activation(last)
    told = {"softmax": "probabilities", "sigmoid": "one probability"}.get(
        activation, "one logit" if single else "logits"
    )
    if activation == "softmax" and not single:
        return _without_activation(model, last), told
    if activation in _NO_LABEL and not single:
        raise ModelError(
            f"a classifier must give one label, by logits or a softmax; layer {last.name!r}, {type(last).__name__}, "
            f"gives each of {model.output_shape[-1]} outputs a {activation} of its own, so that several labels may be "
            "right: train it with activation='softmax'"
        )
    if single and activation not in ("", "linear", "sigmoid"):
        raise ModelError(
            f"a network with one output must give a logit, or a probability by a sigmoid; layer {last.name!r}, "
            f"{type(last).__name__}, ends in {activation}"
        )
    if single:
        return _two_outputs(_without_activation(model, last) if activation == "sigmoid" else model), told
    return model, told


def from_probabilities(model: keras.Model) -> keras.Model:
    """A network with logits from one whose outputs are probabilities in a way that no layer tells."""
    return keras.Model(model.inputs[0], keras.ops.log(keras.ops.maximum(model.outputs[0], _TINY)))


def are_probabilities(outputs: Floats) -> bool:
    """Whether rows of outputs, float32 ``(N, C)``, are all of 0 to 1 and have the sum 1."""
    return bool(outputs.min() >= 0 and np.abs(outputs.sum(1) - 1).max() <= _SUM)


def _activation(layer: object) -> str:
    """Name of the activation that a last layer ends in; empty where it has none."""
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if not isinstance(layer, keras.Layer):  # an operation, such as keras.ops.softmax
        kind = type(layer).__name__.lower()
        return kind if kind in ("softmax", "sigmoid") else ""
    activation = getattr(layer, "activation", None)
    return str(getattr(activation, "__name__", type(activation).__name__)) if activation is not None else ""


def _without_activation(model: keras.Model, last: object) -> keras.Model:
    if isinstance(last, keras.Layer) and last.weights:
        last.activation = keras.activations.linear  # a Dense, or a convolution
        return model
    return keras.Model(model.inputs[0], _before(model))


def _before(model: keras.Model) -> keras.KerasTensor:
    """What goes into a network's last operation."""
    history = model.outputs[0]._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors[0]


def _two_outputs(model: keras.Model) -> keras.Model:
    """Logits 0 and z from one logit z: their softmax is 1 - sigmoid(z) and sigmoid(z)."""
    pair = keras.layers.Dense(2, use_bias=False)
    outputs = pair(model.outputs[0])
    pair.set_weights([np.array([[0.0, 1.0]], np.float32)])
    return keras.Model(model.inputs[0], outputs)
