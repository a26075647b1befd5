"""How large a network is: parameters and multiply-accumulates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class Complexity:
    """Size of a network.

    Attributes:
        parameters: Trainable ones; batch normalisation's running statistics do not count, they vanish at export.
        macs: Multiply-accumulates of the convolutions and dense layers for one picture.
    """

    parameters: int
    macs: int


def complexity(model: keras.Model) -> Complexity:
    """Count a built model's trainable parameters and multiply-accumulates."""
    parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Complexity(parameters, _macs(model))


def _macs(layer: keras.Layer) -> int:
    """Each weight of a kernel is used once per output position; a network inside a network counts its layers."""
    import keras  # here: runs are opened without Keras, too
    from keras import layers

    if isinstance(layer, keras.Model):
        return sum(map(_macs, layer.layers))
    if isinstance(layer, layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
        kernels = [layer.kernel]
    else:
        return 0
    positions = math.prod(layer.output.shape[1:-1])  # 1 of a dense layer on vectors
    return int(positions * sum(math.prod(kernel.shape) for kernel in kernels))
