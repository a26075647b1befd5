"""What a source yields: a picture with where it came from, or the reason why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecnn.errors import EdgecnnError, ImageError

Image = npt.NDArray[np.uint8]
"""uint8 picture ``(H, W, C)``, upright; C is 3 (RGB) or 1 (grey)."""

VIEW_OPTIONS = ("rotate", "flip", "crop", "every", "skip")
"""Options of a URI that every source has, since `edgecnn.view` sees to them; a plug-in does not get them."""
LIVE_OPTIONS = ("policy", "stall", "max_age", "retries")
"""Those that every live source has besides; `edgecnn.live` sees to them."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    Attributes:
        image: uint8 ``(H, W, C)``, RGB or grey, upright, in the size the source gave it.
        source: Where it came from, as a user would name it: a path, ``-``, a camera.
        index: Number of the frame within its source, from 0.
        decode_ms: Time it took to read and decode, in milliseconds.
        arrived_ns: When it had arrived here, by `time.monotonic_ns`; None for pictures that lie in files.
        sensor_ns: When the camera's sensor was exposed, by the same clock; None where the source does not know.
        numbered: Whether `index` tells something: it is one of a video's frames, and not a picture of its own.
    """

    image: Image
    source: str
    index: int
    decode_ms: float
    arrived_ns: int | None = None
    sensor_ns: int | None = None
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame of a live feed that is decoded only once its turn comes, so that a dropped one costs little.

    Attributes:
        data: What arrived.
        decode: Data → uint8 ``(H, W, C)``, RGB or grey, upright; raises an `ImageError`.
        source: As in `Frame`.
        index: As in `Frame`.
        arrived_ns: As in `Frame`.
        sensor_ns: As in `Frame`.
    """

    data: bytes
    decode: Callable[[bytes], Image]
    source: str
    index: int
    arrived_ns: int | None = None
    sensor_ns: int | None = None

    def decoded(self) -> Frame | Failure:
        """The frame, or why it is none."""
        began = time.perf_counter()
        try:
            image = self.decode(self.data)
        except ImageError as error:
            return Failure(self.source, error)
        taken_ms = (time.perf_counter() - began) * 1000
        return Frame(image, self.source, self.index, taken_ms, self.arrived_ns, self.sensor_ns, numbered=True)


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that gave no picture; the inputs after it go on.

    Attributes:
        source: The input, as a user would name it.
        error: Why there is no picture.
    """

    source: str
    error: EdgecnnError


@dataclass(frozen=True, slots=True)
class Found:
    """A camera that is there, as a source plug-in's ``found() -> Iterable[Found]`` lists it.

    Attributes:
        source: What to type for it.
        name: What it calls itself.
    """

    source: str
    name: str


Item: TypeAlias = "Frame | Packet | Failure"


class Source(Protocol):
    """What a source plug-in opens; iterate it once, close it as often as you like.

    A live one is iterated by a thread of its own, and raises a `SourceError` where the connection is lost: it is then
    opened anew. Where the iteration just ends, the feed is over. It may say more of itself: ``patient = True``, that it
    waits for who takes its frames and loses none; ``once = True``, that it cannot be opened anew; ``pause_s``, how many
    seconds it is quiet between two frames.

    Attributes:
        live: Whether the pictures go on until someone stops it, so that Ctrl-C is how it ends and no failure.
    """

    live: bool

    def __iter__(self) -> Iterator[Item]:
        """Yield every frame in order, and a `Failure` in the place of each that could not be read."""
        ...

    def close(self) -> None:
        """Give back devices and files; idempotent. Of a live source any thread may call it: its iteration ends soon."""
        ...
