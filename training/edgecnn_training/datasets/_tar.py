"""Reads the members of a tar archive as a stream; shared by `tar` and the data sets that are published as one."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from io import BufferedReader

from edgecnn.errors import DataError, SourceError
from edgecnn_training.datasets._archive import Meter, Unpacking, check_members, damaged
from edgecnn_training.datasets._files import first_bytes

_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)
_PEEK_BYTES = 1 << 20

Wanted = Callable[[tarfile.TarInfo], bool]
"""Whether the content of a member is to be read."""


def is_tar(location: str) -> bool:
    """Whether a file begins like a gzip, xz or bzip2 file, or with the header of a tar member."""
    head = first_bytes(location, tarfile.BLOCKSIZE)
    if head.startswith((b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh")):
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def members(location: str, wanted: Wanted) -> Generator[tuple[tarfile.TarInfo, bytes], None, None]:
    """All members in order, with their contents where these are wanted.

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
                    yield member, _content(archive, member) if member.isreg() and wanted(member) else b""
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


def first_files(location: str, count: int) -> list[tuple[str, int, bytes]]:
    """Name, size and first two bytes of the first files of an archive, as far as they come early; for `accepts`.

    Empty for what is no tar archive, or is damaged from its beginning.
    """
    found: list[tuple[str, int, bytes]] = []
    if is_tar(location):
        with suppress(DataError, SourceError, *_DAMAGE), _open(location) as stream:
            found.extend(itertools.islice(_peek(stream), count))
    return found


def _peek(stream: Meter) -> Iterator[tuple[str, int, bytes]]:
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while stream.tell() < _PEEK_BYTES and (member := archive.next()) is not None:
            if member.isreg():
                file = archive.extractfile(member)
                yield member.name, member.size, file.read(2) if file else b""
                if member.size > _PEEK_BYTES:
                    return


def first_unpacked(location: str, count: int) -> bytes:
    """The first bytes of a file, unpacked where it is packed by gzip, xz or bzip2; empty where it cannot be read."""
    with suppress(DataError, SourceError, *_DAMAGE), _open(location) as stream:
        return stream.read(count)
    return b""


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "only regular files are read"
    with file:
        data = file.read()
    if len(data) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


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
