"""ResNet-8, the image-classification network of MLPerf Tiny; the default.

========  ===========  ==========
input     parameters   MACs
========  ===========  ==========
28×28×1        77,658   9,345,920
32×32×3        77,946  12,501,632
64×64×3        77,946  50,004,608
========  ===========  ==========

Parameters and MACs for ten classes. Measured as float32: MNIST 99.61 ± 0.04 % (three seeds, n 10,000), CIFAR-10 as
JPEG 84.86 % (n 10,000), notMNIST in folds 94.63 % (int8, n 8,039); commands and more in docs/measured.md. The
convolutions of the main path carry no bias, since batch normalisation follows; the projections on the shortcuts carry
one.

Source: mlcommons/tiny, ``benchmark/training/image_classification/keras_model.py`` (resnet_v1_eembc), after He et al.,
"Deep Residual Learning for Image Recognition", 2015, figure 2.
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
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        shortcut = x
        if strides > 1:
            shortcut = layers.Conv2D(filters, 1, strides=strides, kernel_initializer="he_normal")(x)
        x = conv_bn(conv_bn_relu(x, filters, strides=strides), filters)
        x = layers.ReLU()(layers.Add()([x, shortcut]))  # (N, H/strides, W/strides, filters)
    x = layers.GlobalAveragePooling2D()(x)  # (N, 64)
    return keras.Model(image, layers.Dense(classes)(x), name="small")
