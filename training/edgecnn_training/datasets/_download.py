"""The files of known data sets, downloaded once and checked; they lie in ``$XDG_CACHE_HOME/edgecnn/downloads/``.

A download is written to ``NAME.part``, gone on with after an interruption, compared with the published size and
checksum, and only then given its name. A file that lies there already, whoever put it there, is compared as well.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

from edgecnn.errors import DataError, SourceError

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30
_TOLD_EVERY_BYTES = 50 * 10**6


@dataclass(frozen=True, slots=True)
class Remote:
    """A published file.

    Attributes:
        name: Its file name.
        urls: Where it lies; the next one is tried where one fails.
        size_bytes: Its published size.
        checksum: ``"sha256:…"``, or ``"md5:…"`` where its publisher gives no other.
    """

    name: str
    urls: tuple[str, ...]
    size_bytes: int
    checksum: str


def fetch(known_as: str, remotes: Sequence[Remote]) -> list[Path]:
    """The files of a known data set; those that are not there yet are downloaded.

    Args:
        known_as: The data set's name, and that of its folder among the downloads.
        remotes: Its files.

    Raises:
        SourceError: A file cannot be downloaded, or is not the published one; the message says which to put where.
        DataError: The folder of the downloads cannot be written.
    """
    folder = downloads() / known_as
    paths = []
    for remote in remotes:
        path = folder / remote.name
        if not path.exists():
            with _explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            _download(known_as, path, remote, remotes)
        _check(path, remote)
        paths.append(path)
    return paths


def downloads() -> Path:
    """Where all downloads lie.

    Raises:
        DataError: This user has no home folder, and ``XDG_CACHE_HOME`` is not set.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "edgecnn" / "downloads"
    except RuntimeError as error:
        raise DataError(
            "downloads must lie somewhere, and this user has no home folder: set XDG_CACHE_HOME to a folder that you "
            "may write to"
        ) from error


class _FailedError(Exception):
    """Why one place did not give a file."""


def _download(known_as: str, path: Path, remote: Remote, remotes: Sequence[Remote]) -> None:
    """Bring a file to `path` from the first place that gives it whole."""
    reasons = []
    with _claimed(path) as file:
        if file is None:
            return
        for url in remote.urls:
            try:
                _fill(url, file, remote)
            except _FailedError as error:
                reasons.append(f"{urlsplit(url).netloc}: {error}")
                continue
            with _explained(path.parent):
                os.fsync(file.fileno())
                os.replace(_part(path), path)
            return
    places = " or ".join(url.rpartition("/")[0] + "/" for url in remote.urls)
    raise SourceError(
        f"{known_as} must be downloaded once, and {remote.name} could not be ({'; '.join(reasons)}): connect to the "
        f"network and try again, or get {', '.join(one.name for one in remotes)} from {places} and put "
        f"{'it' if len(remotes) == 1 else 'them'} into {path.parent}"
    )


def _fill(url: str, file: FileIO, remote: Remote) -> None:
    """Append what is missing, as often as a try brings anything, and compare the whole; a bad beginning is let go."""
    begun, before = _size(file) > 0, -1
    while (size := _size(file)) < remote.size_bytes:
        if size <= before:
            raise _FailedError(f"it ends after {size:,} of {remote.size_bytes:,} bytes")
        before = size
        try:
            _append(url, file, remote)
        except _FailedError:
            if _size(file) <= before:
                raise
    received = _digest(_path(file), remote.checksum)
    if _size(file) != remote.size_bytes or received != remote.checksum:
        wrong = f"it has {_size(file):,} bytes and {received}"
        _truncate(file)
        if begun:
            _fill(url, file, remote)
            return
        raise _FailedError(f"{wrong}, and should have {remote.size_bytes:,} bytes and {remote.checksum}")


def _append(url: str, file: FileIO, remote: Remote) -> None:
    """One request for what is missing; a server that cannot begin in the middle begins anew."""
    start = _size(file)
    request = urllib.request.Request(url, headers={"User-Agent": "edgecnn"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            if not (start and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
                _truncate(file)
            _say(f"downloading {remote.name}, {remote.size_bytes / 1e6:,.1f} MB, from {urlsplit(url).netloc}")
            while _size(file) <= remote.size_bytes and (block := answer.read(_BLOCK_BYTES)):
                told = _size(file) // _TOLD_EVERY_BYTES
                _write(file, block)
                if _size(file) // _TOLD_EVERY_BYTES > told:
                    _say(f"{remote.name}: {_size(file) / remote.size_bytes:.0%}")
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "code", 0) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _truncate(file)
        raise _FailedError(_reason(error)) from error


def _reason(error: OSError | http.client.HTTPException) -> str:
    """What went wrong, in the words of the innermost error."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


@functools.lru_cache(maxsize=64)
def _checked(path: str, size_bytes: int, modified_ns: int, checksum: str) -> str:
    """The checksum of a file that did not change since it was asked for last."""
    return _digest(Path(path), checksum)


def _check(path: Path, remote: Remote) -> None:
    """Refuse a file that is not the published one."""
    with _explained(path.parent):
        status = path.stat()
        received = _checked(str(path), status.st_size, status.st_mtime_ns, remote.checksum)
    if received != remote.checksum:
        raise SourceError(
            f"{path} must be the published file of {remote.size_bytes:,} bytes and {remote.checksum}; it has "
            f"{status.st_size:,} bytes and {received}: delete it, and it is downloaded anew (a file that was packed "
            "anew is another one; such files can be read from a folder of their own)"
        )


def _digest(path: Path, checksum: str) -> str:
    """``"sha256:…"`` of a file, by the algorithm of `checksum`; MD5 only tells apart what nobody forged."""
    algorithm = checksum.partition(":")[0]
    with _explained(path.parent), path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{found.hexdigest()}"


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


@contextmanager
def _claimed(path: Path) -> Iterator[FileIO | None]:
    """The unfinished file of `path` for one process alone; None where another one has finished it meanwhile."""
    part = _part(path)
    while not path.exists():
        with _explained(path.parent):
            file = FileIO(part, "ab")
        with file:
            _lock(file, path)
            if not _is_still(file, part):
                continue
            try:
                yield file
            finally:
                if _size(file) == 0:
                    part.unlink(missing_ok=True)
            return
    yield None


def _lock(file: FileIO, path: Path) -> None:
    with suppress(OSError):  # a file system without locks, as some of a network are
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another process that downloads {path.name}")
            fcntl.flock(file, fcntl.LOCK_EX)


def _is_still(file: FileIO, part: Path) -> bool:
    """Whether the opened file has its name yet: whoever had it before may have finished or removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), part.stat())
    except FileNotFoundError:
        return False


def _path(file: FileIO) -> Path:
    return Path(os.fsdecode(file.name)) if not isinstance(file.name, int) else Path()


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _truncate(file: FileIO) -> None:
    with _explained(_path(file).parent):
        file.truncate(0)


def _write(file: FileIO, block: bytes) -> None:
    with _explained(_path(file).parent):
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]


def _say(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):  # standard error is full or gone, which is no reason to stop
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn the disk's errors into one with a remedy."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"downloads must be writable; {error.strerror or error} in {folder}: free some space there, or set "
            "XDG_CACHE_HOME to a folder that you may write to"
        ) from error
