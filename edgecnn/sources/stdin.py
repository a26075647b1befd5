"""Standard input: one picture, ``-``, or the frames that another program sends, ``'stdin:?format=mjpeg'``.

======  =======  ===========================================================================
format  (none)   ``mjpeg``, ``y4m``, ``rgb24``, ``bgr24``, ``gray8`` or ``yuv420p``; without it one picture is read
size    (none)   width and height, ``640x480``, for all but ``mjpeg`` and ``y4m``
======  =======  ===========================================================================
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping

from edgecnn.decode import MAX_FILE_BYTES, decode
from edgecnn.errors import ImageError, SourceError
from edgecnn.frames import Failure, Frame, Item
from edgecnn.sources import _raw
from edgecnn.sources._options import refuse_unknown, size

SCHEMES = ("-", "stdin")

_OPTIONS = ("format", "size")


def open(uri: str, options: Mapping[str, str]) -> StandardInput | Piped:
    """Open standard input; it is read when the source is iterated.

    Args:
        uri: ``-`` or ``stdin:``.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, a value that one cannot have, or something behind the colon.
        SourceError: Nothing is connected to it, or a terminal.
    """
    refuse_unknown("the source -", options, _OPTIONS, live=True)
    if uri not in ("-", "stdin", "stdin:"):
        raise SourceError(f"no file or folder {uri!r}; standard input is - or stdin:")
    format = options.get("format")
    frame = size(options["size"], 1, 16_384, "640x480") if "size" in options else None
    _raw.check_options(format or "mjpeg", frame, "the source -")
    if sys.stdin is None or sys.stdin.closed:
        raise SourceError("standard input (-) is closed; send a picture to it: edgecnn predict MODEL - < photo.jpg")
    if sys.stdin.isatty():
        raise SourceError("standard input (-) is a terminal; send a picture to it: edgecnn predict MODEL - < photo.jpg")
    return StandardInput() if format is None else Piped(format, frame)


class StandardInput:
    """A source of one picture."""

    live = False

    def __iter__(self) -> Iterator[Item]:
        """Read to the end and decode."""
        started = time.perf_counter()
        data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        try:
            if len(data) > MAX_FILE_BYTES:
                raise ImageError(f"a picture must be at most {MAX_FILE_BYTES} bytes; received more")
            image = decode(data)
        except ImageError as error:
            yield Failure("-", error)
        else:
            yield Frame(image, "-", 0, (time.perf_counter() - started) * 1000)

    def close(self) -> None:
        """Nothing to give back: standard input belongs to whoever started the program."""


class Piped:
    """A live source of the frames that another program sends; it is over when that one ends."""

    live = True
    once = True

    def __init__(self, format: str, size: tuple[int, int] | None) -> None:
        self._format, self._size = format, size
        self._wakes, self._wake = socket.socketpair()
        self._closed = False

    def __iter__(self) -> Iterator[Item]:
        """Cut what comes into frames.

        Raises:
            SourceError: It is something else, or nothing.
        """
        came = False
        with self._wakes:
            for item in _raw.packets(self, self._format, self._size, "stdin:"):
                if self._closed:
                    return
                came = True
                yield item
        if not came and not self._closed:
            raise SourceError(f"standard input (-) must bring frames of format={self._format}; none came")

    def read(self, size: int, /) -> bytes:
        """What there is, as soon as there is something; empty at the end, and when it is closed."""
        descriptor = sys.stdin.fileno()
        ready, _, _ = select.select([descriptor, self._wakes], [], [])
        return b"" if self._wakes in ready else os.read(descriptor, size)

    def close(self) -> None:
        """End at once, also where nothing comes; idempotent."""
        self._closed = True
        self._wake.close()  # which the other end notices
