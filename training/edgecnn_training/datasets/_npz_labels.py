"""Arrays of labels as people save them → text: whole numbers, fixed-width text, or one-hot rows; part of `npz`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn_training.datasets._npy import Array


def check(array: Array) -> None:
    """Refuse an array that cannot be labels.

    Raises:
        DataError: Its shape or its type.
    """
    flat = len(array.shape) == 1 or (len(array.shape) == 2 and array.shape[1] == 1)
    one_hot = len(array.shape) == 2 and array.shape[1] > 1 and array.dtype.kind in "uifb"
    if not (flat and array.dtype.kind in "uifbUS" and array.dtype.itemsize) and not one_hot:
        raise DataError(
            f"labels must be whole numbers or text, (N,) or (N, 1), or one-hot, (N, classes); "
            f"{array.archive.filename} holds {array}: save one label for each picture"
        )


def to_text(values: npt.NDArray[Any], array: Array, start: int) -> list[str]:
    """A block of labels as text.

    Args:
        values: Rows of `array`.
        array: Named in messages.
        start: The number of the first row.

    Raises:
        DataError: A row that is no label.
    """
    if values.ndim == 2 and values.shape[1] > 1:
        return _one_hot(values, array, start)
    values = values.reshape(-1)
    if values.dtype.kind == "U":
        if values.size and np.ascontiguousarray(values).view(np.uint32).max() > sys.maxunicode:
            raise DataError(f"text must be Unicode; {array.where} is not: it is damaged, save it again")
        return [str(value) for value in values]
    if values.dtype.kind == "S":
        try:
            return [bytes(value).decode("utf-8") for value in values]
        except UnicodeDecodeError as error:
            raise DataError(f"text must be UTF-8; {array.where} is not ({error}): save it as str") from error
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~(np.isfinite(values) & (np.rint(values) == values)))
        if wrong.size:
            raise DataError(
                f"labels must be whole numbers; {array.where} has {values[wrong[0]]:g} in row {start + wrong[0]:,}: "
                "save classes, not what a network predicts"
            )
    return [str(int(value)) for value in values]


def _one_hot(values: npt.NDArray[Any], array: Array, start: int) -> list[str]:
    is_hot = values == 1
    wrong = np.flatnonzero((is_hot.sum(1) != 1) | ((values != 0) & ~is_hot).any(1))
    if wrong.size:
        row = wrong[0]
        raise DataError(
            f"each row of one-hot labels must be a single 1 among 0; row {start + row:,} of {array.where} has "
            f"{int(is_hot[row].sum())} of {values.shape[1]} at 1: save one class for each picture, y.argmax(1) if that "
            "is meant; several classes for one picture cannot be trained on"
        )
    return [str(index) for index in is_hot.argmax(1)]
