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
    last, before = last_dense(network), before_last(network)
    if last is None or not isinstance(before, keras.layers.GlobalAveragePooling2D):
        return None
    if before.input.shape[-1] != last.kernel.shape[0]:
        return None
    return Head(keras.Model(network.inputs[0], before.input), np.asarray(last.get_weights()[0], np.float32))


def before_last(network: keras.Model) -> keras.Operation | None:
    """The layer before a network's last one, dropout aside; None where it has fewer, or is no graph of layers.

    It may be a plain operation, such as a product, which is not among the ``layers`` of a model.
    """
    everything = getattr(network, "operations", getattr(network, "layers", []))
    parts = [part for part in everything if not isinstance(part, keras.layers.Dropout)]
    return parts[-2] if len(parts) > 1 else None


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
