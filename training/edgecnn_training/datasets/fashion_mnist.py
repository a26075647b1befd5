"""Fashion-MNIST by name: ten kinds of clothes in the format of MNIST, downloaded once (31 MB)."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgecnn_training.datasets import _idx
from edgecnn_training.datasets._download import fetch
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Item

NAME = "fashion-mnist"
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
# sizes and SHA-256: github.com/tensorflow/datasets, url_checksums/fashion_mnist.txt; both addresses are the publisher's
FILES = _idx.mnist_files(
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    {
        "train-images-idx3-ubyte.gz": (
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        "train-labels-idx1-ubyte.gz": (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        "t10k-images-idx3-ubyte.gz": (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        "t10k-labels-idx1-ubyte.gz": (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    },
)


def accepts(location: str) -> bool:
    """Whether it is the word ``fashion-mnist``; something of that name that exists is a path before it is a name."""
    return location == NAME and not os.path.lexists(location)


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """60,000 train and 10,000 test pictures, 28×28 grey; the labels are class names such as ``T-shirt/top``.

    Raises:
        SourceError: They cannot be downloaded.
    """
    for pair in _idx.mnist_pairs(fetch(NAME, FILES), CLASSES):
        yield from _idx.read(pair)
