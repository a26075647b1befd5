"""The lectures' large CNN: conv 5×5×32, pool, conv 5×5×64, pool, dense 1024.

========  ===========  ==========
input     parameters   MACs
========  ===========  ==========
28×28×1     3,274,634  13,883,904
========  ===========  ==========

Parameters and MACs for ten classes. Measured: notMNIST in folds 94.70 % (int8, n 8,039), no better than `small` on
the same pictures; see docs/measured.md.

Source: "Deep MNIST for Experts", TensorFlow tutorials, 2015: its layers, sizes and dropout.
"""

from __future__ import annotations

import keras
from keras import layers


def build(input_shape: tuple[int, int, int], classes: int, *, dropout: float = 0.5) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (H, W, C).
        classes: Number of logits.
        dropout: Share of the 1024 hidden outputs that training drops, 0 to below 1.

    Returns:
        Uncompiled model, normalised float32 (N, H, W, C) → logits (N, classes).
    """
    image = keras.Input(input_shape)
    x = image
    for filters in (32, 64):
        x = layers.Conv2D(filters, 5, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        x = layers.MaxPooling2D()(x)  # (N, H/2, W/2, filters)
    x = layers.Flatten()(x)
    x = layers.Dense(1024, activation="relu", kernel_initializer="he_normal")(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(image, layers.Dense(classes)(x), name="lecture-b")
