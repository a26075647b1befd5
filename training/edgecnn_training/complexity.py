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
    return Complexity(parameters, sum(_macs(layer) for layer in model.layers))


def _macs(layer: keras.Layer) -> int:
    """Each weight of a kernel is used once per output position."""
    from keras import layers  # here: runs are opened without Keras, too

    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        _, height, width, _ = layer.output.shape
        return int(height * width * math.prod(layer.kernel.shape))
    if isinstance(layer, layers.Dense):
        return math.prod(layer.kernel.shape)
    return 0
