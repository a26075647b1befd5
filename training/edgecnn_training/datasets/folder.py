"""A folder of class folders, with or without train, val and test folders around them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgecnn.errors import ImageError
from edgecnn_training.datasets import _cifar, _notmnist, idx
from edgecnn_training.datasets._files import Note, first_bytes, ignore, read_file
from edgecnn_training.datasets._layout import Place, find_layout, is_litter
from edgecnn_training.examples import Example, Item, Rejected

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def accepts(location: str) -> bool:
    """Whether it is a folder, and none that another kind of data set reads in its own way."""
    if not os.path.isdir(location) or idx.accepts(location):
        return False
    return _cifar.kind_of_folder(location) is None and _notmnist.parts(location) is None


def why_not(location: str) -> str:
    """Why a picture is none; empty for anything else."""
    if not first_bytes(location, 4).startswith(_PICTURES):
        return ""
    return (
        "it is one picture: name the folder that holds a folder of pictures for each class, photos/ of photos/cat/1.jpg"
    )


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every file below the class folders as an example; what is no picture is found by who decodes.

    Links to files and folders are followed; a folder that links back to one above it is rejected.
    """
    root = Path(location)
    names, folders, rejected = _Walk(root).result()
    layout = find_layout(names, folders)
    for line in layout.notes:
        note(line)
    yield from rejected
    for name in names:
        place = layout.place(name)
        if isinstance(place, Rejected):
            yield place
        elif isinstance(place, Place):
            try:
                yield Example(read_file(root / name), place.label, name, place.split)
            except ImageError as error:
                yield Rejected(name, str(error))


class _Walk:
    """All paths below a folder, in a fixed order; opens no file."""

    def __init__(self, root: Path) -> None:
        self.names: list[str] = []
        self.folders: list[str] = []
        self.rejected: list[Rejected] = []
        # links between folders would multiply: 8 class folders that link to each other make 13,700 paths
        self._entered: set[tuple[str, int, int]] = set()
        status = os.stat(root)
        self._enter(str(root), "", ((status.st_dev, status.st_ino),))

    def result(self) -> tuple[list[str], list[str], list[Rejected]]:
        """Files, folders, and what is neither."""
        return self.names, self.folders, self.rejected

    def _enter(self, path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> None:
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.rejected.append(Rejected(prefix or "./", f"folder cannot be read ({error.strerror})"))
            return
        for entry in found:
            self._visit(entry, prefix + entry.name, above)

    def _visit(self, entry: os.DirEntry[str], name: str, above: tuple[tuple[int, int], ...]) -> None:
        if is_litter([entry.name]):
            return
        try:
            status = entry.stat()
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            reason = "link to nothing" if missing else f"cannot be read ({error.strerror})"
            self.rejected.append(Rejected(name, reason))
            return
        if stat.S_ISREG(status.st_mode):
            self.names.append(name)
        elif not stat.S_ISDIR(status.st_mode):
            self.rejected.append(Rejected(name, "not a regular file"))
        elif entry.name.startswith("."):
            self.rejected.append(Rejected(f"{name}/", "hidden folder"))
        elif (status.st_dev, status.st_ino) in above:
            self.rejected.append(Rejected(f"{name}/", "link to a folder above it"))
        elif (name.partition("/")[0], status.st_dev, status.st_ino) in self._entered:
            self.rejected.append(Rejected(f"{name}/", "link to a folder that is in this class already"))
        else:
            self._entered.add((name.partition("/")[0], status.st_dev, status.st_ino))
            self.folders.append(name)
            self._enter(entry.path, f"{name}/", (*above, (status.st_dev, status.st_ino)))
