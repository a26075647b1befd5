"""The letters A to J in free fonts, 28×28 grey, in the spirit of notMNIST; comes with edgecnn, needs no network.

Drawn by ``scripts/make_glyphs.py`` from fonts that Debian packages. ``glyphs.png`` has a row for each font face and a
column for each letter; ``glyphs.csv`` says what a row is: split, font family, face, the package it comes from, that
package's version and licence, and which letters count (no picture is there twice). The splits are by font family.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from edgecnn.errors import DataError
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Example, Item

LETTERS = "ABCDEFGHIJ"
SIDE_PX = 28


def accepts(location: str) -> bool:
    """Whether it is the word ``glyphs``; something of that name that exists is a path before it is a name."""
    return location == "glyphs" and not os.path.lexists(location)


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every letter of every face, with its split, and its font family as its group.

    Raises:
        DataError: The two files were damaged.
    """
    sheet, index = (Path(__file__).with_name(name) for name in ("glyphs.png", "glyphs.csv"))
    try:
        with PILImage.open(sheet) as picture:
            pixels = np.asarray(picture, np.uint8)
        with index.open(encoding="utf-8", newline="") as file:
            faces = list(csv.DictReader(file))
        rows = pixels.reshape(len(faces), SIDE_PX, len(LETTERS), SIDE_PX, 1).swapaxes(1, 2)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{sheet} and {index.name} must be as they were installed; {error}: install again") from error
    for face, row in zip(faces, rows, strict=True):
        for letter in face["letters"]:
            name = f"{face['split']}/{letter}/{face['face']}.png"
            yield Example(row[LETTERS.index(letter)], letter, name, face["split"], face["family"])
