"""A checkout on a machine that can be made to lack anything, for test_scripts.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPTS = [
    f"scripts/{path.name}"
    for path in (CHECKOUT / "scripts").iterdir()
    if path.is_file() and path.suffix in ("", ".sh", ".awk")
]
PROGRAMS = (
    "awk", "bash", "cat", "cksum", "cp", "cut", "date", "df", "dirname", "du", "env", "flock", "grep", "head", "id",
    "ls", "mkdir", "mv", "readlink", "rm", "sed", "sh", "sleep", "tail", "touch", "tr", "uname",
)  # fmt: skip


class Machine:
    """A checkout, and a PATH on which everything can be made to fail."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "the checkout ü"
        self.venv = self.checkout / ".venv"
        self.packages = self.venv / "lib/python3.11/site-packages"
        (self.checkout / "scripts").mkdir(parents=True)
        for name in ("pyproject.toml", *SCRIPTS):
            shutil.copy(CHECKOUT / name, self.checkout / name)
        self.bin, self.notes, system = folder / "bin", folder / "notes.jsonl", folder / "system"
        self.bin.mkdir()
        system.mkdir()
        for name in PROGRAMS:
            if found := shutil.which(name):
                (system / name).symlink_to(found)
        fake = Path(__file__).with_name("fake_python.py")
        self.tell("python3", f"exec '{sys.executable}' -I -S '{fake}' \"$0\" \"$@\"")
        self.tell("pip", "echo 'error: externally-managed-environment' >&2; exit 1")
        self.tell("pip3", "echo 'error: externally-managed-environment' >&2; exit 1")
        self.environment = {
            "PATH": f"{self.bin}:{system}",
            "HOME": str(folder / "home"),
            "FAKE": str(self.bin / "python3"),
            "NOTES": str(self.notes),
        }

    def tell(self, name: str, text: str) -> None:
        """Put a program on PATH, before the real one."""
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *command: str | Path, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command or (self.checkout / "scripts/demo",))),
            cwd=cwd or self.checkout,
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def start(self, **more: str) -> subprocess.Popen[str]:
        """Start scripts/demo, and return when its pip is at work."""
        hangs = self.notes.with_name("hangs")
        hangs.unlink(missing_ok=True)
        process = subprocess.Popen(
            [self.checkout / "scripts/demo"],
            env=self.environment | {"PIP_HANGS": str(hangs)} | more,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while not hangs.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return process

    def asked(self) -> list[dict[str, object]]:
        """What pip was asked for, in order."""
        return [json.loads(line) for line in self.notes.read_text().splitlines()] if self.notes.exists() else []

    def installed(self) -> list[str]:
        return [line["words"][-1] for line in self.asked()]  # type: ignore[index]

    def refuses(self, *told: str, **more: str) -> str:
        """Run scripts/demo, which says these things and ends with code 2 before pip is asked for anything."""
        end = self.run(**more)
        assert (end.returncode, end.stdout) == (2, "")
        assert [part for part in told if part not in end.stderr] == [], end.stderr
        assert self.installed() == []
        return end.stderr
