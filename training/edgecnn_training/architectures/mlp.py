"""Multilayer perceptron: two hidden dense layers of 256 and 128, ReLU, optional dropout and L2.

========  ===========  ========
input     parameters   MACs
========  ===========  ========
28×28×1       235,146   234,752
========  ===========  ========

Parameters and MACs for ten classes. Measured: MNIST 97.87 % (recipe `lecture`, float32, one training, n 10,000); see
docs/measured.md.

Source: the notMNIST assignments of "Deep Learning" (Udacity ud730, V. Vanhoucke, 2016), which add L2 and dropout to a
network of hidden dense layers.
"""

from __future__ import annotations

import keras
from keras import layers


def build(input_shape: tuple[int, int, int], classes: int, *, dropout: float = 0.0, l2: float = 0.0) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (H, W, C).
        classes: Number of logits.
        dropout: Share of each hidden layer's outputs that training drops, 0 to below 1.
        l2: Weight of the squared kernels in the loss.

    Returns:
        Uncompiled model, normalised float32 (N, H, W, C) → logits (N, classes).
    """
    image = keras.Input(input_shape)
    x = layers.Flatten()(image)
    for units in (256, 128):
        regularizer = keras.regularizers.L2(l2) if l2 else None
        x = layers.Dense(units, activation="relu", kernel_initializer="he_normal", kernel_regularizer=regularizer)(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return keras.Model(image, layers.Dense(classes)(x), name="mlp")
