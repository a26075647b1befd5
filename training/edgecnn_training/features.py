"""Features: what a network's last dense layer sees of a picture, one vector for each.

Pictures that are close here are alike to the network: the embedding projector, PCA and t-SNE draw them.
"""

from __future__ import annotations

import keras
import numpy as np

from edgecnn_training.accuracy import in_batches
from edgecnn_training.pictures import Floats, Images, Indices, Normalization


def last_dense(network: keras.Model) -> keras.layers.Dense | None:
    """The dense layer that gives a network's logits; None where something else does, or it is not a graph of layers."""
    if not isinstance(network, keras.Sequential) and type(network).__name__ != "Functional":
        return None
    last = network.layers[-1]
    plain = isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear
    plain = plain and network.outputs[0]._keras_history.operation is last  # no keras.ops behind it, which are no layers
    return last if plain and len(last.input.shape) == 2 else None


def feature_network(network: keras.Model) -> keras.Model | None:
    """The network without its last dense layer.

    Args:
        network: Normalised float32 (N, H, W, C) → logits.

    Returns:
        The same layers, the same weights: pictures → features (N, D). None where the network does not end in a dense
        layer, or is no graph of layers that Keras can cut.
    """
    last = last_dense(network)
    return None if last is None else keras.Model(network.inputs[0], last.input)


def features(network: keras.Model, normalization: Normalization, images: Images, rows: Indices) -> Floats | None:
    """Features of some pictures.

    Args:
        network: Normalised float32 (N, H, W, C) → logits.
        normalization: What is done to the pixels before.
        images: uint8 (M, H, W, C), may be memory-mapped.
        rows: int64 (N,): which of them.

    Returns:
        float32 (N, D); None where `feature_network` has none.
    """
    cut = feature_network(network)
    if cut is None:
        return None

    def scorer(some: Images) -> Floats:  # not predict_on_batch, which compiles first: that takes longer than the work
        return np.asarray(keras.ops.convert_to_numpy(cut(normalization(some), training=False)), np.float32)

    return in_batches(scorer, images, rows)
