"""The full system's checks: a Pi with systemd and a camera is set up, unplugged, started again, and put to the test.

What is checked is in checks.sh, which the guest runs. Standard output gets a line a check; what the guest wrote on its
console is kept beside them in a file.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from emulated import cache, disk, qemu, stick
from emulated.problem import Problem
from emulated.userland import CHECKOUT

PHASES = {
    "install": "A Pi as it comes from the shop: install.sh is run as its user would",
    "runs": "The plug was pulled; the Pi is switched on again",
}
SILENT_S, PHASE_S = 1800.0, 7200.0  # a busy machine emulates slowly
TAIL = 40


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for.

    Attributes:
        release: Debian's.
        cpu: The model of the processor.
        model: An .onnx file; a bundled one if None.
        mirror: The archive of Debian to take; that of this machine's apt if None.
        offline: Fetch nothing.
    """

    release: str
    cpu: str
    model: Path | None
    mirror: str | None
    offline: bool


def check(options: Options) -> int:
    """Run all checks.

    Args:
        options: See `Options`.

    Returns:
        How many failed.

    Raises:
        Problem: The system cannot be put together.
    """
    model = options.model or CHECKOUT / "edgecnn/models/signs.onnx"
    if not model.is_file():
        raise Problem(f"--model must name an .onnx file that edgecnn has exported; there is no {model}")
    with cache.turn():
        emulator = qemu.fetch(options.mirror, offline=options.offline)
        system = disk.prepare(options.release, options.mirror, offline=options.offline)
        wheels = stick.fetch_wheels(options.release, offline=options.offline)
    folder = cache.home() / f"{options.release}-system"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    stick.write(folder / "stick", wheels, model)
    run = replace(system, disk=folder / "disk")
    _copy_with_holes(system.disk, run.disk)
    failed = 0
    try:
        for phase, title in PHASES.items():
            print(f"\n{title}", flush=True)
            with qemu.switched_on(emulator, options.cpu, run, folder / "stick", f"edgecnn.phase={phase}") as guest:
                failed += _listened_to(guest, folder / f"{phase}.txt")
    except qemu.Stuck as stuck:
        print(f"failed  {stuck}; the end of its console:\n{guest.console_tail(TAIL)}", flush=True)
        return failed + 1
    finally:
        for large in ("disk", "stick"):
            (folder / large).unlink()
        cache.say(f"what was told and what the console showed is in {folder}")
    return failed


def _listened_to(guest: qemu.Guest, transcript: Path) -> int:
    """Print what a guest tells until it is done; how many checks failed."""
    failed, began = 0, time.monotonic()
    try:
        with transcript.open("w", encoding="utf-8", buffering=1) as copy:
            for line in guest.lines(SILENT_S, PHASE_S):
                copy.write(f"{time.monotonic() - began:7.1f} s  {line}\n")
                if line == "done":
                    return failed
                failed += line.startswith("failed")
                print(line, flush=True)
    finally:
        shutil.copyfile(guest.console, transcript.with_name(f"{transcript.stem}-console.txt"))
    raise AssertionError("a guest's lines end with an error if not with done")


def _copy_with_holes(source: Path, target: Path) -> None:
    block = 1 << 20
    with source.open("rb") as reader, target.open("wb") as writer:
        while data := reader.read(block):
            if data.count(0) == len(data):
                writer.seek(len(data), 1)
            else:
                writer.write(data)
        writer.truncate(source.stat().st_size)
