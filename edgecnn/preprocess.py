"""The only place that resizes: from a picture of any size to exactly what a network takes.

Training, calibration, evaluation and prediction all call `fit_image`, so that a network sees in use what it saw in
training. The filter is Pillow's ``BILINEAR``, which widens its support when it shrinks (it antialiases); grey is
Pillow's ``L`` (ITU-R 601-2: ``L = 0.299 R + 0.587 G + 0.114 B``).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from PIL import Image as PILImage

from edgecnn.errors import UsageError
from edgecnn.frames import Image
from edgecnn.prediction import Region

Fit = Literal["crop", "stretch", "pad"]
FITS: tuple[str, ...] = get_args(Fit)


def fit_image(image: Image, height: int, width: int, channels: int, fit: str = "crop") -> Image:
    """Bring a picture to ``(height, width, channels)``.

    Args:
        image: uint8 ``(H, W, 3)`` RGB or ``(H, W, 1)`` grey, of any size.
        height: Rows of the result.
        width: Columns of the result.
        channels: 3 (grey is repeated) or 1 (colour becomes Pillow's ``L``).
        fit: ``"crop"`` scales until the picture just covers the result and cuts the rest off evenly; ``"stretch"``
            scales both sides and distorts; ``"pad"`` scales until it fits inside and fills up with black.

    Returns:
        uint8 ``(height, width, channels)``; the input itself where nothing is to do.

    Raises:
        UsageError: `fit` is none of the three.
    """
    if fit not in FITS:
        raise UsageError(f"fit must be one of {', '.join(FITS)}; received {fit!r}")
    if image.shape == (height, width, channels):
        return image
    picture = _with_channels(image, channels)
    rows, columns = image.shape[:2]
    if fit == "crop":
        # Scaling only the part that stays visible is the same and needs no memory for the rest of a very long picture.
        box = _covered(rows, columns, height, width)
        picture = picture.resize((width, height), PILImage.Resampling.BILINEAR, box=box)
    elif fit == "stretch":
        picture = picture.resize((width, height), PILImage.Resampling.BILINEAR)
    else:
        size, left, top = _padded(rows, columns, height, width)
        picture = picture.resize(size, PILImage.Resampling.BILINEAR)
        picture = picture.crop((left, top, left + width, top + height))  # Pillow fills with black what lies outside
    return np.asarray(picture, dtype=np.uint8).reshape(height, width, channels)


def region_seen(rows: int, columns: int, height: int, width: int, fit: str) -> Region:
    """Which part of a picture `fit_image` shows to a network of ``height`` × ``width`` pixels.

    Args:
        rows: Of the picture.
        columns: Of the picture.
        height: Of what the network takes.
        width: Of what the network takes.
        fit: As for `fit_image`.

    Returns:
        In the picture's pixels; with ``"pad"`` it reaches beyond the picture by what is filled up.
    """
    if fit == "crop":
        return Region(*_covered(rows, columns, height, width))
    if fit == "stretch":
        return Region(0.0, 0.0, columns, rows)
    (wide, tall), left, top = _padded(rows, columns, height, width)
    across, down = columns / wide, rows / tall
    return Region(left * across, top * down, (left + width) * across, (top + height) * down)


def _covered(rows: int, columns: int, height: int, width: int) -> tuple[float, float, float, float]:
    """What stays visible of a picture that is cropped: left, top, right and bottom in its own pixels."""
    scale = max(width / columns, height / rows)
    left, top = (columns - width / scale) / 2, (rows - height / scale) / 2
    return max(left, 0.0), max(top, 0.0), min(columns - left, columns), min(rows - top, rows)


def _padded(rows: int, columns: int, height: int, width: int) -> tuple[tuple[int, int], int, int]:
    """The size to which a picture is scaled that is padded, and where the result begins in it, not above 0."""
    scale = min(width / columns, height / rows)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    return size, (size[0] - width) // 2, (size[1] - height) // 2


def _with_channels(image: Image, channels: int) -> PILImage.Image:
    """A Pillow picture of `image` in mode ``RGB`` (3 channels) or ``L`` (1 channel)."""
    grey = image.shape[2] == 1
    picture = PILImage.fromarray(image[:, :, 0] if grey else image)
    mode = "RGB" if channels == 3 else "L"
    return picture if picture.mode == mode else picture.convert(mode)  # convert would copy, 125 MB of 41 megapixels
