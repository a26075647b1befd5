"""Softmax regression: one dense layer, no hidden one; the lectures' first network.

========  ===========  =======
input     parameters   MACs
========  ===========  =======
28×28×1         7,850    7,840
========  ===========  =======

Parameters and MACs for ten classes. Measured: MNIST 92.33 % (recipe `lecture`, float32, one training, n 10,000); see
docs/measured.md.

Source: "MNIST for ML Beginners", TensorFlow tutorials, 2015.
"""

from __future__ import annotations

import keras
from keras import layers


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (H, W, C).
        classes: Number of logits.

    Returns:
        Uncompiled model, normalised float32 (N, H, W, C) → logits (N, classes).
    """
    image = keras.Input(input_shape)
    x = layers.Flatten()(image)
    return keras.Model(image, layers.Dense(classes)(x), name="softmax")
