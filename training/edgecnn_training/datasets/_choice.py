"""So many different pictures of a folder or an archive, labels spread evenly; part of `notmnist`."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from edgecnn.decode import decode
from edgecnn.errors import ImageError, UsageError
from edgecnn_training.datasets import folder, tar
from edgecnn_training.examples import Example, Item

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

_Sizes = tuple[tuple[str, int | None], ...]


class Choice:
    """Which pictures are taken, by their content, and for which split; each content once.

    Args:
        splits: The split of each chosen content.
        labels: The label under which a content counts: the first one in the data.
    """

    def __init__(self, splits: Mapping[bytes, str], labels: Mapping[bytes, str]) -> None:
        self._splits, self._labels = dict(splits), labels

    def split_of(self, example: Example) -> str | None:
        """The split of a picture that comes for the first time; None for one that is not chosen, or comes again."""
        content = content_of(example.image)
        if self._labels.get(content) != example.label:
            return None
        return self._splits.pop(content, None)


def items(path: str) -> Iterator[Item]:
    """Everything in a folder or an archive of class folders."""
    return folder.load(path) if os.path.isdir(path) else tar.load(path)


def content_of(image: bytes | npt.NDArray[np.uint8]) -> bytes:
    """What tells one picture file from another."""
    return hashlib.sha256(image if isinstance(image, bytes) else image.tobytes()).digest()


def choose(path: str, sizes: Mapping[str, int | None], without: frozenset[bytes] = frozenset()) -> Choice:
    """Choose pictures of a folder or an archive in a pass of its own.

    Within each class the first ones by the hash of their content are taken, which is as good as at random; splits take
    theirs one after another.

    Args:
        path: The folder or the archive.
        sizes: How many pictures for each split, in the order in which they take; None takes all that are left.
        without: Contents that are left out.

    Raises:
        UsageError: There are too few different pictures of a class.
    """
    status = os.stat(path)
    splits, labels = _choose(path, status.st_size, status.st_mtime_ns, tuple(sizes.items()), without)
    return Choice(splits, labels)


@functools.lru_cache(maxsize=4)
def _choose(
    path: str, size_bytes: int, modified_ns: int, sizes: _Sizes, without: frozenset[bytes]
) -> tuple[dict[bytes, str], dict[bytes, str]]:
    """Remembered, because it means reading everything: a training reads its data twice."""
    labels: dict[bytes, str] = {}
    by_label: dict[str, list[bytes]] = {}
    for item in items(path):
        if isinstance(item, Example) and isinstance(item.image, bytes):
            own, content = by_label.setdefault(item.label, []), content_of(item.image)
            if content not in labels and content not in without and _is_whole(item.image):
                labels[content] = item.label
                own.append(content)
    splits: dict[bytes, str] = {}
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
    return splits, {content: labels[content] for content in splits}


def _is_whole(image: bytes) -> bool:
    """Whether a file is a picture; of a PNG both ends are looked at, which is a hundred times faster than decoding."""
    if image.startswith(_PNG) and image.endswith(_PNG_END):
        return True
    try:
        decode(image)
    except ImageError:
        return False
    return True
