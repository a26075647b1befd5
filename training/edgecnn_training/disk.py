"""Temporary files, and what to say where the disk takes no more."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.errors import DataError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REMEDY = "free some space, or set TMPDIR to a folder on a larger disk"


def is_full(error: BaseException) -> bool:
    """Whether the disk, the user's share of it or the largest size of a file is used up."""
    return isinstance(error, OSError) and error.errno in _FULL


def check_temporary(purpose: str) -> None:
    """Refuse to begin where no temporary file can be written: Python has then tried all folders it knows.

    Args:
        purpose: Completes "must be written …": ``"to train"``.

    Raises:
        DataError: There is no such folder.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise DataError(f"temporary files must be written {purpose}, and no folder takes any: {_REMEDY}") from error


@contextmanager
def scratch(purpose: str, needed_bytes: int) -> Iterator[Path]:
    """A temporary folder that is gone afterwards, whatever happens.

    Args:
        purpose: Completes "must be written …": ``"to export"``.
        needed_bytes: Refused at once where less is free, since not every library tells that a disk is full.

    Raises:
        DataError: The disk is full, now or later.
    """
    check_temporary(purpose)
    place = tempfile.gettempdir()
    try:
        with tempfile.TemporaryDirectory(prefix="edgecnn-", dir=place) as folder:
            free = shutil.disk_usage(folder).free
            if free < needed_bytes:
                raise DataError(
                    f"temporary files must be written {purpose}; {needed_bytes / 1e6:,.1f} MB are needed and "
                    f"{free / 1e6:,.1f} MB free in {place}: {_REMEDY}"
                )
            yield Path(folder)
    except OSError as error:
        if not is_full(error):
            raise
        raise DataError(f"temporary files must be written {purpose}; {error.strerror} in {place}: {_REMEDY}") from error
