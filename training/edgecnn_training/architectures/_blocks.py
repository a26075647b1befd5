"""Pieces that several networks share."""

from __future__ import annotations

import keras
from keras import layers


def conv_bn(x: keras.KerasTensor, filters: int, *, kernel: int = 3, strides: int = 1) -> keras.KerasTensor:
    """Convolution without bias, then batch normalisation: (N, H, W, C) → (N, H/strides, W/strides, filters)."""
    x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")(
        x
    )
    return layers.BatchNormalization()(x)


def conv_bn_relu(x: keras.KerasTensor, filters: int, *, kernel: int = 3, strides: int = 1) -> keras.KerasTensor:
    """`conv_bn`, then ReLU; batch normalisation folds into the convolution at export."""
    return layers.ReLU()(conv_bn(x, filters, kernel=kernel, strides=strides))
