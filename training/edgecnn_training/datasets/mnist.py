"""The MNIST digits by name, downloaded once (12 MB)."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgecnn_training.datasets import _idx
from edgecnn_training.datasets._download import fetch
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Item

NAME = "mnist"
# sizes and SHA-256: github.com/tensorflow/datasets, url_checksums/mnist.txt; the second address is torchvision's
FILES = _idx.mnist_files(
    ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    {
        "train-images-idx3-ubyte.gz": (
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        "train-labels-idx1-ubyte.gz": (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte.gz": (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte.gz": (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
)


def accepts(location: str) -> bool:
    """Whether it is the word ``mnist``; something of that name that exists is a path before it is a name."""
    return location == NAME and not os.path.lexists(location)


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """60,000 train and 10,000 test digits, 28×28 grey.

    Raises:
        SourceError: They cannot be downloaded.
    """
    for pair in _idx.mnist_pairs(fetch(NAME, FILES)):
        yield from _idx.read(pair)
