"""The text file or standard output that a sink writes lines to."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO
from urllib.parse import unquote

from edgecnn.errors import SinkError, UsageError, refuse_unknown_options
from edgecnn.prediction import SINK_OPTIONS

_DEFAULT_TOP, _MOST_TOP = 3, 1000


class Lines:
    """Lines of text to standard output (``-``) or a file; each is whole and out as soon as it is written.

    A file is written in place and not under a temporary name, so that another program can follow it while it grows.

    Args:
        uri: ``scheme:-`` or ``scheme:path``; ``%3F`` in a path stands for ``?``, which would begin the query.

    Raises:
        SinkError: The file cannot be made, or holds something that is not text and would be lost.
    """

    def __init__(self, uri: str) -> None:
        self._path = unquote(uri.partition(":")[2])
        self._stream: TextIO | None = None
        if not self._path:
            kind = uri.partition(":")[0]
            raise UsageError(f"a sink must name where to write; received {uri!r}: type {kind}:- or {kind}:results.txt")
        if self._path == "-":
            if sys.stdout is None:
                raise SinkError("standard output is closed; name a file with -o")
            self._stream = sys.stdout
            return
        if "\0" in self._path:
            raise SinkError(f"results cannot be written to {self._path!r} (null byte in the name); name another file")
        _refuse_to_destroy(self._path)
        try:
            self._stream = open(self._path, "w", encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
        except OSError as error:
            raise self._error(error) from error

    def write(self, line: str) -> None:
        """Write one line and send it off.

        Raises:
            SinkError: The disk is full, or the file was closed.
            BrokenPipeError: Whoever read it has gone.
        """
        if self._stream is None:
            raise SinkError("a closed sink cannot be written to; open it again")
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the file; standard output stays open. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is None or self._path == "-":
            return
        try:
            stream.close()
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"results cannot be written to {self._path!r} ({error.strerror}); name another file")


def read_top(kind: str, options: Mapping[str, str]) -> int:
    """The option ``top``, the only one that sinks of text have beside those of all sinks.

    Raises:
        UsageError: Another option, or no number of 1 to 1,000.
    """
    refuse_unknown_options(f"the sink {kind}", options, ("top", *SINK_OPTIONS))
    text = options.get("top", str(_DEFAULT_TOP))
    if not (text.isdecimal() and text.isascii() and len(text) <= 9 and 1 <= int(text) <= _MOST_TOP):
        raise UsageError(f"top must be a number of 1 to {_MOST_TOP:,}; received {text[:50]!r}")
    return int(text)


def _refuse_to_destroy(path: str) -> None:
    """``-o *.jpg`` makes the shell name the first photo as the output: what is no text is not overwritten."""
    if not os.path.isfile(path):
        return
    try:
        with open(path, "rb") as file:
            beginning = file.read(256)
    except OSError:
        return  # opening it for writing tells what is wrong
    binary = any(byte < 32 and byte not in b"\t\r\n" for byte in beginning)
    if binary or re.match(rb"P[1-3]\s", beginning):  # pictures as text: PBM, PGM and PPM
        raise SinkError(f"{path!r} exists and holds no text, so it is not overwritten; name another file")
