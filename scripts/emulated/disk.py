"""What the full system starts from: a kernel, its first files, and a disk with Debian for arm64.

Packages are unpacked and not installed, so their scripts do not run; what those would have done, and is missed, is done
here. Nothing needs root: the disk is written as a file system by mke2fs, and the guest makes all files root's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from emulated import cache, debian, initrd
from emulated.problem import Problem

BASE = "base-files base-passwd bash coreutils dash debianutils diffutils dpkg findutils grep hostname libc-bin login"
SYSTEM = "busybox-static dbus kmod libnss-systemd linux-image-arm64 mawk passwd procps sed systemd systemd-sysv tar"
FOR_THE_CHECKS = "ca-certificates libstdc++6 python3 python3-venv udev usr-is-merged util-linux v4l-utils"
MODULES = (*initrd.FOR_THE_DISK, "virtio_console", "vivid", "autofs4")
NOT_FOR_A_TEST = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/lib/firmware")
DISK_SIZE = "3G"  # a file with holes: it takes what is in it
GROUPS = ("input", "kvm", "render", "sgx")  # made by the script of udev

CAMERA = "options vivid n_devs=1 num_inputs=1 input_types=0 node_types=0x1\n"
MASKED = ("proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service")  # want a module that is left out
CHECKS = """[Unit]
Description=Checks of edgecnn, from the stick that the host has put in
ConditionKernelCommandLine=edgecnn.phase

[Service]
ExecStartPre=mkdir -p /media/stick
ExecStartPre=mount -o ro /dev/vdb /media/stick
ExecStart=bash /media/stick/checks.sh
StandardOutput=journal+console
StandardError=journal+console
"""


@dataclass(frozen=True, slots=True)
class System:
    """Where its parts lie; the disk is to be copied, since a run writes to it."""

    kernel: Path
    initrd: Path
    disk: Path


def prepare(release: str, mirror: str | None, *, offline: bool) -> System:
    """Make what is not there yet; to be called in one's `cache.turn`.

    Args:
        release: Debian's.
        mirror: The archive of Debian to take; that of this machine's apt if None.
        offline: Fetch nothing.

    Raises:
        Problem: Something cannot be had.
    """
    made_by = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("disk.py", "initrd.py"))
    key = hashlib.sha256(made_by).hexdigest()[:8]
    folder = cache.kept(
        f"{release}-disk-{key}",
        lambda folder: _make(release, folder, mirror),
        f"Debian {release} for arm64 with its kernel and systemd (130 MB)",
        offline=offline,
    )
    return System(folder / "vmlinuz", folder / "initrd", folder / "disk")


def write(folder: Path, image: Path, size: str) -> None:
    """Make a file system of a folder.

    Args:
        folder: What is in it.
        image: The file to write.
        size: As mke2fs takes it.

    Raises:
        Problem: There is no mke2fs, or it fails.
    """
    program = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise Problem("mke2fs is needed to make a disk; there is none on PATH", "sudo apt install e2fsprogs")
    command = [program, "-q", "-F", "-t", "ext4", "-m", "0", "-d", str(folder), str(image), size]
    end = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if end.returncode != 0:
        image.unlink(missing_ok=True)
        told = end.stderr.strip().splitlines()[-1:]
        raise Problem(f"mke2fs could not make a disk: {' '.join(told)}", "Is there room for 1.5 GB?")


def _make(release: str, folder: Path, mirror: str | None) -> None:
    whole = folder.with_name(f"{folder.name}-whole")
    try:
        debian.unpack(release, "arm64", f"{BASE} {SYSTEM} {FOR_THE_CHECKS}".split(), whole, mirror)
        modules = initrd.Modules(next((whole / "lib/modules").iterdir()))
        modules.keep(MODULES)
        for name in NOT_FOR_A_TEST:
            shutil.rmtree(whole / name, ignore_errors=True)
        _do_what_installing_does(whole)
        _add_camera_and_checks(whole)
        folder.mkdir()
        shutil.copy(next((whole / "boot").glob("vmlinuz-*")), folder / "vmlinuz")
        initrd.write(folder / "initrd", whole / "bin/busybox", modules)
        shutil.rmtree(whole / "boot")
        write(whole, folder / "disk", DISK_SIZE)
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def _do_what_installing_does(root: Path) -> None:
    """What scripts of base-passwd, ca-certificates, mawk, passwd, systemd and udev do, if the checks would miss it."""
    etc, given = root / "etc", root / "usr/share/base-passwd"
    users = (given / "passwd.master").read_text().replace("root:*:", "root:x:")
    groups = (given / "group.master").read_text()
    groups += "".join(f"{name}:x:{990 + number}:\n" for number, name in enumerate(GROUPS))
    for name, text in (("passwd", users), ("group", groups)):
        (etc / name).write_text(text)
    for name, text, rest in (("shadow", users, ":*:20000:0:99999:7:::"), ("gshadow", groups, ":*::")):
        (etc / name).write_text("".join(line.partition(":")[0] + rest + "\n" for line in text.splitlines()))
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (etc / "ssl/certs/ca-certificates.crt").write_text("".join(file.read_text() for file in certificates))
    (root / "usr/bin/awk").symlink_to("mawk")
    (etc / "hostname").write_text("raspberrypi\n")
    (etc / "fstab").write_text("/dev/vda / ext4 rw,noatime 0 1\n")
    (etc / "machine-id").write_text(hashlib.md5(b"edgecnn").hexdigest() + "\n")  # without one all units are enabled


def _add_camera_and_checks(root: Path) -> None:
    etc = root / "etc"
    (etc / "modules-load.d/camera.conf").write_text("vivid\n")
    (etc / "modprobe.d/camera.conf").write_text(CAMERA)
    unit = etc / "systemd/system/checks.service"
    unit.write_text(CHECKS)
    for name in MASKED:
        (unit.parent / name).symlink_to("/dev/null")
    wants = unit.parent / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")
