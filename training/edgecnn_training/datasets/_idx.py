"""Reads pairs of IDX files; shared by `idx` and the data sets that are published in this format.

Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, then each dimension as a big-endian
32-bit number, then the values. Source: yann.lecun.com/exdb/mnist, "the IDX file format".
"""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from edgecnn.errors import DataError, SourceError
from edgecnn_training.datasets._download import Remote
from edgecnn_training.examples import Example

_BLOCK_BYTES = 1 << 20
_MAX_SIDE_PX = 4096


@dataclass(frozen=True, slots=True)
class IdxFile:
    """An IDX file, plain or gzipped.

    Attributes:
        name: What messages call it.
        open: Opens its bytes, at the beginning and seekable.
    """

    name: str
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Pictures and their classes.

    Attributes:
        images: uint8 (N, H, W).
        labels: uint8 (N,).
        split: What they are for.
        classes: The label of each class; empty where a class is called by its number.
        transposed: Whether rows and columns are exchanged, as in EMNIST.
    """

    images: IdxFile
    labels: IdxFile
    split: str
    classes: Mapping[int, str] = field(default_factory=dict)
    transposed: bool = False


def file_at(path: Path | str) -> IdxFile:
    """An IDX file on the disk."""
    return IdxFile(str(path), lambda: _open_path(str(path)))


def mnist_files(bases: Sequence[str], published: Mapping[str, tuple[int, str]]) -> list[Remote]:
    """The four files of MNIST or a relative, in the order of `mnist_pairs`.

    Args:
        bases: Addresses of folders, each with a ``/`` at its end.
        published: Size in bytes and SHA-256 of each file by its name.
    """
    return [
        Remote(name, tuple(f"{base}{name}" for base in bases), size_bytes, f"sha256:{digest}")
        for name, (size_bytes, digest) in published.items()
    ]


def mnist_pairs(paths: Sequence[Path], classes: Sequence[str] = ()) -> list[Pair]:
    """Train and test, from the paths of train images, train labels, test images and test labels."""
    train_images, train_labels, test_images, test_labels = (file_at(path) for path in paths)
    names = dict(enumerate(classes))
    return [Pair(train_images, train_labels, "train", names), Pair(test_images, test_labels, "test", names)]


def read(pair: Pair) -> Iterator[Example]:
    """The pictures of one file with the labels of the other, row by row.

    Raises:
        SourceError: One of the two cannot be opened.
        DataError: Damaged, truncated, or the two do not fit.
    """
    images, labels = pair.images.name, pair.labels.name
    with _unpacked(pair.images) as pixels, _unpacked(pair.labels) as classes:
        count, height, width = _shape(pixels, images, 3)
        (expected,) = _shape(classes, labels, 1)
        if count != expected:
            raise DataError(f"{images} has {count:,} pictures and {labels} {expected:,} labels; copy both again")
        if not (1 <= height <= _MAX_SIDE_PX and 1 <= width <= _MAX_SIDE_PX):
            raise DataError(f"pictures must have 1 to {_MAX_SIDE_PX} pixels a side; {images} has {height}×{width}")
        digits = len(str(count - 1))
        block_rows = max(1, _BLOCK_BYTES // (height * width))
        for start in range(0, count, block_rows):
            rows = min(block_rows, count - start)
            values = np.frombuffer(_read(pixels, rows * height * width, images), np.uint8)
            block = values.reshape(rows, height, width, 1)
            if pair.transposed:
                block = np.ascontiguousarray(block.swapaxes(1, 2))
            for i, value in enumerate(_read(classes, rows, labels)):
                name = f"{pair.split}/{start + i:0{digits}d}"
                yield Example(block[i], _label(value, pair), name, pair.split)
        for file, path in ((pixels, images), (classes, labels)):
            if _read(file, 1, path, exactly=False):
                raise DataError(f"{path} is longer than its header says; copy or download it again")


def _label(value: int, pair: Pair) -> str:
    if not pair.classes:
        return str(value)
    if value not in pair.classes:
        known = f"{min(pair.classes)} to {max(pair.classes)}"
        raise DataError(f"classes must be {known}; {pair.labels.name} has {value}: copy or download it again")
    return pair.classes[value]


def _open_path(path: str) -> IO[bytes]:
    if not os.path.isfile(path):
        raise SourceError(f"an IDX file must be a regular file; {path} is a pipe, a device or a folder")
    try:
        return open(path, "rb")
    except OSError as error:
        raise SourceError(f"an IDX file must be readable; {error.strerror}: {path}") from error


@contextmanager
def _unpacked(file: IdxFile) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with closing(file.open()) as packed:
        head = _read(packed, 2, file.name, exactly=False)
        packed.seek(0)
        if head != b"\x1f\x8b":
            yield packed
            return
        with gzip.GzipFile(fileobj=packed) as unpacked:
            yield unpacked


def _shape(file: IO[bytes] | gzip.GzipFile, path: str, dimensions: int) -> tuple[int, ...]:
    """The dimensions in an IDX header, checked."""
    header = _read(file, 4, path, exactly=False)
    expected = bytes((0, 0, 8, dimensions))
    if header != expected:
        raise DataError(
            f"{path} must begin with the bytes {expected.hex(' ')} (IDX, {dimensions} dimensions of unsigned bytes); "
            f"received {header.hex(' ') or 'an empty file'}: copy or download it again"
        )
    return struct.unpack(f">{dimensions}I", _read(file, 4 * dimensions, path))


def _read(file: IO[bytes] | gzip.GzipFile, size: int, path: str, *, exactly: bool = True) -> bytes:
    try:
        data = file.read(size)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged or truncated ({error}); copy or download it again") from error
    if exactly and len(data) != size:
        raise DataError(f"{path} ends before its header says; copy or download it again")
    return data
