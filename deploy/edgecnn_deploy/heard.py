"""What a device says while it is at work. It may say anything, and without an end: so much is kept and no more."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from typing import IO

from edgecnn.errors import printable, redacted

_LINE = re.compile(r"([a-z_]+)=(.*)")
_NUMBER = r"-?[0-9]{1,15}(\.[0-9]{1,15})?"
_KNOWN = {
    "reached": "yes",
    "refused": "sudo|broken",
    "user": r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    "state": "installed|unchanged|uninstalled|rolled-back|failed",
    "version": r"[A-Za-z0-9.+_]+",
    "label": ".+",
    "score": _NUMBER,
    "latency_ms": _NUMBER,
    "memory_mb": _NUMBER,
    "temperature_c": _NUMBER,
}
_LONGEST = 1000  # bytes of a line; what follows is cut off
KEPT = 50  # lines of the story: the last ones tell why it failed
_TOLD = 200  # lines as they come; install.sh has some twenty
_CHUNK = 1 << 16
_CHUNKS = 16  # at a time, which is more than a pipe holds


class Heard:
    """The values and the story of one device.

    Args:
        out: ssh's standard output: lines ``key=value`` of install.sh, and what a login shell adds.
        err: Its standard error, the story.
        tell: Is told each line of the story as it comes, up to a limit.

    Attributes:
        values: What install.sh printed; keys and values that it never prints are left out.
    """

    def __init__(self, out: IO[bytes], err: IO[bytes], tell: Callable[[str], None]) -> None:
        self.values: dict[str, str] = {}
        self._out, self._tell, self._told = out, tell, 0
        self._story: deque[str] = deque(maxlen=KEPT)
        self._rests = {out: b"", err: b""}
        for pipe in self._rests:
            os.set_blocking(pipe.fileno(), False)

    def listen(self, *, ended: bool) -> None:
        """Take in what has come.

        Args:
            ended: Nothing follows: what is there is the whole of it, also without a line end.
        """
        for pipe in self._rests:
            for line in self._lines(pipe, ended=ended):
                found = _LINE.fullmatch(line) if pipe is self._out else None
                if found is None:
                    self._add(line)
                elif re.fullmatch(_KNOWN.get(found[1], "(?!)"), found[2]):
                    self.values[found[1]] = printable(found[2])

    def story(self) -> list[str]:
        """The last lines of what was told there."""
        return [_shown(line) for line in self._story]

    def _lines(self, pipe: IO[bytes], *, ended: bool) -> list[str]:
        lines: list[bytes] = []
        for _ in range(_CHUNKS):
            try:
                chunk = os.read(pipe.fileno(), _CHUNK)
            except BlockingIOError:  # nothing now; one that ssh left behind may hold it open for ever
                break
            if not chunk:
                break
            *whole, rest = (self._rests[pipe] + chunk).split(b"\n")
            lines += whole
            self._rests[pipe] = rest[:_LONGEST]
        if ended:
            lines.append(self._rests[pipe])
            self._rests[pipe] = b""
        decoded = (line[:_LONGEST].decode("utf-8", "replace").strip("\r") for line in lines)
        return [line for line in decoded if line.strip()]

    def _add(self, line: str) -> None:
        self._story.append(line)
        self._told += 1
        if self._told <= _TOLD:
            self._tell(_shown(line))
        elif self._told == _TOLD + 1:
            self._tell(f"note: it tells more than {_TOLD} lines; of the rest only an error at its end is shown")


def _shown(line: str) -> str:
    return printable(redacted(line))
