"""The first files that a kernel sees: a shell, the modules without which it finds no disk, and what starts Debian."""

from __future__ import annotations

import lzma
import re
from collections.abc import Sequence
from pathlib import Path

from emulated.problem import Problem

FOR_THE_DISK = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /new
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for module in /modules/*.ko; do insmod "$module"; done
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 -o rw,noatime /dev/vda /new || exec sh
# Who made the disk may not have been root; and Debian's index of modules is made where a kernel is installed
if [ ! -e "/new/lib/modules/$(uname -r)/modules.dep.bin" ]; then
  chown -R 0:0 /new
  chroot /new /sbin/depmod "$(uname -r)"
fi
umount /sys /proc
exec switch_root /new /sbin/init
"""


class Modules:
    """A kernel's modules in a folder such as ``/lib/modules/6.1.0-50-arm64``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {_plain(path.name): path for path in sorted(folder.rglob("*.ko*"))}
        builtin = (folder / "modules.builtin").read_text().splitlines()
        self._built_in = {_plain(Path(line).name) for line in builtin}

    def needed(self, names: Sequence[str]) -> list[Path]:
        """The files of modules, each after those that it needs.

        Raises:
            Problem: There is no such module.
        """
        found: dict[str, Path] = {}
        for name in map(_plain, names):
            if name in self._built_in or name in found:
                continue
            if name not in self._files:
                raise Problem(f"the kernel must have a module {name}; there is none in {self.folder.name}")
            path = self._files[name]
            needs = re.search(rb"\0depends=([^\0]*)\0", unpacked(path))
            for path_below in self.needed([one for one in (needs[1] if needs else b"").decode().split(",") if one]):
                found.setdefault(_plain(path_below.name), path_below)
            found[name] = path
        return list(found.values())

    def keep(self, names: Sequence[str]) -> None:
        """Remove all others: they are 300 MB."""
        kept = set(self.needed(names))
        for path in self._files.values():
            if path not in kept:
                path.unlink()


def unpacked(path: Path) -> bytes:
    """A module as the kernel reads it; trixie's are compressed."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def write(path: Path, busybox: Path, modules: Modules) -> None:
    """Write the archive.

    Args:
        path: Its place.
        busybox: A static one for the guest.
        modules: Of its kernel.
    """
    with path.open("wb") as file:
        for folder in ("bin", "modules"):
            file.write(_entry(folder, 0o040755))
        file.write(_entry("init", 0o100755, INIT.encode()))
        file.write(_entry("bin/busybox", 0o100755, busybox.read_bytes()))
        for number, module in enumerate(modules.needed(FOR_THE_DISK)):
            file.write(_entry(f"modules/{number:02}-{_plain(module.name)}.ko", 0o100644, unpacked(module)))
        file.write(_entry("TRAILER!!!", 0))


def _entry(name: str, mode: int, data: bytes = b"") -> bytes:
    """A file of a cpio archive in the format "newc", which is described in the kernel's initramfs documentation."""
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _plain(name: str) -> str:
    return re.sub(r"\.ko(\.xz)?$", "", name).replace("-", "_")
