"""A data set decoded once: uint8 pictures of one size in a file that is memory-mapped.

It lies under ``$XDG_CACHE_HOME/edgecnn/datasets/`` in a folder named after a hash of everything its bytes depend on:
``images`` (raw uint8, one row for each different content), ``hashes`` (the rows' content hashes) and ``meta.json``.
Written to a temporary folder, then renamed, so that two trainings at once both end well. The images are appended with
plain writes rather than through a memory map: on a full disk a map kills the process, a write says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from io import BufferedWriter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL

from edgecnn.errors import DataError, UsageError
from edgecnn.preprocess import FITS
from edgecnn_training import disk
from edgecnn_training.dataset import Progress, Record, Survey
from edgecnn_training.decoding import Decoded, Shape, decoded
from edgecnn_training.examples import Rejected

FORMAT = 1
"""Raise it when the files, or what decoding makes of a picture, change."""

_HASH_BYTES = 32
_IMAGES, _HASHES, _META = "images", "hashes", "meta.json"


class Cache:
    """The decoded pictures of a data set.

    Attributes:
        path: The folder it lies in.
        images: uint8 ``(rows, H, W, C)``, memory-mapped, read-only.
        rejected: Pictures that turned out to be damaged when they were decoded.
        notes: Lines the user should see.
    """

    def __init__(self, path: Path, stored: _Stored, survey: Survey, notes: Sequence[str] = ()) -> None:
        self.path, self.images, self.notes = path, stored.images, list(notes)
        self.rejected = [
            Rejected(record.name, stored.rejected[record.content_hash])
            for record in survey.records
            if record.content_hash in stored.rejected
        ]
        self._rows = stored.rows

    def row(self, content_hash: bytes) -> int | None:
        """The row of a picture; None where it was rejected or is not of this data set."""
        return self._rows.get(content_hash)

    def rows(self, records: Sequence[Record]) -> npt.NDArray[np.int64]:
        """The row of each record's picture; -1 for rejected ones."""
        return np.fromiter((self._rows.get(record.content_hash, -1) for record in records), np.int64, len(records))


def cache_root() -> Path:
    """Where all caches of data sets lie; ``XDG_CACHE_HOME`` counts if it is absolute, as its standard demands.

    Raises:
        DataError: There is neither that nor a home folder.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "edgecnn" / "datasets"
    except RuntimeError as error:
        raise DataError(
            "the cache of decoded pictures must lie somewhere, and this user has no home folder: set XDG_CACHE_HOME to "
            "a folder that you may write to"
        ) from error


def open_cache(
    survey: Survey, *, height: int, width: int, channels: int, fit: str, progress: Progress | None = None
) -> Cache:
    """The decoded pictures of a surveyed data set; decodes them in a second pass unless that has been done before.

    Args:
        survey: What the first pass found.
        height: Rows of all pictures.
        width: Columns of all pictures.
        channels: 1 or 3.
        fit: ``"crop"``, ``"stretch"`` or ``"pad"``.
        progress: Told how many pictures are decoded.

    Raises:
        DataError: The cache cannot be written, the data changed since the survey, or no picture can be decoded.
        UsageError: A size, a number of channels or a fit that does not exist.
    """
    if height < 1 or width < 1 or channels not in (1, 3) or fit not in FITS:
        raise UsageError(
            f"pictures must have sides of 1 pixel or more, 1 or 3 channels, and a fit of {', '.join(FITS)}; received "
            f"{height}×{width}×{channels}, {fit!r}"
        )
    shape = Shape(height, width, channels, fit)
    folder = cache_root() / _key(survey, shape)
    notes = []
    try:
        return Cache(folder, _load(folder, survey, shape), survey)
    except FileNotFoundError:
        pass
    except (_DamagedError, OSError) as error:
        notes.append(f"the cache {folder} was damaged ({error}) and is made again")
    with _temporary_folder(folder) as partial:
        _check_space(partial, survey, shape)
        with closing(decoded(survey, shape, progress)) as pictures:
            _write(partial, pictures, survey, shape)
        with _explained(folder):
            stored = _load(partial, survey, shape)  # mapped before the rename: what happens to the name is no matter
            _publish(partial, folder)
    return Cache(folder, stored, survey, notes)


class _DamagedError(Exception):
    """A cache that does not hold what it should."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a cache's files hold."""

    images: npt.NDArray[np.uint8]
    rows: dict[bytes, int]
    rejected: dict[bytes, str]


def _key(survey: Survey, shape: Shape) -> str:
    """Everything the bytes of a cache depend on; Pillow because its decoders and its resize differ by version."""
    parts = {"data": survey.data_hash, **asdict(shape), "format": FORMAT, "pillow": PIL.__version__}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _load(folder: Path, survey: Survey, shape: Shape) -> _Stored:
    """Map a cache and check that it is whole.

    Raises:
        FileNotFoundError: There is none.
        _DamagedError: It is not what it should be.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        count, digest = int(meta["rows"]), str(meta["hashes_sha256"])
        rejected = {bytes.fromhex(key): str(reason) for key, reason in dict(meta["rejected"]).items()}
        hashes = (folder / _HASHES).read_bytes()
        images_bytes = (folder / _IMAGES).stat().st_size
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"{type(error).__name__}: {error}") from error
    if hashlib.sha256(hashes).hexdigest() != digest or len(hashes) != count * _HASH_BYTES:
        raise _DamagedError("its hashes are not those it was made with")
    expected = count * shape.size_bytes
    if images_bytes != expected:
        raise _DamagedError(f"it must have {expected:,} bytes of pictures and has {images_bytes:,}")
    rows = {hashes[i * _HASH_BYTES : (i + 1) * _HASH_BYTES]: i for i in range(count)}
    if rows.keys() | rejected.keys() != {record.content_hash for record in survey.records}:
        raise _DamagedError("it holds other pictures than the data set")
    dimensions = (count, shape.height, shape.width, shape.channels)
    if count == 0:
        return _Stored(np.empty(dimensions, np.uint8), rows, rejected)
    return _Stored(np.memmap(folder / _IMAGES, np.uint8, "r", shape=dimensions), rows, rejected)


def _write(partial: Path, pictures: Iterable[Decoded], survey: Survey, shape: Shape) -> None:
    """Write all files of a cache; memory stays bounded, since pictures are written as they come."""
    rejected: dict[str, str] = {}
    hashes = bytearray()
    with _appending(partial / _IMAGES) as images:
        for content_hash, result in pictures:
            if isinstance(result, str):
                rejected[content_hash.hex()] = result
                continue
            hashes += content_hash
            with _explained(partial):
                images.write(np.ascontiguousarray(result).data)
        with _explained(partial):
            images.flush()
            os.fsync(images.fileno())
    if len(hashes) // _HASH_BYTES + len(rejected) != len({record.content_hash for record in survey.records}):
        raise DataError(f"{survey.location} changed while it was read; run the command again when nothing writes there")
    meta = {
        "rows": len(hashes) // _HASH_BYTES,
        "hashes_sha256": hashlib.sha256(hashes).hexdigest(),
        "rejected": rejected,
        "location": survey.location,
        **asdict(shape),
    }
    with _explained(partial):
        (partial / _HASHES).write_bytes(hashes)
        (partial / _META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _check_space(partial: Path, survey: Survey, shape: Shape) -> None:
    """Refuse at once what would fail after minutes of decoding."""
    needed = len({record.content_hash for record in survey.records}) * shape.size_bytes
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise DataError(
            f"the cache of decoded pictures must fit on the disk; {needed / 1e6:,.0f} MB are needed and "
            f"{free / 1e6:,.0f} MB free in {partial.parent}: free some space, or set XDG_CACHE_HOME to a folder on a "
            "larger disk"
        )


@contextmanager
def _appending(path: Path) -> Iterator[BufferedWriter]:
    """A new file; only its own errors are explained, also those of the last bytes, not those of who uses it."""
    with _explained(path.parent):
        file = path.open("wb")
    try:
        yield file
    finally:
        with _explained(path.parent):
            file.close()


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that is gone afterwards, whatever happens."""
    with _explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, folder: Path) -> None:
    """Give a finished cache its name; a damaged one, or another process's equal one, makes room."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        os.rename(folder, tempfile.mkdtemp(prefix="old-", dir=partial))
    try:
        os.rename(partial, folder)
    except OSError:
        if not folder.is_dir():  # another process was faster with an equal cache: that one stays
            raise


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn the disk's errors into one with a remedy."""
    try:
        yield
    except OSError as error:
        larger = "free some space, or set XDG_CACHE_HOME to a folder on a larger disk"
        remedy = larger if disk.is_full(error) else "set XDG_CACHE_HOME to a folder that you may write to"
        raise DataError(
            f"the cache of decoded pictures must be writable; {error.strerror or error} in {folder.parent}: {remedy}"
        ) from error
