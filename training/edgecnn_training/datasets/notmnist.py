"""notMNIST by name, downloaded once (256 MB), or a folder of notMNIST_large and notMNIST_small; ?train=200000.

The letters A to J in many fonts, by Yaroslav Bulatov. Train and validation come from the large part, test from the
small one, which its maker cleaned by hand. Both are full of copies, so that what is also in the small part is left out
of the large one. Pictures are compared by their pixels, which costs about 60 µs for each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgecnn.errors import ImageError, UsageError
from edgecnn_training.datasets import _choice, _notmnist
from edgecnn_training.datasets._choice import Choice, content_of
from edgecnn_training.datasets._download import Remote, fetch
from edgecnn_training.datasets._files import Note, ignore
from edgecnn_training.datasets._notmnist import LARGE, SMALL
from edgecnn_training.examples import Example, Item, Rejected

NAME = "notmnist"
_BASES = ("https://commondatastorage.googleapis.com/books1000/", "http://yaroslavvb.com/upload/notMNIST/")
# sizes: github.com/tensorflow/tensorflow r0.12, examples/udacity/1_notmnist.ipynb; MD5: three repositories that agree,
# a search for c9890a473a9769fda4bdf314aaf500dd finds them. No SHA-256 is published.
FILES = [
    Remote(
        f"{LARGE}.tar.gz",
        tuple(f"{base}{LARGE}.tar.gz" for base in _BASES),
        247_336_696,
        "md5:70a95b805ecfb6592c48e196df7c1499",
    ),
    Remote(
        f"{SMALL}.tar.gz",
        tuple(f"{base}{SMALL}.tar.gz" for base in _BASES),
        8_458_043,
        "md5:c9890a473a9769fda4bdf314aaf500dd",
    ),
]


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How many pictures each split should have; None takes all there are."""

    train: int | None
    validation: int | None
    test: int | None


def accepts(location: str) -> bool:
    """Whether it is the word ``notmnist``, or a folder with both parts, each a folder or a .tar.gz."""
    if not os.path.lexists(location):
        return location == NAME
    return _notmnist.parts(location) is not None


def load(
    location: str, *, note: Note = ignore, train: str = "", validation: str = "", test: str = ""
) -> Iterator[Item]:
    """The letters A to J, 28×28 grey.

    Without a size, everything is taken, copies included. With ``train`` or ``validation``, that many *different*
    pictures, labels spread evenly, chosen by their content: always the same ones, and the validation pictures do not
    depend on the size of train. With ``train`` alone, a tenth as many validate beside them.

    Args:
        location: The word ``notmnist``, or the folder.
        note: Takes lines for the user.
        train: How many pictures train; from the large part.
        validation: How many validate; from the large part.
        test: How many test; from the small part.

    Raises:
        UsageError: A size that is no number, or more than there are.
        SourceError: They cannot be downloaded.
    """
    sizes = _sizes(train, validation, test)
    large, small = _parts(location)
    tested, left_out = set[bytes](), 0
    test_choice = _choice.choose(small, {"test": sizes.test}) if sizes.test else None
    for item in _choice.items(small):
        if isinstance(item, Example) and (content := _content(item)) is not None:
            tested.add(content)
        yield from _chosen(item, SMALL, "test", test_choice)
    choice = None
    if sizes.train or sizes.validation:
        choice = _choice.choose(large, {"validation": sizes.validation, "train": sizes.train}, frozenset(tested))
    for item in _choice.items(large):
        if choice is None and isinstance(item, Example) and _content(item) in tested:
            left_out += 1
            continue
        yield from _chosen(item, LARGE, "train", choice)
    if left_out:
        note(f"{left_out:,} pictures of {LARGE} are also in {SMALL}, the test split: left out of train and validation")


def _chosen(item: Item, part: str, split: str, choice: Choice | None) -> Iterator[Item]:
    """An item under its name in both parts, with its split, unless a choice leaves it out."""
    name = item.name if item.name.startswith(f"{part}/") else f"{part}/{item.name}"
    if isinstance(item, Rejected):
        yield replace(item, name=name)
    elif choice is None:
        yield replace(item, name=name, split=split)
    elif (taken := choice.take(item)) is not None:
        yield replace(taken, name=name)


def _content(item: Example) -> bytes | None:
    """The picture's `content_of`; None where it is no picture, which is told where all are decoded."""
    try:
        return content_of(item.image)
    except ImageError:
        return None


def _sizes(train: str, validation: str, test: str) -> _Sizes:
    given = {"train": train, "validation": validation, "test": test}
    numbers: dict[str, int | None] = {}
    for option, text in given.items():
        if text and not (text.isascii() and text.isdigit() and int(text) > 0):
            raise UsageError(f"{option} must be a number of pictures, 1 or more; received {text!r}")
        numbers[option] = int(text) if text else None
    sizes = _Sizes(**numbers)
    if sizes.train is not None and sizes.validation is None:
        return replace(sizes, validation=max(1, sizes.train // 10))
    return sizes


def _parts(location: str) -> tuple[str, str]:
    """Paths of the large and the small part."""
    found = _notmnist.parts(location) if os.path.lexists(location) else None
    if found is None:
        large, small = fetch(NAME, FILES)
        return str(large), str(small)
    return found
