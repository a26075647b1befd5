"""What the guest consists of: an emulator, Debian's files for arm64, and the wheels that edgecnn needs, for aarch64."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emulated import cache, debian
from emulated.problem import Problem

CHECKOUT = Path(__file__).resolve().parents[2]
CODE = [CHECKOUT, CHECKOUT / "training", CHECKOUT / "deploy"]
"""What is run as it is, and not copied."""
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Releases of Raspberry Pi OS, and the Python of each."""

PROGRAMS = ["base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "libstdc++6", "procps", "python3"]
PROGRAMS += ["python3-venv", "sed", "usr-is-merged"]  # without the last one bookworm's procps brings usrmerge and Perl
FOR_TESTS = ["pytest", "pytest-xdist", "hypothesis", "jsonschema"]
EXTRAS = ["cpu", "video"]
GLIBC = ["2_28", "2_27", "2_26", "2_17"]  # of the wheels that both releases can load
# Where the user's own files lie, or the machine's: what the guest's system has there must not hide them.
OF_THE_HOST = ["boot", "dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp"]
NEVER_READ = ["doc", "info", "locale", "man"]  # a third of the size

SCRIPT = """#!/usr/bin/python3
import runpy

runpy.run_module("{module}", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Userland:
    """Where the parts of a guest lie.

    Attributes:
        release: Debian's.
        emulator: A static ``qemu-aarch64``.
        system: Debian's files.
        packages: Python packages, among them the metadata of this checkout, whose code is not copied.
    """

    release: str
    emulator: Path
    system: Path
    packages: Path


def prepare(release: str, mirror: str | None, *, offline: bool = False) -> Userland:
    """Fetches what is not there yet.

    Args:
        release: A key of `PYTHONS`.
        mirror: The archive of Debian to take; that of this machine's apt if None.
        offline: Fetch nothing.

    Raises:
        Problem: Something cannot be had.
    """
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *FOR_TESTS]
    for extra in EXTRAS:
        needed += project["optional-dependencies"][extra]
    key = hashlib.sha256("\n".join([project["version"], *needed]).encode()).hexdigest()[:8]
    python = PYTHONS[release]
    makers = {
        "qemu-user": (partial(_make_emulator, mirror), "qemu 10 (16 MB)"),
        f"{release}-arm64": (partial(_make_system, release, mirror), f"Debian {release} for arm64 (90 MB)"),
        f"{release}-packages-{key}": (
            partial(_make_packages, python, needed, project["version"]),
            f"ONNX Runtime and all else that edgecnn needs, for aarch64 and Python {python} (250 MB)",
        ),
    }
    with cache.turn():
        emulator, system, packages = (
            cache.kept(name, make, telling, offline=offline) for name, (make, telling) in makers.items()
        )
    return Userland(release, emulator / "qemu-aarch64", system, packages)


def _make_emulator(mirror: str | None, folder: Path) -> None:
    # that of bookworm, 7.2, crashes when ONNX Runtime is imported; this one is static and runs anywhere
    whole = folder.with_name(f"{folder.name}-whole")
    try:
        debian.unpack("trixie", "amd64", ["qemu-user"], whole, mirror)
        folder.mkdir()
        shutil.copy(whole / "usr/bin/qemu-aarch64", folder)
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def _make_system(release: str, mirror: str | None, folder: Path) -> None:
    debian.unpack(release, "arm64", PROGRAMS, folder, mirror)
    for name in [*OF_THE_HOST, *(f"usr/share/{name}" for name in NEVER_READ)]:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    programs = folder / "usr/local/bin"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "python").symlink_to("../../bin/python3")
    for name in ("edgecnn", "pytest"):
        (programs / name).write_text(SCRIPT.format(module=name))
        (programs / name).chmod(0o755)


def _make_packages(python: str, needed: list[str], version: str, folder: Path) -> None:
    fetch_wheels(["install", "--no-compile", f"--target={folder}"], python, needed)
    shutil.rmtree(folder / "bin", ignore_errors=True)  # scripts for the Python of this machine
    metadata = folder / f"edgecnn-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: edgecnn\nVersion: {version}\n")


def fetch_wheels(command: list[str], python: str, needed: list[str]) -> None:
    """Have this machine's pip fetch the guest's packages.

    Args:
        command: ``["install", …]`` or ``["download", …]``.
        python: The guest's.
        needed: What to fetch, with all that it needs.

    Raises:
        Problem: That fails.
    """
    plain = python.replace(".", "")
    for_guest = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    for_guest += [f"--abi={abi}" for abi in (f"cp{plain}", "abi3", "none")]
    for_guest += [f"--platform=manylinux_{glibc}_aarch64" for glibc in GLIBC] + ["--platform=manylinux2014_aarch64"]
    run_pip([command[0], "--quiet", *command[1:], *for_guest, *needed], "fetch the wheels")


def run_pip(words: list[str], what: str) -> None:
    """Run this machine's pip.

    Args:
        words: Its command.
        what: It is to do, for the message.

    Raises:
        Problem: There is none, or it fails.
    """
    end = subprocess.run([*_pip(), *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if end.returncode != 0:
        told = [line for line in end.stderr.splitlines() if line.startswith("ERROR")] or end.stderr.splitlines()[-1:]
        raise Problem(
            f"pip could not {what}: {'; '.join(told)}",
            "Is there a network? Type the same command again; behind a proxy:  export https_proxy=http://HOST:PORT",
        )


def _pip() -> list[str]:
    for python in (sys.executable, str(CHECKOUT / ".venv/bin/python")):
        if python == sys.executable and importlib.util.find_spec("pip"):
            return [python, "-m", "pip"]
        if Path(python).exists() and subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0:
            return [python, "-m", "pip"]
    raise Problem(f"pip is needed to fetch wheels; {sys.executable} has none", "sudo apt install python3-pip")
