"""Frames from a stream of bytes: MJPEG, Y4M, and plain pixels of a known size.

========  ============================================================================================
mjpeg     JPEG pictures, one after the other; what lies between them is passed over
y4m       YUV4MPEG2, which says itself how large it is; 8 bits, 4:2:0, 4:2:2, 4:4:4 or grey
rgb24     red, green, blue, a byte each
bgr24     blue, green, red
gray8     a byte for each pixel
yuv420p   all Y, then a quarter as many Cb, then Cr; full range, BT.601, as a JPEG has
========  ============================================================================================
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from PIL import Image as PILImage

from edgecnn.decode import MAX_PIXELS, decode
from edgecnn.errors import ImageError, SourceError, UsageError
from edgecnn.frames import Failure, Image, Packet

FORMATS = ("mjpeg", "y4m", "rgb24", "bgr24", "gray8", "yuv420p")
SIZED = FORMATS[2:]
"""Formats whose size the stream does not say."""

MAX_FRAME_BYTES = 32 << 20
"""Largest compressed picture of a live feed; a JPEG of 50 megapixels has half of it."""

_CHUNK = 1 << 16
_MAX_HEADER = 1 << 10
_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
_BYTES = {"rgb24": 3, "bgr24": 3, "gray8": 1}
_SUBSAMPLED = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "mono": (0, 0)}
"""Of a Y4M stream: how many columns and rows share a value of Cb and Cr; 0 where there is none."""


class Stream(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes as soon as some are there; empty at the end."""
        ...


def packets(stream: Stream, format: str, size: tuple[int, int] | None, name: str) -> Iterator[Packet | Failure]:
    """Cut a stream into frames.

    Args:
        stream: What to read, unbuffered.
        format: One of `FORMATS`.
        size: Width and height, for those of `SIZED`.
        name: Of the source.

    Yields:
        Each frame; a `Failure` for one that the end of the stream has cut off, or that is damaged.

    Raises:
        SourceError: The stream has another format.
    """
    if format == "mjpeg":
        yield from _mjpeg(stream, name)
    elif format == "y4m":
        yield from _y4m(stream, name)
    else:
        assert size is not None, "checked where the options are read"
        frame_bytes, decoder = _plain(format, *size)
        yield from _fixed(stream, frame_bytes, decoder, name)


def check_options(format: str, size: tuple[int, int] | None, kind: str) -> None:
    """Raise a UsageError where a format is none, or lacks its size or has one that it does not need."""
    if format not in FORMATS:
        raise UsageError(f"format of {kind} must be one of {', '.join(FORMATS)}; received {format!r}")
    if format in SIZED and size is None:
        raise UsageError(f"{kind} needs the size of its frames for format={format}: add size=640x480")
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise UsageError(f"size of {kind} must be at most {MAX_PIXELS:,} pixels; received {size[0]}x{size[1]}")
    if size is not None and format == "yuv420p" and (size[0] % 2 or size[1] % 2):
        raise UsageError(f"size of {kind} must have even sides for format=yuv420p; received {size[0]}x{size[1]}")
    if format not in SIZED and size is not None:
        raise UsageError(f"{kind} takes no size for format={format}, which says it itself: leave it out")


def yuv_image(data: bytes, width: int, height: int, stride: int) -> Image:
    """Planes of Y, Cb and Cr, 4:2:0, as a JPEG has them → uint8 ``(H, W, 3)`` RGB.

    Args:
        data: ``stride · height · 3 / 2`` bytes.
        width: Columns of the picture.
        height: Rows; even.
        stride: Bytes of a row of Y; those behind `width` are padding.
    """
    rows = np.frombuffer(data, np.uint8).reshape(height * 3 // 2, stride)
    small = rows[height:].reshape(height, stride // 2)
    half = (width + 1) // 2
    return _merged(rows[:height, :width], small[: height // 2, :half], small[height // 2 :, :half])


def _merged(y: Image, cb: Image, cr: Image) -> Image:
    size = y.shape[1], y.shape[0]
    planes = [PILImage.fromarray(np.ascontiguousarray(plane)) for plane in (y, cb, cr)]
    scaled = [p if p.size == size else p.resize(size, PILImage.Resampling.BILINEAR) for p in planes]
    return np.asarray(PILImage.merge("YCbCr", scaled).convert("RGB"))


def _plain(format: str, width: int, height: int) -> tuple[int, Callable[[bytes], Image]]:
    """Bytes of a frame, and what makes a picture of them."""
    if format == "yuv420p":
        return width * height * 3 // 2, functools.partial(yuv_image, width=width, height=height, stride=width)

    def decoder(data: bytes) -> Image:
        image = np.frombuffer(data, np.uint8).reshape(height, width, -1)
        return image[:, :, ::-1] if format == "bgr24" else image

    return width * height * _BYTES[format], decoder


def _fixed(
    stream: Stream, frame_bytes: int, decoder: Callable[[bytes], Image], name: str
) -> Iterator[Packet | Failure]:
    index = 0
    while True:
        data = exactly(stream, frame_bytes)
        if len(data) < frame_bytes:
            if data:
                yield _cut(name, f"after {len(data):,} of {frame_bytes:,} bytes")
            return
        yield Packet(data, decoder, name, index, time.monotonic_ns())
        index += 1


def exactly(stream: Stream, count: int) -> bytes:
    """So many bytes; fewer at the end of the stream."""
    parts: list[bytes] = []
    while count > 0 and (part := stream.read(min(count, 1 << 20))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _mjpeg(stream: Stream, name: str) -> Iterator[Packet | Failure]:
    splitter, index = Jpegs(), 0
    while chunk := stream.read(_CHUNK):
        for data in splitter.add(chunk):
            yield Packet(data, decode, name, index, time.monotonic_ns())
            index += 1
    if splitter.begun:
        yield _cut(name, "within a JPEG")


class Jpegs:
    """Cuts a stream into JPEG pictures by what they say themselves, and not by markers that a thumbnail has as well."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0  # up to here it is read; 0 where no picture has begun
        self._in_scan = False

    @property
    def begun(self) -> bool:
        """Whether a picture has begun and not ended."""
        return self._at > 0

    def add(self, chunk: bytes) -> Iterator[bytes]:
        """The pictures that are whole with this chunk."""
        self._data += chunk
        while (end := self._advance()) is not None:
            if end:
                yield bytes(self._data[:end])
                self._leave(end)
        if len(self._data) > MAX_FRAME_BYTES:  # no camera makes such pictures
            self._leave(len(self._data))

    def _leave(self, count: int) -> None:
        """Begin again behind so many bytes."""
        del self._data[:count]
        self._at, self._in_scan = 0, False

    def _advance(self) -> int | None:
        """Read one segment: the end of the picture where this is its last, else 0; None where that takes more data."""
        data = self._data
        if not self._at:
            begin = data.find(_BEGIN)
            self._leave(begin if begin >= 0 else max(0, len(data) - 1))
            self._at = 2 if begin >= 0 else 0
            return 0 if begin >= 0 else None
        if self._in_scan:
            return self._scan()
        head = bytes(data[self._at : self._at + 4])
        if head[:2] == _END:
            return self._at + 2
        if len(head) < 4:
            return None
        length = int.from_bytes(head[2:], "big")
        if head[0] != 0xFF or head[1] == 0xD8 or length < 2:  # damaged: the next picture is looked for
            self._leave(self._at)
        elif head[1] == 0xFF:  # padding
            self._at += 1
        elif len(data) < self._at + 2 + length:
            return None
        else:
            self._at += 2 + length
            self._in_scan = head[1] == 0xDA
        return 0

    def _scan(self) -> int | None:
        """Pass over compressed data up to the next marker that is no restart and no stuffed byte."""
        data = self._data
        while (found := data.find(b"\xff", self._at)) >= 0:
            self._at = found
            if len(data) < found + 2:
                return None
            following = data[found + 1]
            if following == 0xFF:
                self._at = found + 1
            elif following == 0 or 0xD0 <= following <= 0xD7:
                self._at = found + 2
            else:
                self._in_scan = False
                return 0
        self._at = len(data)
        return None


def _y4m(stream: Stream, name: str) -> Iterator[Packet | Failure]:
    header = _line(stream)
    if not header.startswith(b"YUV4MPEG2 "):
        raise SourceError(f"{name}: a Y4M stream must begin with YUV4MPEG2; received {header[:20]!r}")
    frame_bytes, decoder = _y4m_layout(header.decode("ascii", "replace"), name)
    index = 0
    while line := _line(stream):
        if not line.startswith(b"FRAME"):
            raise SourceError(f"{name}: a frame of a Y4M stream must begin with FRAME; received {line[:20]!r}")
        data = exactly(stream, frame_bytes)
        if len(data) < frame_bytes:
            yield _cut(name, f"after {len(data):,} of {frame_bytes:,} bytes")
            return
        yield Packet(data, decoder, name, index, time.monotonic_ns())
        index += 1


def _y4m_layout(header: str, name: str) -> tuple[int, Callable[[bytes], Image]]:
    fields = {word[0]: word[1:] for word in header.split()[1:] if word[0] != "X"}
    width, height = (int(fields.get(key, "")) if fields.get(key, "").isdecimal() else 0 for key in "WH")
    kind = fields.get("C", "420")
    found = re.fullmatch("(420|422|444|mono)(jpeg|mpeg2|paldv)?", kind)
    if not found or min(width, height) < 1 or width * height > MAX_PIXELS:
        raise SourceError(
            f"{name}: a Y4M stream must have 8 bits, one of 4:2:0, 4:2:2, 4:4:4 or grey, and at most {MAX_PIXELS:,} "
            f"pixels; received {header.strip()[:60]!r}"
        )
    full = "XCOLORRANGE=FULL" in header.split()
    across, down = _SUBSAMPLED[found[1]]
    small = (-(-height // down), -(-width // across)) if across else (0, 0)

    def decoder(data: bytes) -> Image:
        values = np.frombuffer(data, np.uint8)
        y = values[: width * height].reshape(height, width)
        y = y if full else _full_range(y, 16, 219)
        if not across:
            return y[:, :, np.newaxis]
        cb, cr = values[width * height :].reshape(2, *small)
        return _merged(y, *(plane if full else _full_range(plane, 128, 224) for plane in (cb, cr)))

    return width * height + 2 * small[0] * small[1], decoder


@functools.cache
def _table(middle: int, span: int) -> Image:
    """A value of studio range → one of full range, for each of 256."""
    zero = 0 if middle == 16 else 128
    return np.clip(np.rint((np.arange(256) - middle) * 255 / span + zero), 0, 255).astype(np.uint8)


def _full_range(plane: Image, middle: int, span: int) -> Image:
    return _table(middle, span)[plane]


def _line(stream: Stream) -> bytes:
    line = bytearray()
    while len(line) < _MAX_HEADER and (byte := stream.read(1)) and byte != b"\n":
        line += byte
    return bytes(line)


def _cut(name: str, where: str) -> Failure:
    return Failure(name, ImageError(f"the stream ended {where}"))
