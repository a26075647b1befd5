"""So many different pictures of a folder or an archive, labels spread evenly; part of `notmnist`."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgecnn.decode import decode
from edgecnn.errors import ImageError, UsageError
from edgecnn_training.datasets import folder, tar
from edgecnn_training.examples import Example, Item, Rejected

_Sizes = tuple[tuple[str, int | None], ...]


class Choice:
    """Which pictures are taken, by the bytes of their files, and for which split; each content once.

    Args:
        splits: The split of each chosen file, by its `file_hash`.
        labels: The label under which a file counts: the first one in the data.
        broken: Why a file is no picture.
    """

    def __init__(self, splits: Mapping[bytes, str], labels: Mapping[bytes, str], broken: Mapping[bytes, str]) -> None:
        self._splits, self._labels, self._broken = dict(splits), labels, broken

    def take(self, example: Example) -> Item | None:
        """A picture with its split where it is chosen and comes for the first time; why it is none; or None."""
        file = file_hash(example.image)
        if file in self._broken:
            return Rejected(example.name, self._broken[file])
        if self._labels.get(file) != example.label:
            return None
        split = self._splits.pop(file, None)
        return None if split is None else replace(example, split=split)


def items(path: str) -> Iterator[Item]:
    """Everything in a folder or an archive of class folders."""
    return folder.load(path) if os.path.isdir(path) else tar.load(path)


def file_hash(image: bytes | npt.NDArray[np.uint8]) -> bytes:
    """What tells one picture file from another."""
    return hashlib.sha256(image if isinstance(image, bytes) else image.tobytes()).digest()


def content_of(image: bytes | npt.NDArray[np.uint8]) -> bytes:
    """What tells one picture from another, however it was saved: a hash of its shape and its pixels.

    Raises:
        ImageError: It is none.
    """
    pixels = decode(image) if isinstance(image, bytes) else image
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()


def choose(path: str, sizes: Mapping[str, int | None], without: frozenset[bytes] = frozenset()) -> Choice:
    """Choose pictures of a folder or an archive in a pass of its own.

    Within each class the first ones by the hash of their files are taken, which is as good as at random; splits take
    theirs one after another.

    Args:
        path: The folder or the archive.
        sizes: How many pictures for each split, in the order in which they take; None takes all that are left.
        without: Contents that are left out.

    Raises:
        UsageError: There are too few different pictures of a class.
    """
    status = os.stat(path)
    return Choice(*_choose(path, status.st_size, status.st_mtime_ns, tuple(sizes.items()), without))


@functools.lru_cache(maxsize=4)
def _choose(
    path: str, size_bytes: int, modified_ns: int, sizes: _Sizes, without: frozenset[bytes]
) -> tuple[dict[bytes, str], dict[bytes, str], dict[bytes, str]]:
    """Remembered, because it means decoding everything: a training reads its data twice."""
    labels, broken, by_label = dict[bytes, str](), dict[bytes, str](), dict[str, list[bytes]]()
    files, contents = set[bytes](), set(without)
    for item in items(path):
        if not isinstance(item, Example):
            continue
        own, file = by_label.setdefault(item.label, []), file_hash(item.image)
        if file in files:
            continue
        files.add(file)
        try:
            content = content_of(item.image)
        except ImageError as error:
            broken[file] = str(error)
            continue
        if content not in contents:
            contents.add(content)
            labels[file] = item.label
            own.append(file)
    splits = dict[bytes, str]()
    for i, label in enumerate(sorted(by_label)):
        own, taken = sorted(by_label[label]), 0
        for split, size in sizes:
            share = len(own) - taken if size is None else size // len(by_label) + (i < size % len(by_label))
            if share > len(own) - taken:
                raise UsageError(
                    f"{split} must be at most {(len(own) - taken) * len(by_label):,}, since labels are spread evenly "
                    f"and {label!r} has {len(own) - taken:,} different pictures left for it; received {size:,}"
                )
            splits |= dict.fromkeys(own[taken : taken + share], split)
            taken += share
    return splits, {file: labels[file] for file in splits}, broken
