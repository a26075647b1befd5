"""A folder with the four IDX files of MNIST and its relatives, plain or gzipped.

Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, then each dimension as a big-endian
32-bit number, then the values. Source: yann.lecun.com/exdb/mnist, "the IDX file format".
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from collections.abc import Iterator
from gzip import GzipFile
from io import BufferedReader

import numpy as np

from edgecnn.errors import DataError, SourceError
from edgecnn_training.datasets._files import Note, first_bytes, ignore
from edgecnn_training.examples import Example, Item

_SPLITS = {"train": "train", "t10k": "test"}
_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_BLOCK_BYTES = 1 << 20
_MAX_SIDE_PX = 4096


def accepts(location: str) -> bool:
    """Whether it is a folder in which a file bears the name of an IDX file."""
    try:
        return any(_NAME.fullmatch(name) for name in os.listdir(location))
    except (OSError, ValueError):
        return False


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every picture, row by row; ``train-…`` is the train split and ``t10k-…`` the test split.

    Raises:
        DataError: One of the four files is missing, damaged, truncated, or does not fit its partner.
    """
    files = _find(location)
    for stem, split in _SPLITS.items():
        yield from _pairs(files[stem, "images"], files[stem, "labels"], split)


def _find(location: str) -> dict[tuple[str, str], str]:
    """The four files; a plain one is preferred to its gzipped copy."""
    found: dict[tuple[str, str], str] = {}
    for name in sorted(os.listdir(location), key=len, reverse=True):
        if match := _NAME.fullmatch(name):
            found[match[1], match[2]] = os.path.join(location, name)
    missing = [
        f"{stem}-{kind}-idx{dimensions}-ubyte"
        for stem in _SPLITS
        for kind, dimensions in (("images", 3), ("labels", 1))
        if (stem, kind) not in found
    ]
    if missing:
        raise DataError(
            f"a folder of IDX files must hold all four; {location} lacks {', '.join(missing)} (.gz or plain)"
        )
    return found


def _pairs(images: str, labels: str, split: str) -> Iterator[Example]:
    """The pictures of one file with the labels of the other."""
    with _open(images) as pixels, _open(labels) as classes:
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
            for i, label in enumerate(_read(classes, rows, labels)):
                yield Example(block[i], str(label), f"{split}/{start + i:0{digits}d}", split)
        for file, path in ((pixels, images), (classes, labels)):
            if _read(file, 1, path, exactly=False):
                raise DataError(f"{path} is longer than its header says; copy or download it again")


def _open(path: str) -> GzipFile | BufferedReader:
    if not os.path.isfile(path):
        raise SourceError(f"an IDX file must be a regular file; {path} is a pipe, a device or a folder")
    try:
        return gzip.open(path) if first_bytes(path, 2) == b"\x1f\x8b" else open(path, "rb")
    except OSError as error:
        raise SourceError(f"an IDX file must be readable; {error.strerror}: {path}") from error


def _shape(file: GzipFile | BufferedReader, path: str, dimensions: int) -> tuple[int, ...]:
    """The dimensions in an IDX header, checked."""
    header = _read(file, 4, path, exactly=False)
    expected = bytes((0, 0, 8, dimensions))
    if header != expected:
        raise DataError(
            f"{path} must begin with the bytes {expected.hex(' ')} (IDX, {dimensions} dimensions of unsigned bytes); "
            f"received {header.hex(' ') or 'an empty file'}: copy or download it again"
        )
    return struct.unpack(f">{dimensions}I", _read(file, 4 * dimensions, path))


def _read(file: GzipFile | BufferedReader, size: int, path: str, *, exactly: bool = True) -> bytes:
    try:
        data = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or truncated ({error}); copy or download it again") from error
    if exactly and len(data) != size:
        raise DataError(f"{path} ends before its header says; copy or download it again")
    return data
