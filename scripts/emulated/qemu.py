"""A whole computer, emulated: qemu-system-aarch64 of Debian trixie, run where it was unpacked.

It has a disk, a stick, no network, and two wires to this machine, each of which ends in a file: the serial console, and
one on which the guest tells what it found.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emulated import cache, debian
from emulated.disk import System

MEMORY_MB = 512  # of a Zero 2 W, the smallest board
MOST_CORES = 4
LOOKS_S = 1.0


class Stuck(Exception):  # noqa: N818 - what became of a guest
    """The guest has ended, or says nothing any more."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A computer that is switched on.

    Attributes:
        process: The emulator.
        console: What is written on the serial console.
        told: What the guest tells of itself.
    """

    process: subprocess.Popen[bytes]
    console: Path
    told: Path

    def lines(self, silent_s: float, most_s: float) -> Iterator[str]:
        """Yield what the guest tells, as it does.

        Args:
            silent_s: For how long neither it nor its console may be silent.
            most_s: How long all may take.

        Raises:
            Stuck: One of them was exceeded, or the guest has ended.
        """
        began = heard = time.monotonic()
        rest, sizes = "", (0, 0)
        with self.told.open(encoding="utf-8", errors="replace") as file:
            while True:
                ended = self.process.poll() is not None
                *whole, rest = (rest + file.read()).split("\n")
                yield from whole
                now = time.monotonic()
                if (grown := (self.told.stat().st_size, self.console.stat().st_size)) != sizes:
                    sizes, heard = grown, now
                if ended:
                    raise Stuck(f"the guest has ended (the emulator with code {self.process.returncode})")
                if now - heard > silent_s:
                    raise Stuck(f"the guest has been silent for {silent_s:g} s")
                if now - began > most_s:
                    raise Stuck(f"the guest was not done within {most_s:g} s")
                time.sleep(LOOKS_S)

    def console_tail(self, lines: int) -> str:
        """The last lines on its console."""
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])


def fetch(mirror: str | None, *, offline: bool) -> Path:
    """The folder of the emulator with all that it needs; to be called in one's `cache.turn`.

    Raises:
        Problem: It cannot be had.
    """
    return cache.kept(
        "qemu-system",
        lambda folder: debian.unpack("trixie", "amd64", ["qemu-system-arm", "ipxe-qemu"], folder, mirror),
        "qemu 10 for whole systems (50 MB)",
        offline=offline,
    )


@contextlib.contextmanager
def switched_on(emulator: Path, cpu: str, system: System, stick: Path, words: str) -> Iterator[Guest]:
    """A guest that runs; it is switched off as if the plug was pulled.

    Args:
        emulator: From `fetch`.
        cpu: Whose instructions it has.
        system: What it starts; its disk is written to.
        stick: A second disk, which it can only read; the files of the wires lie beside it.
        words: For its kernel's command line.
    """
    console, told = stick.with_name("console.txt"), stick.with_name("told.txt")
    for file in (console, told):
        file.write_bytes(b"")
    cores = min(MOST_CORES, len(os.sched_getaffinity(0)))
    # its own loader and libraries: those of this machine are other versions
    line = [
        str(emulator / "usr/lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        str(emulator / "usr/lib/x86_64-linux-gnu"),
    ]
    line += [str(emulator / "usr/bin/qemu-system-aarch64"), "-L", str(emulator / "usr/share/qemu")]
    line += ["-nodefaults", "-display", "none", "-nic", "none", "-no-reboot"]
    line += ["-M", "virt", "-cpu", cpu, "-smp", str(cores), "-m", str(MEMORY_MB), "-accel", "tcg,thread=multi"]
    line += ["-kernel", str(system.kernel), "-initrd", str(system.initrd)]
    line += ["-append", f"console=ttyAMA0 loglevel=4 {words}"]
    line += ["-drive", f"file={system.disk},format=raw,if=virtio"]
    line += ["-drive", f"file={stick},format=raw,if=virtio,readonly=on"]
    line += ["-serial", f"file:{console}", "-device", "virtio-serial-pci"]
    line += ["-chardev", f"file,id=told,path={told}", "-device", "virtserialport,chardev=told,name=checks"]
    complaints = stick.with_name("qemu.txt")
    with complaints.open("wb") as errors:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        yield Guest(process, console, told)
    finally:
        process.kill()
        process.wait()
