"""Kuzushiji-MNIST by name: ten hiragana of old Japanese books in the format of MNIST, downloaded once (21 MB)."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgecnn_training.datasets import _idx
from edgecnn_training.datasets._download import fetch
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Item

NAME = "kmnist"
CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
# sizes and SHA-256: github.com/tensorflow/datasets, url_checksums/kmnist.txt
FILES = _idx.mnist_files(
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    {
        "train-images-idx3-ubyte.gz": (
            18_165_135,
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        ),
        "train-labels-idx1-ubyte.gz": (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        "t10k-images-idx3-ubyte.gz": (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        "t10k-labels-idx1-ubyte.gz": (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    },
)


def accepts(location: str) -> bool:
    """Whether it is the word ``kmnist``; something of that name that exists is a path before it is a name."""
    return location == NAME and not os.path.lexists(location)


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """60,000 train and 10,000 test characters, 28×28 grey; the labels are their sounds, such as ``tsu``.

    Raises:
        SourceError: They cannot be downloaded.
    """
    for pair in _idx.mnist_pairs(fetch(NAME, FILES), CLASSES):
        yield from _idx.read(pair)
