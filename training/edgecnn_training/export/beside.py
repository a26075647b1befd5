"""What a ``.keras`` file does not say and a person must: the labels, and what the network expects of a pixel."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import keras

from edgecnn.card import check_room
from edgecnn.errors import ModelError, SourceError, UsageError
from edgecnn_training.pictures import Normalization

CONVENTIONS = (
    "0 to 1: --scale 1/255 --offset 0; -1 to 1: --scale 1/127.5 --offset -1; ImageNet's mean and deviation: "
    "--scale 1/58.395,1/57.12,1/57.375 --offset -2.1179,-2.0357,-1.8044; as they are: --scale 1 --offset 0"
)
_MOST_BYTES = 1 << 20  # of a list of labels; a card holds 64 KiB
_LONGEST = 200  # characters of a label, as a card may have them
_LEAST = 1e-9  # of --scale: beyond, float32 loses the picture
_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)
_WITHOUT_EFFECT = (keras.layers.InputLayer, keras.layers.Identity, keras.layers.Resizing, keras.layers.CenterCrop)


def read_labels(path: Path, outputs: int) -> tuple[str, ...]:
    """Labels from a text file, UTF-8, one on each line, in the order of the network's outputs.

    Args:
        path: The file. A byte order mark, line ends of Windows and blank lines at its end do not count.
        outputs: Of the network; one output stands for two labels, the first for 0, the second for 1.

    Raises:
        SourceError: It cannot be read.
        UsageError: It is no such list, or has another number of labels.
    """
    if path.exists() and not path.is_file():
        raise SourceError(f"--labels must be a text file; {path} is none: name one with a label on each line")
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(f"--labels must be a text of at most {_MOST_BYTES:,} bytes; {path} is larger")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"--labels {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--labels must be a text in UTF-8; {path} is none ({error.reason}): save it as UTF-8"
        ) from error
    lines = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip().split("\n")
    first: dict[str, int] = {}
    for number, label in enumerate(map(str.strip, lines), 1):
        if not label or not label.isprintable() or len(label) > _LONGEST:
            rule = f"each line of --labels must be printable text of 1 to {_LONGEST} characters"
            raise UsageError(f"{rule}; line {number} of {path} is {label[:50]!r}")
        if label in first:
            raise UsageError(
                f"labels must be unique; {label!r} stands on the lines {first[label]} and {number} of {path}: "
                "give one of the two another name"
            )
        first[label] = number
    wanted = max(2, outputs)
    if len(first) != wanted:
        what = f"{outputs:,} outputs" if outputs > 1 else "one output, for which there are two labels"
        raise UsageError(
            f"--labels must name every output once; the network has {what}, {path} has {len(first):,} labels"
        )
    try:
        check_room(tuple(first))
    except ModelError as error:
        raise UsageError(f"{error} in {path}") from error
    return tuple(first)


def normalization(scale: str | None, offset: str | None, model: keras.Model) -> tuple[Normalization, str]:
    """What is done to the pixels before the network, and that in words.

    Args:
        scale: As it was typed: a number, a fraction, or one for each channel.
        offset: Likewise.
        model: The network; it may scale the pixels itself.

    Raises:
        UsageError: It is not known, or what was given has no meaning.
    """
    channels = model.input_shape[3]
    own = _scaling_layer(model)
    named = f"layer {own.name!r}, {type(own).__name__}" if own is not None else ""
    if scale is None and offset is None:
        if own is None:
            raise UsageError(
                "a .keras file does not say what its network expects of a pixel x of 0 to 255; --scale and --offset "
                f"must, for x · scale + offset. {CONVENTIONS}"
            )
        same = Normalization((0.0,) * channels, (1.0,) * channels)
        return same, f"pixels: 0 to 255, as they are, since the network scales them itself ({named})"
    times = numbers("--scale", "1" if scale is None else scale, channels)
    plus = numbers("--offset", "0" if offset is None else offset, channels)
    if not all(_LEAST <= abs(value) <= 1 / _LEAST for value in times):
        raise UsageError(f"--scale must not be 0, nor below {_LEAST:g} or above {1 / _LEAST:g}; received {scale!r}")
    if max(map(abs, plus)) > 1 / _LEAST:
        raise UsageError(f"--offset must be at most {1 / _LEAST:g}; received {offset!r}")
    if scale is None or offset is None:
        given, lacking = ("--offset", "--scale 1") if scale is None else ("--scale", "--offset 0")
        raise UsageError(
            f"--scale and --offset must go together, for x · scale + offset; received only {given}: add {lacking} if "
            f"that is meant. {CONVENTIONS}"
        )
    added = f"- {_told([-value for value in plus])}" if max(plus) < 0 else f"+ {_told(plus)}"
    told = f"pixels: x · {_told(times)} {added} of x from 0 to 255"
    mean = tuple(0.0 - b / a for a, b in zip(times, plus, strict=True))
    if own is not None:
        told += (
            f"\nnote: after that the network scales them once more ({named}); without --scale and --offset it gets "
            "them as they are"
        )
    return Normalization(mean, tuple(1 / a for a in times)), told


def numbers(option: str, text: str, channels: int) -> tuple[float, ...]:
    """``1/255`` or ``0.1,0.2,0.3`` → a number for each channel.

    Raises:
        UsageError: Anything else, or another number of numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        values = [
            float(above) / (float(below) if line else 1.0)
            for above, line, below in (part.partition("/") for part in parts)
        ]
    except (ValueError, ZeroDivisionError):
        values = []
    if len(values) not in (1, channels) or not all(map(math.isfinite, values)):
        many = f", or {channels} with commas between them, one for each channel" if channels > 1 else ""
        raise UsageError(f"{option} must be a number such as 0.5 or 1/255{many}; received {text!r}")
    return tuple(values * channels if len(values) == 1 else values)


def _told(values: Sequence[float]) -> str:
    same = len(set(values)) == 1
    return f"{values[0]:.4g}" if same else "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _scaling_layer(model: keras.Model) -> keras.Layer | None:
    """The layer that scales the pixels, if that is the first thing that happens to them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            return _scaling_layer(layer)
        if isinstance(layer, _SCALING):
            return layer
        if not isinstance(layer, _WITHOUT_EFFECT) and not type(layer).__name__.startswith("Random"):
            return None
    return None
