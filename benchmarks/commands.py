"""Running ``edgecnn`` from a benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Training:
    """What one training took.

    Attributes:
        clock: Seconds on the clock.
        user: Seconds of the processor in the program.
        system: Seconds of the processor in the kernel.
        peak: The most memory it held, in bytes.
    """

    clock: float
    user: float
    system: float
    peak: int


def train(run: Path, words: list[str], environment: dict[str, str] | None = None) -> Training:
    """``edgecnn train`` once, with what is added to its environment; end where it fails."""
    command = [sys.executable, "-m", "edgecnn", "train", *words, "--run", str(run)]
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"this command failed: {' '.join(command)}")
    return Training(time.monotonic() - began, used.ru_utime, used.ru_stime, used.ru_maxrss * 1024)


def edgecnn(*arguments: object) -> dict[str, object]:
    """Run a command and take its last JSON line; end with what it said where it fails."""
    done = subprocess.run([sys.executable, "-m", "edgecnn", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"edgecnn {' '.join(map(str, arguments))} failed:\n{done.stderr}")
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result
