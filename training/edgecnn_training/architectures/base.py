"""ResNet-20, the CIFAR network of the ResNet paper: three times the depth of small.

========  ===========  ===========
input     parameters   MACs
========  ===========  ===========
28×28×1       272,186   31,021,952
32×32×3       272,474   40,813,184
64×64×3       272,474  163,250,816
========  ===========  ===========

Parameters and MACs for ten classes. Measured: letters of new fonts, `--recipe glyphs`, 97.82 % (float32, one
training, n 1,148; `small` 96.69 %); see docs/measured.md. Where a stage changes the width, the shortcut is a 1×1
convolution (the paper's option B).

Source: He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2, n = 3.
"""

from __future__ import annotations

import keras
from keras import layers

from edgecnn_training.architectures._blocks import conv_bn, conv_bn_relu


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (H, W, C).
        classes: Number of logits.

    Returns:
        Uncompiled model, normalised float32 (N, H, W, C) → logits (N, classes).
    """
    image = keras.Input(input_shape)
    x = conv_bn_relu(image, 16)
    for filters in (16, 32, 64):
        for block in range(3):
            strides = 2 if block == 0 and filters > 16 else 1
            shortcut = conv_bn(x, filters, kernel=1, strides=strides) if strides > 1 else x
            x = conv_bn(conv_bn_relu(x, filters, strides=strides), filters)
            x = layers.ReLU()(layers.Add()([x, shortcut]))  # (N, H/strides, W/strides, filters)
    x = layers.GlobalAveragePooling2D()(x)  # (N, 64)
    return keras.Model(image, layers.Dense(classes)(x), name="base")
