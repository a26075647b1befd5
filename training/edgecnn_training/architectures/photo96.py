"""MobileNetV1 at a quarter of its width, the visual-wake-words network of MLPerf Tiny; for photos at 96×96.

========  ===========  =========
input     parameters   MACs
========  ===========  =========
64×64×3       215,642  3,331,072
96×96×3       215,642  7,491,712
========  ===========  =========

Parameters and MACs for ten classes. Measured: hand signs of later students at 96×96, 98.75 % (float32, one training,
n 160); see docs/measured.md.

Source: mlcommons/tiny, ``benchmark/training/visual_wake_words/vww_model.py``, after Howard et al., "MobileNets:
Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, table 1, with α = 0.25.
"""

from __future__ import annotations

import keras
from keras import layers

from edgecnn_training.architectures._blocks import conv_bn_relu

_STAGES = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1))


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (H, W, C).
        classes: Number of logits.

    Returns:
        Uncompiled model, normalised float32 (N, H, W, C) → logits (N, classes).
    """
    image = keras.Input(input_shape)
    x = conv_bn_relu(image, 8, strides=2)
    for filters, strides in _STAGES:
        x = layers.DepthwiseConv2D(
            3, strides=strides, padding="same", use_bias=False, depthwise_initializer="he_normal"
        )(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = conv_bn_relu(x, filters, kernel=1)  # (N, H/strides, W/strides, filters)
    x = layers.GlobalAveragePooling2D()(x)  # (N, 256)
    return keras.Model(image, layers.Dense(classes)(x), name="photo96")
