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
    across, down = width / columns, height / rows
    if fit == "crop":
        # The part that stays visible, in source pixels; scaling only that part is the same and needs no memory for the
        # rest of a very long picture.
        scale = max(across, down)
        left, top = (columns - width / scale) / 2, (rows - height / scale) / 2
        box = (max(left, 0.0), max(top, 0.0), min(columns - left, columns), min(rows - top, rows))
        picture = picture.resize((width, height), PILImage.Resampling.BILINEAR, box=box)
    elif fit == "stretch":
        picture = picture.resize((width, height), PILImage.Resampling.BILINEAR)
    else:
        scale = min(across, down)
        size = max(1, round(columns * scale)), max(1, round(rows * scale))
        picture = picture.resize(size, PILImage.Resampling.BILINEAR)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        picture = picture.crop((left, top, left + width, top + height))  # Pillow fills with black what lies outside
    return np.asarray(picture, dtype=np.uint8).reshape(height, width, channels)


def _with_channels(image: Image, channels: int) -> PILImage.Image:
    """A Pillow picture of `image` in mode ``RGB`` (3 channels) or ``L`` (1 channel)."""
    grey = image.shape[2] == 1
    picture = PILImage.fromarray(image[:, :, 0] if grey else image)
    mode = "RGB" if channels == 3 else "L"
    return picture if picture.mode == mode else picture.convert(mode)  # convert would copy, 125 MB of 41 megapixels
