"""CIFAR-100 by name, downloaded once (169 MB), or its binary version, folder or archive; the 100 fine classes."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgecnn_training.datasets import _cifar
from edgecnn_training.datasets._download import Remote, fetch
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Item

NAME = "cifar100"
# size and SHA-256: github.com/tensorflow/datasets, url_checksums/cifar100.txt
FILES = [
    Remote(
        "cifar-100-binary.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
        168_513_733,
        "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    )
]


def accepts(location: str) -> bool:
    """Whether it is the word ``cifar100``, or a folder or an archive of the files of its binary version."""
    if not os.path.lexists(location):
        return location == NAME
    return _cifar.CIFAR100 in (_cifar.kind_of_folder(location), _cifar.kind_of_archive(location))


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """50,000 train and 10,000 test pictures, 32×32 RGB.

    Raises:
        SourceError: They cannot be downloaded.
        DataError: A file is missing, damaged or truncated.
    """
    path = location if os.path.lexists(location) else str(fetch(NAME, FILES)[0])
    yield from _cifar.load(path, _cifar.CIFAR100, note)
