"""Five narrow convolutions and no hidden dense layer: 12-16-pool-24-24-pool-32, global average pooling.

========  ===========  =========
input     parameters   MACs
========  ===========  =========
28×28×1        17,934  3,471,872
========  ===========  =========

Parameters and MACs for ten classes. Measured: MNIST 99.60 ± 0.05 % (`mnist-micro`, float32, three seeds, n 10,000);
see docs/measured.md.

Source: in the spirit of the sub-20k-parameter MNIST networks (batch normalisation, pooling early, global average
pooling for a head), for instance divya-r-kamat/EfficientMnist-Under20K.
"""

from __future__ import annotations

import keras
from keras import layers

from edgecnn_training.architectures._blocks import conv_bn_relu


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (H, W, C).
        classes: Number of logits.

    Returns:
        Uncompiled model, normalised float32 (N, H, W, C) → logits (N, classes).
    """
    image = keras.Input(input_shape)
    x = conv_bn_relu(image, 12)
    x = conv_bn_relu(x, 16)
    x = layers.MaxPooling2D()(x)  # (N, H/2, W/2, 16)
    x = conv_bn_relu(x, 24)
    x = conv_bn_relu(x, 24)
    x = layers.MaxPooling2D()(x)  # (N, H/4, W/4, 24)
    x = conv_bn_relu(x, 32)
    x = layers.GlobalAveragePooling2D()(x)  # (N, 32)
    return keras.Model(image, layers.Dense(classes)(x), name="micro")
