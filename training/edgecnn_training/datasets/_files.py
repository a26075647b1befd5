"""Reads one picture file of a folder or a manifest, and nothing that is not a regular file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from edgecnn.errors import ImageError

MAX_FILE_BYTES = 100 * 10**6
"""Largest picture file that is read, in bytes; a 50-megapixel photo has about 30 million."""

TOO_LARGE = f"larger than the limit of {MAX_FILE_BYTES // 10**6} MB for one picture"

Note = Callable[[str], None]
"""Takes one line that the user should see."""


def ignore(line: str) -> None:
    """A `Note` that nobody reads."""


def read_file(path: Path) -> bytes:
    """All bytes of a regular file; links are followed.

    Opened without blocking, so that a pipe somebody put among the pictures cannot hang the training.

    Raises:
        ImageError: Missing, unreadable, too large, or no regular file; the message is the reason.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:  # ValueError: a NUL in a manifest's path
        raise ImageError(_reason(error)) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(TOO_LARGE)
        with open(handle, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ImageError(_reason(error)) from error
    finally:
        os.close(handle)


def first_bytes(location: str, count: int) -> bytes:
    """The beginning of a regular file; empty where there is none that can be read."""
    try:
        if not stat.S_ISREG(os.stat(location).st_mode):
            return b""
        with open(location, "rb") as file:
            return file.read(count)
    except (OSError, ValueError):
        return b""


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"
