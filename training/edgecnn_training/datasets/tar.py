"""A .tar, .tar.gz, .tar.xz or .tar.bz2 of class folders; read as a stream, never unpacked."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BufferedReader

from edgecnn.errors import DataError, SourceError
from edgecnn_training.datasets._archive import Meter, Unpacking, check_members, damaged, unsafe_name
from edgecnn_training.datasets._files import MAX_FILE_BYTES, TOO_LARGE, Note, first_bytes, ignore
from edgecnn_training.datasets._layout import Layout, Place, clean, find_layout
from edgecnn_training.examples import Example, Item, Rejected

_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)


def accepts(location: str) -> bool:
    """Whether it begins like a gzip, xz or bzip2 file, or with the header of a tar member."""
    head = first_bytes(location, tarfile.BLOCKSIZE)
    if head.startswith((b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh")):
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every file below the class folders as an example, in the order of the archive."""
    status = os.stat(location)
    layout = _layout(location, status.st_size, status.st_mtime_ns)
    for line in layout.notes:
        note(line)
    for member, data in _members(location, contents=True):
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
    for member, _ in _members(location, contents=False):
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


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "only regular files are read"
    with file:
        data = file.read()
    if len(data) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _members(location: str, *, contents: bool) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """All members in order, with their contents where these are asked for and not refused.

    tarfile takes a broken header in the middle, or a missing end, for the end of the archive; the block of zeros that
    ends every archive tells them apart.

    Raises:
        DataError: Damaged, truncated, no tar archive, or too large.
        SourceError: The file cannot be opened.
    """
    count = 0
    with _open(location) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:
                while (member := archive.next()) is not None:
                    wanted = contents and member.isreg() and _refused(member) is None
                    yield member, _content(archive, member) if wanted else b""
                    count += 1
                    check_members(location, count)
                    vars(archive)["members"].clear()  # it would keep them all; an attribute that has no type
            if any(stream.last) or len(stream.last) != tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end of archive")
            stream.drain()
        except DataError:
            raise
        except _DAMAGE as error:
            if count == 0 and isinstance(error, tarfile.ReadError):
                raise DataError(
                    f"{location} must hold a tar archive of class folders; it holds something else ({error}): "
                    "pass a .tar, .tar.gz, .tar.xz or .zip of cat/1.jpg, dog/2.jpg, or the folder itself"
                ) from error
            raise damaged(location, count, error) from error


@contextmanager
def _open(location: str) -> Iterator[Meter]:
    """The unpacked bytes of a file, packed by gzip, xz, bzip2 or not at all, as its first bytes tell."""
    head = first_bytes(location, 6)
    try:
        with open(location, "rb") as file:
            packed = os.fstat(file.fileno()).st_size
            with closing(_unpacker(head, file)) as stream:
                yield Meter(stream, location, packed)
    except EOFError as error:
        raise damaged(location, 0, error) from error
    except FileNotFoundError as error:
        raise SourceError(f"a data set must exist; there is no {location}") from error


def _unpacker(head: bytes, file: BufferedReader) -> Unpacking:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file)
    return bz2.BZ2File(file) if head.startswith(b"BZh") else file
