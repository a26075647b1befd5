"""From the paths in a folder or an archive to labels and splits; pure, shared by `folder`, `tar` and `zip`.

The rule, in the order it is applied:

1. ``.DS_Store``, ``Thumbs.db``, ``desktop.ini`` and ``__MACOSX/`` are litter: ignored without a word. Other hidden
   files are rejected.
2. Folders in which everything lies are stripped (``photos/2024/cat/1.jpg`` among nothing but ``photos/2024/``), as long
   as a folder and a file remain.
3. Where the first folders are ``train`` with ``val`` or ``test`` (see `examples.SPLIT_ALIASES`; any case), they are
   splits, and the next folder is the class; otherwise the first folder is the class.
4. Folders below a class folder count into that class. Files beside the class folders are rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgecnn.errors import DataError
from edgecnn_training.examples import SPLIT_ALIASES, Rejected

_LITTER = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_NO_LABEL = "lies beside the class folders, so that it has no label"
_NO_SPLIT = "lies outside the train, validation and test folders"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file belongs.

    Attributes:
        label: Its class, the folder's name as it is spelled.
        split: ``"train"``, ``"validation"``, ``"test"``, or None.
        nested: Whether it lies in a folder below the class folder.
    """

    label: str
    split: str | None
    nested: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """How the paths of a data set are read; made by `find_layout`.

    Attributes:
        prefix: Leading folders that are stripped.
        splits: Whether the next folders are splits.
        notes: Lines the user should see.
    """

    prefix: tuple[str, ...] = ()
    splits: bool = False
    notes: tuple[str, ...] = ()

    def place(self, name: str) -> Place | Rejected | None:
        """Label and split of the file `name`, the reason why it has none, or None for litter."""
        parts = name.split("/")
        if is_litter(parts):
            return None
        if any(part.startswith(".") for part in parts):
            return Rejected(name, "hidden file")
        depth = len(self.prefix)
        if tuple(parts[:depth]) != self.prefix:
            return Rejected(name, _NO_LABEL)
        below, split = parts[depth:], None
        if self.splits:
            split = SPLIT_ALIASES.get(below[0].lower())
            if split is None:
                return Rejected(name, _NO_SPLIT)
            below = below[1:]
        if len(below) < 2:
            return Rejected(name, _NO_LABEL)
        return Place(below[0], split, len(below) > 2)


def is_litter(parts: Sequence[str]) -> bool:
    """Whether a path is what macOS and Windows leave behind."""
    return parts[-1].lower() in _LITTER or "__MACOSX" in parts


def clean(name: str) -> str:
    """A path without ``.`` and empty parts: ``./cat//1.jpg`` → ``cat/1.jpg``."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def find_layout(names: Sequence[str], folders: Iterable[str] = ()) -> Layout:
    """The layout of a data set.

    Args:
        names: Paths of all files, cleaned, with ``/``.
        folders: Paths of folders, as far as they are known; they serve to notice class folders without a file.

    Raises:
        DataError: No class folders, a class folder without a file, or split folders without class folders.
    """
    visible = [name for name in names if not _is_unseen(name.split("/"))]
    prefix, firsts = _common_folders(visible)
    splits = _are_splits(firsts)
    layout = Layout(prefix, splits)
    labels, nested, example = set[str](), 0, ("", "")
    for name in visible:
        place = layout.place(name)
        if isinstance(place, Place):
            labels.add(place.label)
            if place.nested:
                example = example if nested else (name, place.label)
                nested += 1
    if splits and not labels:
        raise DataError(
            f"the folders {', '.join(sorted(firsts))} must hold one folder per class; they hold files only: "
            "sort the pictures into class folders, train/cat/1.jpg"
        )
    if visible and not labels:
        raise DataError(
            "each class must have a folder of its pictures, cat/1.jpg and dog/2.jpg; received files in no such folder: "
            f"{len(visible):,}, such as {visible[0]!r}: sort them into folders, or list them in a manifest"
        )
    _refuse_empty_classes(layout, labels, {*folders, *(name.rpartition("/")[0] for name in names)})
    if not nested:
        return layout
    note = (
        f"pictures in folders below a class folder count into that class: {nested:,}, such as {example[0]!r} into "
        f"{example[1]!r}; if the inner folders are the classes, move them side by side into one folder"
    )
    return Layout(prefix, splits, (note,))


def _is_unseen(parts: Sequence[str]) -> bool:
    return is_litter(parts) or any(part.startswith(".") for part in parts)


def _common_folders(names: Sequence[str]) -> tuple[tuple[str, ...], set[str]]:
    """Folders that hold everything, and the folders directly below them; files beside a folder do not count."""
    prefix = ""
    while True:
        below = [name[len(prefix) :] for name in names if name.startswith(prefix)]
        firsts = {name.partition("/")[0] for name in below if "/" in name}
        if len(firsts) != 1 or not any(name.count("/") >= 2 for name in below):
            return tuple(prefix.split("/")[:-1]), firsts
        prefix += f"{firsts.pop()}/"


def _are_splits(folders: set[str]) -> bool:
    """``train`` with another split's name, or alone; ``train`` among ``car`` and ``ship`` is a vehicle."""
    found = {SPLIT_ALIASES[folder.lower()] for folder in folders if folder.lower() in SPLIT_ALIASES}
    return "train" in found and (len(found) > 1 or all(folder.lower() in SPLIT_ALIASES for folder in folders))


def _refuse_empty_classes(layout: Layout, labels: set[str], folders: Iterable[str]) -> None:
    """Raise for class folders that hold no file at all, or hidden ones only."""
    empty = sorted({label for folder in folders for label in _label_of_folder(layout, folder)} - labels)
    if labels and empty:
        shown = ", ".join(map(repr, empty[:5])) + (" …" if len(empty) > 5 else "")
        raise DataError(
            f"each class folder must hold pictures; none in {shown}: put pictures there or delete the folder"
        )


def _label_of_folder(layout: Layout, folder: str) -> Iterator[str]:
    if not folder or _is_unseen(folder.split("/")):
        return
    place = layout.place(f"{folder}/x")
    if isinstance(place, Place):
        yield place.label
