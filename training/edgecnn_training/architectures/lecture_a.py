"""The lectures' small CNN: conv 3×3×32, pool, conv 3×3×64, pool, dense 100.

========  ===========  =========
input     parameters   MACs
========  ===========  =========
28×28×1       333,526  4,153,064
========  ===========  =========

Parameters and MACs for ten classes. Measured: MNIST 98.94 % (recipe `lecture`, float32, one training, n 10,000); see
docs/measured.md.

Source: the two-layer CNN of "Deep MNIST for Experts", TensorFlow tutorials, 2015, with 3×3 kernels and 100 hidden units
as the lectures on small devices use it.
"""

from __future__ import annotations

import keras
from keras import layers


def build(input_shape: tuple[int, int, int], classes: int, *, dropout: float = 0.5) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (H, W, C).
        classes: Number of logits.
        dropout: Share of the 100 hidden outputs that training drops, 0 to below 1.

    Returns:
        Uncompiled model, normalised float32 (N, H, W, C) → logits (N, classes).
    """
    image = keras.Input(input_shape)
    x = image
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        x = layers.MaxPooling2D()(x)  # (N, H/2, W/2, filters)
    x = layers.Flatten()(x)
    x = layers.Dense(100, activation="relu", kernel_initializer="he_normal")(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(image, layers.Dense(classes)(x), name="lecture-a")
