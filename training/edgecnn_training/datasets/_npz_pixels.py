"""Arrays of pictures as people save them → uint8 (N, H, W, C), or a refusal; part of `npz`.

The rule for what is not uint8, over all splits alike, so that no split is darker than another:

- whole numbers or floats from 0 to 255 are rounded, and kept as they are otherwise;
- floats from 0 to 1 (``x / 255``), and booleans, are multiplied by 255;
- anything else (negative values, 16 bits, NaN) was normalised or means something else, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn_training.datasets._files import Note
from edgecnn_training.datasets._npy import Array

_MAX_SIDE_PX = 4096


def check(array: Array) -> None:
    """Refuse an array that cannot be pictures.

    Raises:
        DataError: Its shape or its type; the message has the remedy.
    """
    shape = array.shape
    if len(shape) in (3, 4) and array.dtype.kind in "uifb":
        channels_last = len(shape) == 3 or shape[3] in (1, 3)
        if channels_last and all(1 <= side <= _MAX_SIDE_PX for side in shape[1:3]):
            return
    remedy = f"save whole pictures of 1 to {_MAX_SIDE_PX} pixels a side"
    if array.dtype.kind not in "uifb":
        remedy = "save their pixels as uint8"
    elif len(shape) == 2:
        remedy = "give each its rows and columns back, x.reshape(-1, 28, 28)"
    elif len(shape) == 4 and shape[1] in (1, 3):
        remedy = "put the channels last, x.transpose(0, 2, 3, 1)"
    elif len(shape) == 4 and shape[3] == 4:
        remedy = "leave out the transparency, x[..., :3]"
    raise DataError(
        f"pictures must be (N, H, W), (N, H, W, 1) or (N, H, W, 3); {array.archive.filename} holds {array}: {remedy}"
    )


def common_scale(arrays: Sequence[Array], note: Note) -> float:
    """By how much the values of all pictures are multiplied: 1, or 255 for floats from 0 to 1.

    Raises:
        DataError: Values out of range, or other scales in one split than in another.
    """
    arrays = [array for array in arrays if array.shape[0]]
    scales = [_scale(array) for array in arrays]
    if not arrays:
        return 1.0
    if len(set(scales)) > 1:
        of_one = arrays[scales.index(255.0)]
        of_all = arrays[scales.index(1.0)]
        raise DataError(
            f"all pictures must have one range; {of_one.where} goes from 0 to 1, {of_all.name} to 255: save both alike"
        )
    if scales[0] != 1 and arrays[0].dtype.kind == "f":
        note(f"floats from 0 to 1 in {arrays[0].archive.filename}: multiplied by 255 and rounded")
    return scales[0]


def to_uint8(values: npt.NDArray[Any], scale: float) -> npt.NDArray[np.uint8]:
    """A block of checked pictures as uint8 (N, H, W, C)."""
    if values.dtype != np.uint8:
        wide = np.rint(values.astype(np.float64) * scale) if values.dtype.kind in "fb" else values
        values = wide.astype(np.uint8)
    return values if values.ndim == 4 else values[..., None]


def _scale(array: Array) -> float:
    """Found in a pass of its own over everything that is not uint8."""
    if array.dtype == np.uint8:
        return 1.0
    if array.dtype.kind == "b":
        return 255.0
    low, high = np.inf, -np.inf
    for block in array.blocks(array.block_rows()):
        low, high = np.minimum(low, block.min()), np.maximum(high, block.max())  # NaN stays NaN
    if not (low >= 0 and high <= 255):
        raise DataError(
            f"pixels must be uint8, numbers from 0 to 255 or floats from 0 to 1; {array.where} goes from {low:g} to "
            f"{high:g} ({array.dtype}): save the pictures as they were before they were normalised"
        )
    return 255.0 if array.dtype.kind == "f" and high <= 1 else 1.0
