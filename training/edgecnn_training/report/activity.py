"""What goes on inside a network: activations and gradients on one batch, whatever Keras's backend.

Nothing of the network changes. Gradients are those that training would see (batch statistics, dropout), in a
``StatelessScope``: what the network would update is noted there instead, and dropped with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from edgecnn_training.pictures import Floats
from edgecnn_training.report.graph import layer_names, layer_output

_SILENT = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Dropout)  # put out what is put in
_Tensors = Sequence[Any]  # of the backend
_Loss = Callable[[_Tensors, _Tensors], Any]
_Gradients = Callable[[_Tensors, _Tensors], _Tensors]


def variable_tags(network: keras.Model) -> list[tuple[str, keras.Variable]]:
    """Each weight with a name that sorts as the layers follow each other: ``("03_conv2d_1/kernel", …)``."""
    found = []
    for name, layer in _numbered(network):
        for variable in layer.weights:
            path = variable.path.split("/")  # of this layer, or of one in it
            own = path[path.index(layer.name) + 1 :] if layer.name in path else path
            found.append(("/".join((name, *own)), variable))
    return found


class Activity:
    """A network and the batch that is looked at.

    Args:
        network: Normalised float32 (N, H, W, C) → logits, compiled.
        images: float32 (N, H, W, C), normalised.
        labels: float32 (N, classes), one-hot.
    """

    def __init__(self, network: keras.Model, images: Floats, labels: Floats) -> None:
        self.network, self.images, self.labels = network, images, labels
        self._gradients = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[keras.backend.backend()](self._loss)
        outputs = {name: layer_output(layer) for name, layer in _numbered(network) if not isinstance(layer, _SILENT)}
        self._outputs = {name: output for name, output in outputs.items() if output is not None}
        self._inside = keras.Model(network.inputs[0], self._outputs) if self._outputs else None

    def activations(self) -> dict[str, Floats]:
        """What each layer puts out when the network predicts; empty for a network that is no graph of layers."""
        if self._inside is None:
            return {}
        found = self._inside(self.images, training=False)
        return {name: numpy_of(value) for name, value in found.items()}

    def gradients(self) -> dict[str, Floats]:
        """The loss's gradient with respect to each trainable weight, by the names of `variable_tags`."""
        network = self.network
        values, others = (
            [variable.value for variable in variables]
            for variables in (network.trainable_variables, network.non_trainable_variables)
        )
        found = zip(network.trainable_variables, self._gradients(values, others), strict=True)
        names = {id(variable): name for name, variable in variable_tags(network)}
        return {names[id(v)]: numpy_of(gradient) for v, gradient in found if gradient is not None and id(v) in names}

    def _loss(self, values: _Tensors, others: _Tensors) -> Any:
        """The loss as a pure function of the network's trainable variables and of its others."""
        network, tensor = self.network, keras.ops.convert_to_tensor
        variables = [*network.trainable_variables, *network.non_trainable_variables]
        with keras.StatelessScope(list(zip(variables, [*values, *others], strict=True))):
            logits = network(tensor(self.images), training=True)
            return network.loss(tensor(self.labels), logits)


def _tensorflow(loss: _Loss) -> _Gradients:
    import tensorflow

    def gradients(values: _Tensors, others: _Tensors) -> _Tensors:
        with tensorflow.GradientTape(watch_accessed_variables=False) as tape:
            values = [tensorflow.identity(value) for value in values]
            tape.watch(values)
            total = loss(values, others)
        return list(tape.gradient(total, values))

    return gradients


def _torch(loss: _Loss) -> _Gradients:
    import torch

    def gradients(values: _Tensors, others: _Tensors) -> _Tensors:
        values = [value.detach().clone().requires_grad_() for value in values]
        with torch.enable_grad():
            found: _Tensors = torch.autograd.grad(loss(values, others), values, allow_unused=True)
        return found

    return gradients


def _jax(loss: _Loss) -> _Gradients:
    import jax

    gradients: _Gradients = jax.jit(jax.grad(loss))  # else each operation is compiled on its own, which takes longer
    return gradients


def _numbered(network: keras.Model) -> list[tuple[str, keras.Layer]]:
    names = layer_names(network)
    return [(names[layer.name], layer) for layer in network.layers]


def numpy_of(value: object) -> Floats:
    """A tensor or a variable of any backend as float32."""
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)
