"""What a source yields: a picture with where it came from, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError

Image = npt.NDArray[np.uint8]
"""uint8 picture ``(H, W, C)``, upright; C is 3 (RGB) or 1 (grey)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    Attributes:
        image: uint8 ``(H, W, C)``, RGB or grey, upright, in the size the source gave it.
        source: Where it came from, as a user would name it: a path, ``-``, a camera.
        index: Number of the frame within its source, from 0.
        decode_ms: Time it took to read and decode, in milliseconds.
    """

    image: Image
    source: str
    index: int
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that gave no picture; the inputs after it go on.

    Attributes:
        source: The input, as a user would name it.
        error: Why there is no picture.
    """

    source: str
    error: EdgecnnError


class Source(Protocol):
    """What a source plug-in opens; iterate it once, close it as often as you like.

    Attributes:
        live: Whether the pictures go on until someone stops it, so that Ctrl-C is how it ends and no failure.
    """

    live: bool

    def __iter__(self) -> Iterator[Frame | Failure]:
        """Yield every frame in order, and a `Failure` in the place of each that could not be read."""
        ...

    def close(self) -> None:
        """Give back devices and files; idempotent."""
        ...
