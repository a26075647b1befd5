"""The MNIST digits by name, downloaded once by Keras (11 MB)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from edgecnn.errors import SourceError, needs
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.examples import Example, Item


def accepts(location: str) -> bool:
    """Whether it is the word ``mnist``; something of that name that exists is a path before it is a name."""
    return location == "mnist" and not os.path.lexists(location)


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """60,000 train and 10,000 test digits, 28×28 grey.

    Raises:
        SourceError: They cannot be downloaded.
    """
    mnist = needs("keras.datasets.mnist", "train", "to download MNIST")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras reports the download on stdout, where our results go
            parts = mnist.load_data()
    except Exception as error:
        # Keras raises a bare Exception where there is no network; what is narrower and no OSError is a bug.
        if type(error) is not Exception and not isinstance(error, OSError):
            raise
        raise SourceError(
            f"MNIST could not be downloaded ({error}); without a network put its four IDX files "
            "(train-images-idx3-ubyte.gz …) into a folder and pass that folder"
        ) from error
    for split, (images, labels) in zip(("train", "test"), parts, strict=True):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Example(image[:, :, None], str(label), f"{split}/{i:05d}", split)
