"""A socket in the place of systemd's, and what a service sends to it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class Supervisor:
    """Listens as systemd does.

    Args:
        path: Of the socket; a short one, since such names may have about a hundred letters.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def listen(self, until: Callable[[list[str]], bool], within_s: float = 60.0) -> None:
        """Listen until what was heard is enough.

        Raises:
            AssertionError: It was not, in that time.
        """
        end = time.monotonic() + within_s
        while not until(self.heard):
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                self.heard.append(self._socket.recv(4096).decode())
            assert time.monotonic() < end, f"heard only {self.heard}"

    def listen_for(self, seconds: float) -> list[str]:
        """What is heard in this time."""
        before, end = len(self.heard), time.monotonic() + seconds
        with contextlib.suppress(AssertionError):
            self.listen(lambda _: time.monotonic() >= end, seconds)
        return self.heard[before:]

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def service(supervisor: Supervisor, *arguments: object, watchdog_s: float = 3.0) -> Iterator[subprocess.Popen[str]]:
    """``edgecnn ARGUMENTS`` as systemd starts it."""
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(supervisor.path),
        "WATCHDOG_USEC": str(round(watchdog_s * 1e6)),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "edgecnn", *map(str, arguments)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
