"""Class activation maps: what each place of a network's last feature map adds to the logit of each class.

Source: B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, equation 2. Exact for
networks that end in global average pooling and one dense layer, and computed without a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from edgecnn_training.features import last_dense
from edgecnn_training.pictures import Floats, Indices


@dataclass(frozen=True, slots=True)
class Head:
    """A network cut before its global average pooling.

    Attributes:
        body: Normalised float32 (N, H, W, C) → the last feature map, float32 (N, h, w, K).
        kernel: float32 (K, classes): the dense layer's weights.
    """

    body: keras.Model
    kernel: Floats


def pooled_head(network: keras.Model) -> Head | None:
    """Cut a network that ends in global average pooling and one dense layer; None for any other."""
    last = last_dense(network)
    if last is None:
        return None
    before, features = _before_last(network)
    if not isinstance(before, keras.layers.GlobalAveragePooling2D) or features.shape[-1] != last.kernel.shape[0]:
        return None
    return Head(keras.Model(network.inputs[0], features), np.asarray(last.get_weights()[0], np.float32))


def before_last(network: keras.Model) -> keras.Operation:
    """What feeds a network's last dense layer, dropout aside; it may be an operation that is no layer, or a model.

    Args:
        network: One that ends in a dense layer, see `edgecnn_training.features.last_dense`.
    """
    return _before_last(network)[0]


def _before_last(network: keras.Model) -> tuple[keras.Operation, keras.KerasTensor]:
    """That, and what it reads; a layer that is called in several networks has a node for each call."""
    _, tensor = _made_by(network.outputs[0])
    maker, fed = _made_by(tensor)
    while isinstance(maker, keras.layers.Dropout):
        maker, fed = _made_by(fed)
    return maker, fed


def _made_by(tensor: keras.KerasTensor) -> tuple[keras.Operation, keras.KerasTensor]:
    """What gives a tensor, and the first tensor that it reads; an input reads itself."""
    history = tensor._keras_history
    read = history.operation._inbound_nodes[history.node_index].input_tensors
    return history.operation, read[0] if read else tensor


def maps(head: Head, pixels: Floats, classes: Indices) -> Floats:
    """What each place of the last feature map adds to the logit of one class.

    Args:
        head: The cut network.
        pixels: Normalised float32 (N, H, W, C).
        classes: int64 (N,): which class's map of each picture.

    Returns:
        float32 (N, h, w). Their mean over all places and the bias are the logit.
    """
    features = np.asarray(keras.ops.convert_to_numpy(head.body(pixels, training=False)), np.float32)
    return np.asarray(np.einsum("nhwk,kn->nhw", features, head.kernel[:, classes]), np.float32)
