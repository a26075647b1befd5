"""A .tar, .tar.gz, .tar.xz or .tar.bz2 of class folders; read as a stream, never unpacked."""

from __future__ import annotations

import functools
import os
import tarfile
from collections.abc import Iterator

from edgecnn_training.datasets import _cifar, _tar
from edgecnn_training.datasets._archive import unsafe_name
from edgecnn_training.datasets._files import MAX_FILE_BYTES, TOO_LARGE, Note, ignore
from edgecnn_training.datasets._layout import Layout, Place, clean, find_layout
from edgecnn_training.examples import Example, Item, Rejected


def accepts(location: str) -> bool:
    """Whether it begins like a gzip, xz or bzip2 file, or a tar member; the archives of CIFAR do not count."""
    return _tar.is_tar(location) and _cifar.kind_of_archive(location) is None


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every file below the class folders as an example, in the order of the archive."""
    status = os.stat(location)
    layout = _layout(location, status.st_size, status.st_mtime_ns)
    for line in layout.notes:
        note(line)
    for member, data in _tar.members(location, lambda member: _refused(member) is None):
        reason = _refused(member)
        if reason is not None:
            yield Rejected(member.name, reason)
        elif member.isreg():
            name = clean(member.name)
            place = layout.place(name)
            if isinstance(place, Place):
                yield Example(data, place.label, name, place.split)
            elif place is not None:
                yield place


@functools.lru_cache(maxsize=8)
def _layout(location: str, size: int, modified_ns: int) -> Layout:
    """The layout of an archive; remembered, because finding it means unpacking all of it."""
    names, folders = [], []
    for member, _ in _tar.members(location, lambda member: False):
        name = clean(member.name)
        if _refused(member) is not None:
            folders.append(name.rpartition("/")[0] if unsafe_name(member.name) is None else "")
        elif member.isreg():
            names.append(name)
        else:
            folders.append(name)
    return find_layout(names, folders)


def _refused(member: tarfile.TarInfo) -> str | None:
    """Why a member is not read; None for plain files and folders."""
    if (reason := unsafe_name(member.name)) is not None:
        return reason
    if member.issym() or member.islnk():
        return "link in an archive"
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "not a regular file"
    return TOO_LARGE if member.isreg() and member.size > MAX_FILE_BYTES else None
