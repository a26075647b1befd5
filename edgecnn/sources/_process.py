"""A program whose standard output is read: started in a group of its own, ended with all it has started."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from typing import cast

from edgecnn.errors import SourceError, printable, redacted

_LINES = 40  # of what it complains of are kept
_POLITE_S = 2.0  # between asking it to end and ending it


_running: set[int] = set()


def kill_all() -> None:
    """End all programs at once, as this one is about to."""
    for group in tuple(_running):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


class Program:
    """A program that runs until `stop`; any thread may stop it.

    Args:
        command: The program and its arguments; no shell is involved.
        pass_fds: File descriptors that it gets besides the usual ones.

    Raises:
        SourceError: It cannot be started.
    """

    def __init__(self, command: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise SourceError(f"{command[0]!r} cannot be started ({why}); check that it is installed") from error
        _running.add(self._process.pid)
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._listener = threading.Thread(target=self._listen, name=f"listens to {command[0]}", daemon=True)
        self._listener.start()
        self._stopping = threading.Lock()
        self.stopped = False

    @property
    def output(self) -> io.FileIO:
        """Its standard output, unbuffered."""
        return cast(io.FileIO, self._process.stdout)

    def said(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._lines)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until it ends: its exit code, or None where it has not ended by then."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._listener.join(1.0)  # a child of its own may still hold the pipe
        return code

    def stop(self) -> None:
        """End it: SIGTERM to its group, and SIGKILL two seconds later where that did not do."""
        with self._stopping:
            self.stopped = True
            for number, patience_s in ((signal.SIGTERM, _POLITE_S), (signal.SIGKILL, _POLITE_S)):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, number)
                if self.wait(patience_s) is not None:
                    break
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what it has started and left behind
            _running.discard(self._process.pid)

    def close(self) -> None:
        """End it and give back its pipes; idempotent. For the thread that reads them."""
        self.stop()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _listen(self) -> None:
        """Keep what it says, so that it never waits for a reader."""
        assert self._process.stderr is not None
        rest = b""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            while chunk := self._process.stderr.read(4096):
                *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
                self._lines.extend(_readable(line) for line in lines if line.strip())
                rest = rest[-4096:]
        if rest.strip():
            self._lines.append(_readable(rest))


def _readable(line: bytes) -> str:
    return printable(redacted(line.decode("utf-8", "replace").strip()))[:300]
