"""How the board itself is: temperature, and whether a Raspberry Pi slows down for heat or for a weak supply."""

from __future__ import annotations

import glob
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_THERMAL = "/sys/class/thermal/thermal_zone0/temp"
_THROTTLED = ("/sys/devices/platform/*/get_throttled", "/sys/devices/platform/*/*/get_throttled")
_TOOL_S = 2.0
_BITS = ((0, "under-voltage: use a stronger power supply"), (1, "frequency capped"), (2, "throttled"), (3, "hot"))
_SINCE_BOOT = 16


@dataclass(frozen=True, slots=True)
class Board:
    """What was read.

    Attributes:
        celsius: Of the processor; None where the system does not tell.
        throttled: The bits of ``vcgencmd get_throttled``; None where this is no Raspberry Pi.
    """

    celsius: float | None
    throttled: int | None

    @classmethod
    def read(cls) -> Board:
        """Read it now; takes a few milliseconds."""
        return cls(_temperature(), _throttled())

    def now(self) -> list[str]:
        """What slows it down at this moment, in words."""
        return [] if self.throttled is None else [word for bit, word in _BITS if self.throttled >> bit & 1]

    def before(self) -> list[str]:
        """What has slowed it down since it was switched on and does no longer, in words."""
        if self.throttled is None:
            return []
        past = self.throttled >> _SINCE_BOOT
        return [word.partition(":")[0] for bit, word in _BITS if past >> bit & 1 and not self.throttled >> bit & 1]

    def told(self) -> str:
        """In words: ``51 °C, not throttled``; empty where nothing is known."""
        parts = [] if self.celsius is None else [f"{self.celsius:.0f} °C"]
        if self.throttled is not None:
            parts += self.now() or ["not throttled"]
            parts += [f"{word} before" for word in self.before()]
        return ", ".join(parts)


def _temperature() -> float | None:
    try:
        value = float(Path(_THERMAL).read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None
    return value if -60 < value < 200 else None


def _throttled() -> int | None:
    for path in (path for pattern in _THROTTLED for path in glob.glob(pattern)):  # links lead in circles there
        try:
            return int(Path(path).read_text(encoding="ascii").strip(), 16)
        except (OSError, ValueError):
            continue
    tool = shutil.which("vcgencmd")
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, timeout=_TOOL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})\s*", done.stdout)
    return int(found[1], 16) if found else None
