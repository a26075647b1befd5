"""Four convolutions and 4,000 parameters: 8-10-pool-12-pool-16, global average pooling.

========  ===========  ========
input     parameters   MACs
========  ===========  ========
28×28×1         3,862   917,440
========  ===========  ========

Parameters and MACs for ten classes. Measured: MNIST 99.05 ± 0.11 % (`mnist-pico`, float32, three seeds, n 10,000);
see docs/measured.md.

Source: the smallest of the MNIST networks with batch normalisation and a global-average-pooling head, for instance
Shwethaamrutha/TSAI-S6 (8-10-pool-12-pool-16), here with padded convolutions.
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
    x = conv_bn_relu(conv_bn_relu(image, 8), 10)
    x = layers.MaxPooling2D()(x)  # (N, H/2, W/2, 10)
    x = conv_bn_relu(x, 12)
    x = layers.MaxPooling2D()(x)  # (N, H/4, W/4, 12)
    x = conv_bn_relu(x, 16)
    x = layers.GlobalAveragePooling2D()(x)  # (N, 16)
    return keras.Model(image, layers.Dense(classes)(x), name="pico")
