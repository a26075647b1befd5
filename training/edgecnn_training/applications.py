"""The architectures ``keras:NAME``: the networks of ``keras.applications``, with a head for one's own classes.

=======================================  =========  ==========  =============
architecture                             input      parameters  MACs
=======================================  =========  ==========  =============
``keras:MobileNetV2``, ``alpha = 0.35``  96×96×3       408,938     10,666,928
``keras:MobileNetV2``, ``alpha = 0.35``  224×224×3     408,938     58,018,608
``keras:MobileNetV3Small``               96×96×3       932,778     10,463,296
``keras:MobileNetV3Small``               224×224×3     932,778     54,902,336
``keras:EfficientNetB0``                 224×224×3   4,020,358    384,547,552
``keras:ResNet50``                       224×224×3  23,555,082  3,855,945,728
=======================================  =========  ==========  =============

Parameters and MACs for ten classes. The head is global average pooling, dropout and a dense layer. The ``options`` of a
recipe go to the function in ``keras.applications`` (``alpha``, ``minimalistic`` …); ``dropout`` is the head's.

Pictures are RGB, at ImageNet's usual size unless another one is asked for. What the network's own ``preprocess_input``
does to the pixels is the run's normalisation; networks that want blue first turn the channels round themselves.

Source: ``keras.applications``; Keras's documentation of each network names its paper.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import keras
import numpy as np

from edgecnn.errors import UsageError
from edgecnn_training.pictures import Normalization

PREFIX = "keras:"
SIDE = 224
"""Height and width in pixels where no size is asked for: what most of the networks were trained with on ImageNet."""

_OURS = frozenset(
    {
        "include_top",
        "weights",
        "input_tensor",
        "input_shape",
        "pooling",
        "classes",
        "classifier_activation",
        "include_preprocessing",
        "name",
        "dropout_rate",  # of the top, which we leave out; ours is called dropout
    }
)
_BLUE_FIRST = (2, 1, 0)


def is_application(arch: str) -> bool:
    """Whether an architecture is one of ``keras.applications``."""
    return arch.startswith(PREFIX)


def names() -> list[str]:
    """Names of all networks of ``keras.applications``, as they are written there."""
    return sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))


def input_for(
    arch: str, size: tuple[int, int] | None, channels: int | None
) -> tuple[tuple[int, int] | None, int | None]:
    """Size and channels of the pictures for an architecture; those of other ones stay as they are.

    Args:
        arch: Name of the architecture.
        size: Height and width that were asked for, if any.
        channels: Channels that were asked for, if any.

    Raises:
        UsageError: Grey pictures were asked for.
    """
    if not is_application(arch):
        return size, channels
    if channels == 1:
        raise UsageError(
            f"{arch} must have RGB pictures; received --channels 1: leave it out, grey pictures then become RGB"
        )
    return size or (SIDE, SIDE), 3


def builder(arch: str) -> Callable[..., keras.Model]:
    """The ``build`` function of ``keras:NAME``, as a file in ``architectures/`` has one.

    Raises:
        UsageError: ``keras.applications`` has no such network.
    """
    _factory(arch)

    def build(
        input_shape: tuple[int, int, int], classes: int, *, dropout: float = 0.2, **options: object
    ) -> keras.Model:
        features = body(arch, input_shape, options)
        x = keras.layers.GlobalAveragePooling2D()(features.output)  # (N, H/32, W/32, D) → (N, D)
        if dropout:
            x = keras.layers.Dropout(dropout)(x)
        return keras.Model(features.input, keras.layers.Dense(classes)(x), name=features.name)

    return build


def body(arch: str, shape: tuple[int, int, int], options: Mapping[str, object]) -> keras.Model:
    """A network without its head, with random weights.

    Args:
        arch: ``keras:NAME``.
        shape: (H, W, 3).
        options: What the function in ``keras.applications`` takes beside the shape; ``dropout`` is left out.

    Returns:
        RGB after `normalization`, float32 (N, H, W, 3) → features (N, h, w, D).

    Raises:
        UsageError: It cannot have this size or these options.
    """
    factory, own = _factory(arch), {key: value for key, value in options.items() if key != "dropout"}
    allowed = sorted({"dropout"} | set(inspect.signature(factory).parameters) - _OURS)
    unknown = sorted(set(own) - set(allowed))
    if unknown:
        raise UsageError(f"options of {arch} must be among {', '.join(allowed)}; received {', '.join(unknown)}")
    image = keras.Input(shape)
    pixels = keras.ops.take(image, _BLUE_FIRST, axis=-1) if blue_first(arch) else image
    try:
        network = factory(include_top=False, weights=None, input_tensor=pixels, input_shape=shape, **own)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{arch} does not build for {shape[0]}x{shape[1]} and {own}: {error}") from error
    return keras.Model(image, network.output, name=network.name)


def with_imagenet_weights(arch: str, shape: tuple[int, int, int], options: Mapping[str, object]) -> keras.Model:
    """The network as ``keras.applications`` gives it with ``weights="imagenet"``, without its head.

    Returns:
        RGB or BGR after the network's own ``preprocess_input``, float32 (N, H, W, 3) → features (N, h, w, D).

    Raises:
        ValueError: There are no such weights for this size and these options, or a file has another hash.
        Exception: The download failed; Keras raises nothing narrower.
    """
    own = {key: value for key, value in options.items() if key != "dropout"}
    return _factory(arch)(include_top=False, weights="imagenet", input_shape=shape, **own)


def normalization(arch: str) -> Normalization | None:
    """What the network's ``preprocess_input`` does, as mean and standard deviation of R, G and B; None for other ones.

    Networks that scale the pixels themselves have mean 0 and standard deviation 1.
    """
    return _preprocessing(arch)[0] if is_application(arch) else None


def published_std(arch: str) -> Sequence[float] | None:
    """ImageNet's standard deviation of R, G, B, where Keras scales with it a second time; None elsewhere."""
    return getattr(sys.modules[_factory(arch).__module__], "IMAGENET_STDDEV_RGB", None)


def preprocess(arch: str, images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> object:
    """The network's own ``preprocess_input``, of RGB from 0 to 255."""
    return sys.modules[_factory(arch).__module__].preprocess_input(images.copy())  # it writes into what it gets


def blue_first(arch: str) -> bool:
    """Whether the network's first layer has its weights in the order B, G, R."""
    return is_application(arch) and _preprocessing(arch)[1]


def _preprocessing(arch: str) -> tuple[Normalization, bool]:
    """Mean and std of R, G, B, and whether the channels are turned round, found by what happens to four pixels.

    Each of the functions scales and moves each channel, so black and one pixel of each pure colour tell all of it.
    """
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).reshape(4, 1, 1, 3)  # float64, which it keeps
    black, *colours = np.asarray(preprocess(arch, probes)).reshape(4, 3)
    slopes = (np.stack(colours) - black) / 255  # [channel that goes in, channel that comes out]
    came_from = np.abs(slopes).argmax(0)
    assert tuple(came_from) in ((0, 1, 2), _BLUE_FIRST), f"{arch} mixes channels: {slopes}"
    std, mean = [0.0] * 3, [0.0] * 3
    for out, channel in enumerate(came_from):
        std[channel] = float(1 / slopes[channel, out])
        mean[channel] = float(0.0 - black[out] / slopes[channel, out])
    return Normalization(tuple(mean), tuple(std)), tuple(came_from) == _BLUE_FIRST


def _factory(arch: str) -> Callable[..., keras.Model]:
    name, known = arch.removeprefix(PREFIX), names()
    if name in known:
        return cast("Callable[..., keras.Model]", getattr(keras.applications, name))
    by_lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f"; did you mean '{PREFIX}{by_lower[close[0]]}'?" if close else ""
    raise UsageError(f"an architecture keras:NAME must be one of {', '.join(known)}; received {arch!r}{hint}")
