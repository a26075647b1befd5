"""Run in a user namespace by guest.py: puts the guest's root together, enters it and becomes the command.

    chroot.py SETTINGS COMMAND…

All is gone with the last process of the namespace: the root is the unpacked system with a layer of memory upon it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OF_THE_GUEST = {"bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "var"}
# How names are looked up, who is who, and where packages come from: the guest's system has none of them.
FROM_THE_HOST = ("resolv.conf", "hosts", "passwd", "group", "localtime", "pip.conf", "ssl/certs/ca-certificates.crt")
# An ELF file of 64 bits for aarch64, executable or shared; the mask leaves out the ABI and that last choice.
MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def mount(*words: str | Path) -> None:
    """Calls the program `mount`."""
    subprocess.run(["mount", *map(str, words)], check=True)


def register(emulator: str, place: Path) -> None:
    """Has the kernel start arm64 programs of this namespace with the emulator.

    F opens it now, so that it need not lie in the guest's root; P hands the program its own name.
    """
    place.mkdir()
    mount("-t", "binfmt_misc", "none", place)
    (place / "register").write_bytes(b":aarch64:M::" + MAGIC + b":" + MASK + b":" + emulator.encode() + b":FP")


def put_together(settings: Mapping[str, str], base: Path) -> Path:
    """Returns the root."""
    upper, work, root = base / "upper", base / "work", base / "root"
    for folder in (upper, work, root):
        folder.mkdir()
    for name in FROM_THE_HOST:
        if Path("/etc", name).exists():
            (upper / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/etc", name), upper / "etc" / name)
    if Path("/etc/xdg/pip").is_dir():
        shutil.copytree("/etc/xdg/pip", upper / "etc/xdg/pip")
    finds = upper / "usr/lib/python3/dist-packages/edgecnn-checkout.pth"
    finds.parent.mkdir(parents=True)
    finds.write_text(settings["code"] + "\n")
    layers = f"lowerdir={settings['system']},upperdir={upper},workdir={work},userxattr"
    mount("-t", "overlay", "-o", layers, "none", root)
    return root


def show_the_hosts_files(settings: Mapping[str, str], root: Path) -> None:
    """Mounts the host's folders at their places, and the packages where Debian's Python looks for them."""
    shown = [path for path in Path("/").iterdir() if path.is_dir() and not path.is_symlink()]
    shown = [path for path in shown if path.name not in OF_THE_GUEST]
    for path in (*map(Path, settings["code"].splitlines()), Path(settings["folder"])):
        if path.parts[1] in OF_THE_GUEST:
            shown.append(path)
    pairs = [(path, root / path.relative_to("/")) for path in shown]
    packages = root / f"usr/local/lib/python{settings['python']}/dist-packages"
    for source, target in [*pairs, (Path(settings["packages"]), packages)]:
        target.mkdir(parents=True, exist_ok=True)
        mount("--rbind", source, target)


def main(settings: Mapping[str, str], command: list[str]) -> None:
    """The script."""
    os.chdir(settings["cache"])  # relative names, since a comma or a colon in that folder's would end an option
    base = Path("root")
    base.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "none", base)
    register(settings["emulator"], base / "binfmt")
    root = put_together(settings, base)
    show_the_hosts_files(settings, root)
    os.chroot(root)
    os.chdir(settings["folder"])
    os.environ["PATH"] = os.environ.pop("GUEST_PATH")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"scripts/pi: the guest cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
