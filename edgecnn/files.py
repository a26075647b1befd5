"""Files that are written whole, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def temporary_name(path: Path) -> Path:
    """What `path` is called while it is written: hidden, and in the same folder."""
    return path.with_name(f".{path.name}.partial")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or leave what was there.

    Bytes, since Pillow takes a file that is cut off by a full disk for written.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` once it is whole, and is gone after an error or Ctrl-C.

    Args:
        path: The file to write; one that is there already stays until the new one is whole.

    Yields:
        The name to write under; what lay there, such as a link to somewhere else, is removed first.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = temporary_name(path)
    temporary.unlink(missing_ok=True)  # a link would be written through
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
