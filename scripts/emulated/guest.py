"""Running a command in the guest, in one of two ways.

``chroot``: in a user namespace of its own, whose binfmt_misc starts arm64 programs, also those that the command starts.
``plain``: the emulator alone. A program in there cannot start another one of the guest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from emulated import cache
from emulated.userland import CODE, PYTHONS, Userland

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOR_THE_GUEST = ("PYTHON", "LD_", "VIRTUAL_ENV", "PYENV", "CONDA")


def environment(cpu: str) -> dict[str, str]:
    """This machine's environment without what would lead the guest to programs and packages for x86-64."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_THE_GUEST)}
    # the guest has no other locale; packages in the user's home are for x86-64
    return kept | {"QEMU_CPU": cpu, "PATH": PATH, "LC_ALL": "C.UTF-8", "PYTHONNOUSERSITE": "1"}


def why_no_chroot() -> str:
    """What keeps this machine from the way ``chroot``; empty where nothing does."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            end = subprocess.run(
                ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "binfmt_misc", "none", folder],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            return "there is no program unshare (sudo apt install util-linux)"
    if end.returncode == 0:
        return ""
    kernel = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if kernel and (int(kernel[1]), int(kernel[2])) < (6, 7):
        return f"Linux 6.7 or newer is needed for that; this is {os.uname().release}"
    return f"this machine forbids what a user namespace needs: {end.stderr.strip()}"


def run_in_chroot(userland: Userland, cpu: str, command: Sequence[str]) -> NoReturn:
    """Replaces this process by the command, in the way ``chroot``."""
    settings = {
        "cache": str(cache.home()),
        "emulator": str(userland.emulator.relative_to(cache.home())),
        "system": userland.system.name,
        "packages": userland.packages.name,
        "python": PYTHONS[userland.release],
        "code": "\n".join(map(str, CODE)),
        "folder": os.getcwd(),
    }
    inside = [sys.executable, str(Path(__file__).with_name("chroot.py")), json.dumps(settings), *command]
    line = ["unshare", "--user", "--map-root-user", "--mount", *inside]
    os.execvpe("unshare", line, environment(cpu) | {"PATH": os.environ["PATH"], "GUEST_PATH": PATH})


def run_plainly(userland: Userland, cpu: str, command: Sequence[str]) -> NoReturn:
    """Replaces this process by the command, in the way ``plain``."""
    program = _find(userland.system, command[0])
    words = [str(program), *command[1:]]
    with program.open("rb") as file:
        first = file.readline()
    if first.startswith(b"#!"):
        interpreter, *options = first[2:].decode().split()
        words = [str(_find(userland.system, interpreter)), *options, *words]
    places = {"PYTHONPATH": ":".join(map(str, [*CODE, userland.packages]))}
    line = [str(userland.emulator), "-L", str(userland.system), *words]
    os.execve(userland.emulator, line, environment(cpu) | places)


def _find(system: Path, name: str) -> Path:
    places = [Path(folder.lstrip("/"), name) for folder in PATH.split(":")]
    if "/" in name:
        places = [Path(name.lstrip("/")), Path.cwd() / name]
    for place in places:
        if (system / place).is_file():
            return (system / place).resolve()
    cache.say(f"the guest cannot run {name}: No such file or directory")
    sys.exit(127)
