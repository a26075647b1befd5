"""EMNIST by name: emnist-letters, -balanced, -digits, -mnist, -byclass or -bymerge, downloaded once (562 MB)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgecnn.errors import DataError, UsageError
from edgecnn_training.datasets import _emnist, _idx
from edgecnn_training.datasets._download import Remote, fetch
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Item

NAME = "emnist"
# size and SHA-256: github.com/tensorflow/datasets, url_checksums/emnist.txt; the addresses are NIST's, new and old
FILES = [
    Remote(
        "gzip.zip",
        (
            "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
        ),
        561_753_746,
        "sha256:fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    )
]


def accepts(location: str) -> bool:
    """Whether it is ``emnist`` or begins like ``emnist-letters``; what exists is a path before it is a name."""
    return (location == NAME or location.startswith(f"{NAME}-")) and not os.path.lexists(location)


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """The train and the test pictures of one variant, 28×28 grey and upright; the labels are characters.

    Raises:
        UsageError: No variant of this name.
        SourceError: The archive of all variants cannot be downloaded.
        DataError: The archive lacks one of the files.
    """
    variant = location.removeprefix(NAME).removeprefix("-")
    if variant not in _emnist.VARIANTS:
        known = ", ".join(f"{NAME}-{one}" for one in _emnist.VARIANTS)
        raise UsageError(f"EMNIST must be named with its variant, {known}; received {location!r}")
    (path,) = fetch(NAME, FILES)
    mapping = f"gzip/emnist-{variant}-mapping.txt"
    with _member(path, mapping) as file:
        classes = _emnist.classes(variant, file.read(), mapping)
    for split in ("train", "test"):
        images, labels = (
            _idx_file(path, f"gzip/emnist-{variant}-{split}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")
        )
        yield from _idx.read(_idx.Pair(images, labels, split, classes, transposed=True))


def _idx_file(path: Path, member: str) -> _idx.IdxFile:
    return _idx.IdxFile(f"{member} in {path}", lambda: _member(path, member))


def _member(path: Path, name: str) -> IO[bytes]:
    """A file of the archive, not unpacked to the disk; the archive stays open as long as it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.open(name)
    except (KeyError, zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} must hold {name}; {error}: delete it, and it is downloaded anew") from error
