"""A synthetic live feed of drawn letters, A to J in turn: ``test:`` stands in for a camera.

``edgecnn predict letters.onnx 'test:?fps=5&text=CAFE'``. The options, with what holds where they are not given:

======  ==========  ================================================================
size    320x240     width and height of a frame in pixels, each 32 to 4096
fps     10          frames per second, up to 1000; 0 is as fast as they are taken
frames  no end      how many frames there are
hold    10          for how many frames a letter stays
text    ABCDEFGHIJ  which letters, one after the other and over again
seed    0           another seed wanders another way, and has other noise
======  ==========  ================================================================

A frame is a letter of white strokes in the centre square of a dark picture. Its place, size, tilt and thickness wander
slowly, and every frame has noise of its own; so no two are equal, and yet each follows from seed and index alone.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgecnn.errors import SourceError, UsageError
from edgecnn.frames import Frame, Image
from edgecnn.sources._options import refuse_unknown, size, whole

SCHEMES = ("test",)
LETTERS = "ABCDEFGHIJ"

_OPTIONS = ("size", "fps", "frames", "hold", "text", "seed")
_SMALLEST_PX, _LARGEST_PX = 32, 4096
_MOST = 10**9
_DARK, _BRIGHT, _NOISE = 8, 232, 16  # grey levels; noise comes on top of both, and 232 + 15 does not overflow

_Field = npt.NDArray[np.float32]
"""float32, a number per pixel: ``(H, W)``, or ``(H, 1)`` and ``(1, W)`` to be broadcast to it."""


def open(uri: str, options: Mapping[str, str]) -> Feed:
    """Open ``test:``; its clock starts when it is iterated.

    Args:
        uri: ``test:`` with nothing behind the colon.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, a value that one cannot have, or something behind the colon.
        SourceError: There is no colon: a folder of that name was meant, and is not there.
    """
    if ":" not in uri:
        raise SourceError(f"no file or folder {uri!r}; for the synthetic feed of letters type {uri}: with a colon")
    refuse_unknown("the source test:", options, _OPTIONS, live=True)
    if uri.partition(":")[2]:
        raise UsageError(f"the source test: takes options only; received {uri!r}: type test: or 'test:?fps=5'")
    return Feed(
        size=size(options.get("size", "320x240"), _SMALLEST_PX, _LARGEST_PX, "320x240"),
        fps=whole(options, "fps", 10, 0, 1000),
        frames=whole(options, "frames", 0, 1, _MOST),
        hold=whole(options, "hold", 10, 1, _MOST),
        text=_text(options.get("text", LETTERS)),
        seed=whole(options, "seed", 0, 0, _MOST),
    )


@dataclass(frozen=True)
class Feed:
    """A source of drawn letters, for one thread to iterate; any thread may close it, which ends it.

    Attributes:
        size: Width and height in pixels.
        fps: Frames per second; 0 does not wait.
        frames: How many there are; 0 is no end.
        hold: For how many frames a letter stays.
        text: Which letters, one after the other.
        seed: What else a frame follows from.
    """

    size: tuple[int, int]
    fps: int
    frames: int
    hold: int
    text: str
    seed: int
    _closed: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    live = True

    @property
    def patient(self) -> bool:
        """Whether it waits for who takes the frames: it does where it has no pace of its own."""
        return not self.fps

    def __iter__(self) -> Iterator[Frame]:
        """Draw each frame when it is due; one that is late comes at once, and none is left out."""
        start = time.monotonic()
        index = 0
        while not self._closed.is_set() and (index < self.frames or not self.frames):
            wait_s = start + index / self.fps - time.monotonic() if self.fps else 0.0
            if wait_s > 0 and self._closed.wait(wait_s):
                return
            began = time.perf_counter()
            image = draw(letter_at(index, self.text, self.hold), index, size=self.size, seed=self.seed)
            yield Frame(image, "test:", index, (time.perf_counter() - began) * 1000, numbered=True)
            index += 1

    def close(self) -> None:
        """End the feed, even while it waits for its next frame; idempotent."""
        self._closed.set()


def letter_at(index: int, text: str = LETTERS, hold: int = 10) -> str:
    """The letter that frame `index` shows."""
    return text[index // hold % len(text)]


def draw(letter: str, index: int, *, size: tuple[int, int] = (320, 240), seed: int = 0) -> Image:
    """Draw one frame.

    Args:
        letter: One of `LETTERS`.
        index: The frame's: how far the letter has wandered, and which noise lies over it.
        size: Width and height in pixels.
        seed: What the wandering and the noise follow from.

    Returns:
        uint8 ``(H, W, 3)`` RGB, the same for the same arguments.

    Raises:
        UsageError: It is no such letter.
    """
    width, height = size
    right, down, grown, tilted, bold = _wander(seed, index)
    side = min(size)
    tall = side * (0.84 + 0.04 * grown)  # where all is at its most, a corner is still within the square
    angle = math.radians(5 * tilted)
    x, columns = _around(width / 2 + 0.02 * side * right, width, tall, angle)
    y, rows = _around(height / 2 + 0.02 * side * down, height, tall, angle)
    x, y = x[None, :], y[:, None]
    upright = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    ink = np.clip(0.5 - tall * _distance(letter, *upright, 0.085 + 0.015 * bold), 0, 1)  # an edge is a pixel soft
    image = np.random.default_rng((seed, index)).integers(_DARK, _DARK + _NOISE, (height, width, 3), np.uint8)
    image[rows, columns] += (ink * (_BRIGHT - _DARK)).astype(np.uint8)[:, :, None]
    return image


def _wander(seed: int, index: int) -> list[float]:
    """Five numbers from -1 to 1 that change slowly with the index: each the mean of two waves of 60 to 240 frames."""
    random = np.random.default_rng(seed)
    length, phase = random.uniform(60, 240, (5, 2)), random.uniform(0, 2 * math.pi, (5, 2))
    return [float(value) for value in np.sin(2 * math.pi * index / length + phase).mean(axis=1)]


def _around(middle: float, length: int, tall: float, angle: float) -> tuple[_Field, slice]:
    """Where, along one side of a frame, a tilted letter can be: distances from its middle in letters, and pixels."""
    reach = tall / 2 * (math.cos(angle) + abs(math.sin(angle))) + 1
    pixels = slice(max(0, math.floor(middle - reach)), min(length, math.ceil(middle + reach)))
    return ((np.arange(pixels.start, pixels.stop) + 0.5 - middle) / tall).astype(np.float32), pixels


def _distance(letter: str, x: _Field, y: _Field, half: float) -> _Field:
    """How far each point is from a letter's ink, negative inside, in heights of the letter.

    Args:
        letter: One of `LETTERS`; it is 1 high and at most as wide.
        x: To the right of its middle.
        y: Downwards from its middle.
        half: Half the thickness of a stroke.
    """
    strokes = [stroke.distance(x, y, half) for stroke in _strokes(letter, half)]
    level: _Field = abs(y) - 0.5  # feet and tips are cut off there
    return np.maximum(functools.reduce(np.minimum, strokes), level)


@dataclass(frozen=True, slots=True)
class _Bar:
    """A straight stroke with square ends."""

    x0: float
    y0: float
    x1: float
    y1: float

    def distance(self, x: _Field, y: _Field, half: float) -> _Field:
        length = math.hypot(self.x1 - self.x0, self.y1 - self.y0)
        cos, sin = (self.x1 - self.x0) / length, (self.y1 - self.y0) / length
        x, y = x - (self.x0 + self.x1) / 2, y - (self.y0 + self.y1) / 2
        along: _Field = abs(x * cos + y * sin) - length / 2
        across: _Field = abs(y * cos - x * sin) - half
        return np.maximum(along, across)


@dataclass(frozen=True, slots=True)
class _Arc:
    """A round stroke with square ends, clockwise between two angles in degrees; 0 is to the right."""

    x: float
    y: float
    radius: float
    begin: float
    end: float

    def distance(self, x: _Field, y: _Field, half: float) -> _Field:
        x, y = x - self.x, y - self.y
        begin, end = math.radians(self.begin), math.radians(self.end)
        after = x * math.sin(begin) - y * math.cos(begin)  # negative where clockwise of the begin
        before = y * math.cos(end) - x * math.sin(end)
        within = np.maximum(after, before) if self.end - self.begin <= 180 else np.minimum(after, before)
        return np.maximum(abs(np.hypot(x, y) - self.radius) - half, within)


def _strokes(letter: str, half: float) -> list[_Bar | _Arc]:
    """The strokes of a letter that reaches from -0.5 to 0.5 downwards, whatever their thickness.

    An arc begins a little early where it goes on from a bar: two soft ends would leave a seam.
    """
    edge = 0.5 - half  # where an outermost stroke has its middle
    left, right = half - 0.45, 0.45 - half
    stem, top = _Bar(left, -0.5, left, 0.5), _Bar(left, -edge, 0.4, -edge)
    match letter:
        case "A":
            foot = 0.5 - 1.1 * half
            legs = [_Bar(side * 1.2 * foot, 0.7, side * -0.2 * foot, -0.7) for side in (-1, 1)]
            return [*legs, _Bar(-0.68 * foot, 0.18, 0.68 * foot, 0.18)]
        case "B":
            bowl = edge / 2
            bars = [_Bar(left, y, right - bowl, y) for y in (-edge, 0, edge)]
            return [stem, *bars, *(_Arc(right - bowl, y, bowl, -95, 95) for y in (-bowl, bowl))]
        case "C":
            return [_Arc(0, 0, edge, 45, 315)]
        case "D":
            bars = [_Bar(left, y, right - edge, y) for y in (-edge, edge)]
            return [stem, *bars, _Arc(right - edge, 0, edge, -95, 95)]
        case "E":
            return [stem, top, _Bar(left, 0, 0.32, 0), _Bar(left, edge, 0.4, edge)]
        case "F":
            return [stem, top, _Bar(left, 0.03, 0.3, 0.03)]
        case "G":
            return [_Arc(0, 0, edge, 0, 315), _Bar(0.06, half, edge, half)]
        case "H":
            return [stem, _Bar(left, 0, right, 0), _Bar(right, -0.5, right, 0.5)]
        case "I":
            return [_Bar(0, -0.5, 0, 0.5), *(_Bar(-0.3, y, 0.3, y) for y in (-edge, edge))]
        case "J":
            hook = 0.38 - half
            return [_Bar(hook, -0.5, hook, edge - hook), _Arc(0, edge - hook, hook, -5, 165)]
    raise UsageError(f"a letter must be one of {', '.join(LETTERS)}; received {letter!r}")


def _text(text: str) -> str:
    if not text or set(text) - set(LETTERS):
        raise UsageError(f"text must be capital letters from A to J; received {text!r}: type text={LETTERS}")
    return text
