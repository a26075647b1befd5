"""The first layer's weights as pictures: what the network looks for to begin with."""

from __future__ import annotations

import keras
import numpy as np

from edgecnn_training import applications
from edgecnn_training.pictures import Floats, Images
from edgecnn_training.report import tiles
from edgecnn_training.report.markup import Html, element, note, prose, section
from edgecnn_training.report.subject import Subject

_SHOWN = 64


def filters(subject: Subject) -> Html:
    """The section."""
    found = first_kernels(subject.network, subject.pictures.images.shape[1:])
    if found is None:
        line = "The first layer with weights is no plain convolution or dense layer of grey or RGB: nothing to show."
        return section("filters", "First filters", note(line))
    kind, kernels = found
    if applications.blue_first(subject.run.info.recipe.arch):
        kernels = kernels[:, :, ::-1]
    shown = [tiles.picture(image, f"{kind} {i}") for i, image in enumerate(as_pictures(kernels[..., :_SHOWN]), start=1)]
    count, (height, width) = kernels.shape[3], kernels.shape[:2]
    more = f"; the first {_SHOWN} of {count} are shown" if count > _SHOWN else ""
    told = {
        "filter": f"Each square is one of the {count} filters of the first layer, {width}×{height} weights{more}. A "
        "filter slides over the picture and answers where the picture looks like it: two halves find an edge, a dot in "
        "the middle a point, an even one brightness.",
        "output": f"Each square holds the weights from all pixels to one of the {count} outputs of the first "
        f"layer{more}. An output grows with the pixels where its square is bright, and shrinks where it is dark.",
    }[kind]
    return section(
        "filters",
        "First filters",
        prose(f"{told} Mid-grey is a weight of zero, brighter is above, darker below, on one scale for all squares."),
        element("div", *shown, class_=f"filters {kind}"),
    )


def first_kernels(network: keras.Model, shape: tuple[int, ...]) -> tuple[str, Floats] | None:
    """The kernels of the first layer with weights.

    Args:
        network: May hold other models as layers.
        shape: (H, W, C) of a picture.

    Returns:
        ``"filter"`` and (h, w, C, filters) of a convolution, ``"output"`` and (H, W, C, units) of a dense layer that
        sees all pixels; None for any other layer.
    """
    first = _first(network)
    if isinstance(first, keras.layers.Conv2D) and first.kernel.shape[2] == shape[2]:
        return "filter", np.asarray(first.get_weights()[0], np.float32)
    if isinstance(first, keras.layers.Dense) and first.kernel.shape[0] == np.prod(shape):
        return "output", np.asarray(first.get_weights()[0], np.float32).reshape(*shape, -1)
    return None


def as_pictures(kernels: Floats) -> Images:
    """Weights as brightness, on one scale for all of them: 0 is mid-grey, the largest either way white or black.

    Args:
        kernels: float32 (h, w, C, filters).

    Returns:
        uint8 (filters, h, w, C).
    """
    largest = max(float(abs(kernels).max()), 1e-12)
    brightness: Images = np.rint(127.5 + 127.5 * np.moveaxis(kernels, 3, 0) / largest).astype(np.uint8)
    return brightness


def _first(network: keras.Model) -> keras.Layer | None:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            return _first(layer)
        if layer.weights and not isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Normalization)):
            return layer
    return None
