"""One array of an .npz archive: its header, checked, and its rows, block by block; shared by the parts of `npz`.

Nothing in it is ever unpickled. Format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError

SUFFIX = ".npy"
PICKLED = (
    "it is an array of Python objects, thus a pickle, and reading one runs whatever code its maker put into it: save "
    "plain arrays, np.savez('data.npz', images=np.stack(images), labels=np.asarray(labels, str))"
)
_BLOCK_BYTES = 4 << 20
_WHOLE_BYTES = 1 << 30
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Array:
    """An array in an archive, before its values are read.

    Attributes:
        archive: The .npz file.
        member: Its name there.
        shape: Its dimensions.
        dtype: The type of its values; never objects.
        fortran_order: Whether the first dimension varies fastest; such an array is read as a whole.
        offset: Where its values begin.
    """

    archive: zipfile.ZipFile
    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int

    @property
    def name(self) -> str:
        """The name under which it was saved."""
        return self.member.filename.removesuffix(SUFFIX)

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.name} in {self.archive.filename}"

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.shape}"

    def block_rows(self) -> int:
        """How many rows make a block of some megabytes."""
        row_bytes = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        return max(1, _BLOCK_BYTES // row_bytes)

    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """The array in pieces of `rows` rows.

        Raises:
            DataError: Damaged or truncated, or too large to be read in its order.
        """
        with _explained(self.where), self.archive.open(self.member) as file:
            file.read(self.offset)
            if self.fortran_order and len(self.shape) > 1:
                yield from self._whole(file, rows)
                return
            row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                yield self._values(file, count * row_bytes).reshape(count, *self.shape[1:])
            file.read(1)  # the end, where the checksum is compared

    def _whole(self, file: IO[bytes], rows: int) -> Iterator[npt.NDArray[Any]]:
        size_bytes = math.prod(self.shape) * self.dtype.itemsize
        if size_bytes > _WHOLE_BYTES:
            raise DataError(
                f"an array of {size_bytes:,} bytes must be saved row by row (C order); {self.where} is in Fortran "
                "order: save np.ascontiguousarray of it"
            )
        values = self._values(file, size_bytes).reshape(self.shape, order="F")
        for start in range(0, self.shape[0], rows):
            yield np.ascontiguousarray(values[start : start + rows])

    def _values(self, file: IO[bytes], size_bytes: int) -> npt.NDArray[Any]:
        data = file.read(size_bytes)
        if len(data) != size_bytes:
            raise EOFError("it ends before its header says")
        return np.frombuffer(data, self.dtype)


def read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """What an array is, from its first bytes.

    Raises:
        DataError: No array, an array of objects, or one whose header does not fit its size.
    """
    where = f"{member.filename} in {archive.filename}"
    with _explained(where), archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = _HEADERS[version]
            shape, fortran_order, dtype = read(file)  # NumPy limits the header to 10,000 bytes, and runs nothing in it
        except (ValueError, KeyError) as error:
            raise DataError(
                f"a member of an .npz must be a NumPy array; {where} is none that can be read ({error}): save it anew "
                "with np.savez"
            ) from error
        offset = file.tell()
    if dtype.hasobject:
        raise DataError(f"arrays must hold numbers or fixed-width text; {where} does not: {PICKLED}")
    if math.prod(shape) * dtype.itemsize != member.file_size - offset:
        raise DataError(
            f"{where} must have {math.prod(shape) * dtype.itemsize:,} bytes of values, as its header says; it has "
            f"{member.file_size - offset:,}: copy or download it again"
        )
    return Array(archive, member, tuple(shape), dtype, fortran_order, offset)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        why = str(error) or type(error).__name__
        raise DataError(f"{where} is damaged or truncated ({why}); copy or download it again") from error
