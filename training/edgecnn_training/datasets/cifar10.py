"""CIFAR-10 by name, downloaded once (170 MB), or its binary version: cifar-10-batches-bin/, cifar-10-binary.tar.gz."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgecnn_training.datasets import _cifar
from edgecnn_training.datasets._download import Remote, fetch
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Item

NAME = "cifar10"
# size and SHA-256: github.com/tensorflow/datasets, url_checksums/cifar10.txt
FILES = [
    Remote(
        "cifar-10-binary.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        170_052_171,
        "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    )
]


def accepts(location: str) -> bool:
    """Whether it is the word ``cifar10``, or a folder or an archive of the files of its binary version."""
    if not os.path.lexists(location):
        return location == NAME
    return _cifar.CIFAR10 in (_cifar.kind_of_folder(location), _cifar.kind_of_archive(location))


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """50,000 train and 10,000 test pictures, 32×32 RGB.

    Raises:
        SourceError: They cannot be downloaded.
        DataError: A file is missing, damaged or truncated.
    """
    path = location if os.path.lexists(location) else str(fetch(NAME, FILES)[0])
    yield from _cifar.load(path, _cifar.CIFAR10, note)
