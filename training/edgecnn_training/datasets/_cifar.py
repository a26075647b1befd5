"""The binary versions of CIFAR-10 and CIFAR-100, as a folder or as the published archive; shared by the two.

Format: records of one size, one after another without a header: one byte for the class (CIFAR-100: two, the coarse
class and the fine one), then 1,024 bytes of red, 1,024 of green and 1,024 of blue, each row by row. Source:
cs.toronto.edu/~kriz/cifar.html, "binary version".
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from edgecnn.errors import DataError, SourceError
from edgecnn_training.datasets import _tar
from edgecnn_training.datasets._files import Note, first_bytes
from edgecnn_training.examples import Example

SIDE_PX = 32
_PIXEL_BYTES = 3 * SIDE_PX * SIDE_PX
_BLOCK_RECORDS = 256
_MAX_TEXT_BYTES = 1 << 16
_MAX_FILE_BYTES = 256 << 20
_README = "readme.html"


@dataclass(frozen=True, slots=True)
class Format:
    """What differs between CIFAR-10 and CIFAR-100.

    Attributes:
        name: What people call it.
        files: The files of records, in order, and the split of each.
        names_file: The text with a class name on each line.
        label_bytes: Bytes before the pixels; the last one is the class.
        classes: The published class names, for data that came without `names_file`; empty where it is demanded.
    """

    name: str
    files: Mapping[str, str]
    names_file: str
    label_bytes: int
    classes: tuple[str, ...]

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return self.label_bytes + _PIXEL_BYTES


CIFAR10 = Format(
    name="CIFAR-10",
    files={**{f"data_batch_{i}.bin": "train" for i in range(1, 6)}, "test_batch.bin": "test"},
    names_file="batches.meta.txt",
    label_bytes=1,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = Format(
    name="CIFAR-100",
    files={"train.bin": "train", "test.bin": "test"},
    names_file="fine_label_names.txt",
    label_bytes=2,
    classes=(),
)


def kind_of_folder(location: str) -> Format | None:
    """Which of the two lies in a folder, as the names of its files tell; None for another folder."""
    try:
        names = set(os.listdir(location))
    except (OSError, ValueError):
        return None
    if names & set(CIFAR10.files):
        return CIFAR10
    return CIFAR100 if len(names & {*CIFAR100.files, CIFAR100.names_file}) >= 2 else None


def kind_of_archive(location: str) -> Format | None:
    """Which of the two an archive holds, as its first files tell; None for another file."""
    for path, size, _ in _tar.first_files(location, 4):
        name = os.path.basename(path)
        if name in (*CIFAR10.files, CIFAR10.names_file):
            return CIFAR10
        if name in (CIFAR100.names_file, "coarse_label_names.txt"):
            return CIFAR100
        if name in CIFAR100.files and size % CIFAR100.record_bytes == 0:
            return CIFAR100
        if name != _README:
            break
    return None


def load(location: str, form: Format, note: Note) -> Iterator[Example]:
    """Every record of a folder or an archive.

    Raises:
        DataError: A file is missing, damaged, truncated, or has a class without a name.
    """
    files = _folder_files if os.path.isdir(location) else _archive_files
    names = _names(location, form, note)
    missing = set(form.files)
    for name, file, size_bytes in files(location, form):
        missing.discard(name)
        yield from _records(file, size_bytes, form, names, (name, location))
    if missing:
        raise DataError(
            f"the binary version of {form.name} must hold {', '.join(form.files)}; {location} lacks "
            f"{', '.join(sorted(missing))}: copy or download it again"
        )


def _folder_files(location: str, form: Format) -> Iterator[tuple[str, IO[bytes], int]]:
    for name in form.files:
        path = Path(location) / name
        if path.is_file():
            try:
                with path.open("rb") as file:
                    yield name, file, os.fstat(file.fileno()).st_size
            except OSError as error:
                raise SourceError(f"{path} must be readable; {error.strerror}: check its permissions") from error
        elif os.path.lexists(path):
            raise SourceError(f"a file of records must be a regular file; {path} is a pipe, a device or a folder")


def _archive_files(location: str, form: Format) -> Iterator[tuple[str, IO[bytes], int]]:
    """In the order of the archive; each is read as a whole, CIFAR-100's larger one has 154 MB."""

    def is_wanted(member: tarfile.TarInfo) -> bool:
        return os.path.basename(member.name) in form.files and member.size <= _MAX_FILE_BYTES

    for member, data in _tar.members(location, is_wanted):
        if member.isreg() and is_wanted(member):
            yield os.path.basename(member.name), io.BytesIO(data), member.size


def _names(location: str, form: Format, note: Note) -> tuple[str, ...]:
    """The class names: those of the text beside the records, else the published ones."""
    lines = _names_text(location, form).decode("utf-8", "replace").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if names:
        return names
    if not form.classes:
        raise DataError(
            f"the class names of {form.name} must lie beside its pictures in {form.names_file}; {location} has none: "
            "copy or download it again"
        )
    note(f"{location} has no {form.names_file}: the classes have the published names, {', '.join(form.classes)}")
    return form.classes


def _names_text(location: str, form: Format) -> bytes:
    """Empty where there is none; an archive may have to be read to its end, since the text may come last."""
    if os.path.isdir(location):
        return first_bytes(os.path.join(location, form.names_file), _MAX_TEXT_BYTES)

    def is_text(member: tarfile.TarInfo) -> bool:
        return os.path.basename(member.name) == form.names_file and member.size <= _MAX_TEXT_BYTES

    with closing(_tar.members(location, is_text)) as members:
        return next((data for _, data in members if data), b"")


def _records(
    file: IO[bytes], size_bytes: int, form: Format, names: tuple[str, ...], where: tuple[str, str]
) -> Iterator[Example]:
    """The pictures of one file, HWC."""
    name, location = where
    if size_bytes == 0 or size_bytes % form.record_bytes:
        raise DataError(
            f"{name} must hold whole records of {form.record_bytes:,} bytes; it has {size_bytes:,} bytes in {location}"
            ": copy or download it again"
        )
    stem, split, start = name.removesuffix(".bin"), form.files[name], 0
    while block := file.read(_BLOCK_RECORDS * form.record_bytes):
        records = np.frombuffer(block, np.uint8).reshape(-1, form.record_bytes)
        pixels = records[:, form.label_bytes :].reshape(-1, 3, SIDE_PX, SIDE_PX).transpose(0, 2, 3, 1)
        images = np.ascontiguousarray(pixels)
        for i, (image, label) in enumerate(zip(images, records[:, form.label_bytes - 1], strict=True), start):
            if label >= len(names):
                raise DataError(
                    f"classes of {form.name} must be 0 to {len(names) - 1}; record {i:,} of {name} in {location} has "
                    f"{label}: copy or download it again"
                )
            yield Example(image, names[label], f"{stem}/{i:05d}", split)
        start += len(images)
