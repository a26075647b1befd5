"""A folder with the four IDX files of MNIST or a relative such as EMNIST, plain or gzipped."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from edgecnn.errors import DataError, UsageError
from edgecnn_training.datasets import _emnist, _idx
from edgecnn_training.datasets._files import Note, first_bytes, ignore
from edgecnn_training.examples import Item

_MNIST = "mnist"
_NAME = re.compile(r"(?:(emnist-[a-z]+)-(?=train|test))?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_MAX_TEXT_BYTES = 1 << 16

_Files = dict[tuple[str, str], str]


def accepts(location: str) -> bool:
    """Whether it is a folder in which a file bears the name of an IDX file."""
    try:
        return any(_set_of(name) for name in os.listdir(location))
    except (OSError, ValueError):
        return False


def load(location: str, *, note: Note = ignore, variant: str = "") -> Iterator[Item]:
    """Every picture, row by row; ``train-…`` is the train split, ``t10k-…`` (EMNIST: ``test-…``) the test split.

    EMNIST's pictures are stored with rows and columns exchanged; that is undone, and its classes are characters.

    Args:
        location: The folder.
        note: Takes lines for the user.
        variant: ``emnist-letters`` and the like, for a folder that holds several sets.

    Raises:
        UsageError: Several sets, and none of them named.
        DataError: One of the four files is missing, damaged, truncated, or does not fit its partner.
    """
    found: dict[str, _Files] = defaultdict(dict)
    for name in sorted(os.listdir(location), key=len, reverse=True):  # a plain file is preferred to its gzipped copy
        if key := _set_of(name):
            match = _NAME.fullmatch(name)
            assert match is not None, "it has been matched before"
            found[key][match[2], match[3]] = os.path.join(location, name)
    if variant and variant not in found:
        raise UsageError(f"variant must be one of {', '.join(sorted(found))}; received {variant!r} for {location}")
    if len(found) > 1 and not variant:
        raise UsageError(
            f"one set of IDX files must be meant; {location} holds {', '.join(sorted(found))}: name one, "
            f"{location}?variant={min(found)}"
        )
    key = variant or next(iter(found))
    for pair in _pairs(location, key, found[key]):
        yield from _idx.read(pair)


def _set_of(name: str) -> str | None:
    """The set a file belongs to; None for other files."""
    match = _NAME.fullmatch(name)
    if match is None or (match[2] == "test" and not match[1]):
        return None
    return match[1] or _MNIST


def _pairs(location: str, key: str, files: _Files) -> list[_idx.Pair]:
    """Train and test."""
    is_emnist = key != _MNIST
    test = "test" if is_emnist else "t10k"
    prefix, classes = "", dict[int, str]()
    if is_emnist:
        prefix = f"{key}-"
        mapping = Path(location) / f"{key}-mapping.txt"
        text = first_bytes(str(mapping), _MAX_TEXT_BYTES)
        classes = _emnist.classes(key.removeprefix("emnist-"), text, str(mapping))
    missing = [
        f"{prefix}{stem}-{kind}-idx{dimensions}-ubyte"
        for stem in ("train", test)
        for kind, dimensions in (("images", 3), ("labels", 1))
        if (stem, kind) not in files
    ]
    if missing:
        raise DataError(
            f"a folder of IDX files must hold all four; {location} lacks {', '.join(missing)} (.gz or plain)"
        )
    return [
        _idx.Pair(_idx.file_at(files[stem, "images"]), _idx.file_at(files[stem, "labels"]), split, classes, is_emnist)
        for stem, split in (("train", "train"), (test, "test"))
    ]
