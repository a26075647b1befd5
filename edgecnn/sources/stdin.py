"""One picture on standard input: ``edgecnn predict model.onnx - < photo.jpg``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

from edgecnn.decode import MAX_FILE_BYTES, decode
from edgecnn.errors import ImageError, SourceError, refuse_unknown_options
from edgecnn.frames import Failure, Frame

SCHEMES = ("-",)


def open(uri: str, options: Mapping[str, str]) -> StandardInput:
    """Open standard input; it is read when the source is iterated.

    Raises:
        UsageError: Any option; there are none.
        SourceError: Nothing is connected to it, or a terminal.
    """
    refuse_unknown_options("the source -", options, ())
    if sys.stdin is None or sys.stdin.closed:
        raise SourceError("standard input (-) is closed; send a picture to it: edgecnn predict MODEL - < photo.jpg")
    if sys.stdin.isatty():
        raise SourceError("standard input (-) is a terminal; send a picture to it: edgecnn predict MODEL - < photo.jpg")
    return StandardInput()


class StandardInput:
    """A source of one picture."""

    live = False

    def __iter__(self) -> Iterator[Frame | Failure]:
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
