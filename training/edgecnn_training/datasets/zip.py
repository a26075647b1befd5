"""A .zip of class folders; read as a stream, never unpacked."""

from __future__ import annotations

import contextlib
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator

from edgecnn.errors import DataError
from edgecnn_training.datasets import npz
from edgecnn_training.datasets._archive import check_members, check_total, damaged, unsafe_name
from edgecnn_training.datasets._files import MAX_FILE_BYTES, TOO_LARGE, Note, first_bytes, ignore
from edgecnn_training.datasets._layout import Place, clean, find_layout
from edgecnn_training.examples import Example, Item, Rejected

_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)
_UTF8 = 0x800
_ENCRYPTED = 0x1


def accepts(location: str) -> bool:
    """Whether it begins like a zip file, an empty one included; NumPy's archives of arrays do not count."""
    return first_bytes(location, 4) in (b"PK\x03\x04", b"PK\x05\x06") and not npz.accepts(location)


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every file below the class folders as an example, in the order of the archive.

    Raises:
        DataError: Damaged, encrypted, packed by a method that Python does not know, or too large.
    """
    count = 0
    try:
        with zipfile.ZipFile(location) as archive:
            members = archive.infolist()
            _check(location, members)
            for item in _items(archive, members, note):
                yield item
                count += 1
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(
            f"{location} is packed by an unknown method ({error}); pack it again as a plain .zip"
        ) from error
    except _DAMAGE as error:
        raise damaged(location, count, error) from error


def _check(location: str, members: list[zipfile.ZipInfo]) -> None:
    check_members(location, len(members))
    check_total(location, sum(member.file_size for member in members), os.path.getsize(location))
    secret = next((member for member in members if member.flag_bits & _ENCRYPTED), None)
    if secret is not None:
        raise DataError(
            f"an archive must not be encrypted; {location} is ({secret.filename!a}): unpack it and pass the folder"
        )


def _items(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], note: Note) -> Iterator[Item]:
    refused = [_refused(member) for member in members]
    named = list(zip(members, refused, strict=True))
    names = [_name(member) for member, reason in named if reason is None and not _is_dir(member)]
    folders = [_name(member) for member, reason in named if reason is None and _is_dir(member)]
    folders += [
        _name(member).rpartition("/")[0] for member, reason in named if reason and unsafe_name(member.filename) is None
    ]
    layout = find_layout(names, folders)
    for line in layout.notes:
        note(line)
    for member, reason in named:
        if reason is not None:
            yield Rejected(member.filename, reason)
        elif not _is_dir(member):
            place = layout.place(_name(member))
            if isinstance(place, Place):
                yield Example(archive.read(member), place.label, _name(member), place.split)
            elif place is not None:
                yield place


def _is_dir(member: zipfile.ZipInfo) -> bool:
    return bool(member.filename) and member.is_dir()  # zipfile fails on an empty name


def _name(member: zipfile.ZipInfo) -> str:
    """Its path, with the backslashes that some Windows programs write made slashes."""
    name = member.filename
    if not member.flag_bits & _UTF8:  # zip under Linux writes UTF-8 without saying so; zipfile reads that as cp437
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return clean(name.replace("\\", "/"))


def _refused(member: zipfile.ZipInfo) -> str | None:
    """Why a member is not read; None for plain files and folders."""
    if (reason := unsafe_name(member.filename)) is not None:
        return reason
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "link in an archive"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "not a regular file"
    return TOO_LARGE if member.file_size > MAX_FILE_BYTES else None
