"""What an archive may do to us, and the limits that stop it; shared by `tar` and `zip`.

Nothing is ever unpacked to disk, so that a name such as ``../../.bashrc`` could do no harm; it is refused all the same,
since an archive that contains it was not made by somebody who wanted to share pictures.
"""

from __future__ import annotations

import io
from typing import Protocol

from edgecnn.errors import DataError

MAX_MEMBERS = 5_000_000
MAX_TOTAL_BYTES = 1 << 40
"""Most that an archive may unpack to, in bytes: 1 TiB, above the largest sets of pictures."""

FREE_BYTES = 256 << 20
MAX_RATIO = 100
"""An archive that unpacks to more than `FREE_BYTES` must not unpack to more than this many times its own size.

Photographs shrink by less than 2 and MNIST's raw arrays by 5; a bomb shrinks by 1,000 and more.
"""

_MAX_READ = 128 << 20


def unsafe_name(name: str) -> str | None:
    """Why a member's name is refused; None for an innocent one."""
    if not name:
        return "member without a name"
    if name.startswith(("/", "\\")) or name[1:3] in (":/", ":\\"):
        return "absolute path in an archive"
    if ".." in name.replace("\\", "/").split("/"):
        return "path with '..' in an archive"
    return None


def check_total(location: str, unpacked: int, packed: int) -> None:
    """Refuse an archive that unpacks to too much.

    Raises:
        DataError: `unpacked` bytes are too many for a file of `packed` bytes.
    """
    if unpacked > MAX_TOTAL_BYTES or (unpacked > FREE_BYTES and unpacked > MAX_RATIO * packed):
        raise DataError(
            f"an archive must not unpack to more than {MAX_RATIO} times its size; {location} of {packed:,} bytes "
            f"unpacks to more than {unpacked:,}: if you trust it, unpack it yourself and pass the folder"
        )


def check_members(location: str, count: int) -> None:
    """Refuse an archive of too many members.

    Raises:
        DataError: More than `MAX_MEMBERS`.
    """
    if count > MAX_MEMBERS:
        raise DataError(f"an archive must have at most {MAX_MEMBERS:,} members; {location} has more: split it")


def damaged(location: str, members: int, error: Exception | str) -> DataError:
    """The error for an archive that cannot be read to its end."""
    why = str(error) or type(error).__name__
    return DataError(f"{location} is damaged or truncated after {members:,} members ({why}); copy or download it again")


class Unpacking(Protocol):
    """A file that unpacks while it is read."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` unpacked bytes."""
        ...

    def close(self) -> None:
        """Give back what unpacking needs."""
        ...


class Meter(io.RawIOBase):
    """A forward-only view of an unpacking stream that counts what comes out and stops a bomb.

    Attributes:
        last: The block that was read last.
    """

    def __init__(self, stream: Unpacking, location: str, packed: int) -> None:
        self._stream, self._location, self._packed = stream, location, packed
        self._position = 0
        self.last = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Forward only."""
        return True

    def tell(self) -> int:
        """Bytes that came out so far."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes.

        Raises:
            DataError: Too much in one piece (a header that claims gigabytes) or in total.
        """
        if not 0 <= size <= _MAX_READ:
            raise damaged(self._location, 0, f"a header that claims {size:,} bytes")
        self.last = self._stream.read(size)
        self._position += len(self.last)
        check_total(self._location, self._position, self._packed)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read and forget up to `offset`, which must lie ahead."""
        if whence != io.SEEK_SET or offset < self._position:
            raise io.UnsupportedOperation("an archive is read forward only")
        while self._position < offset and self.read(min(1 << 20, offset - self._position)):
            pass
        return self._position

    def drain(self) -> None:
        """Read to the end, so that the checksum there is compared."""
        while self.read(1 << 20):
            pass
