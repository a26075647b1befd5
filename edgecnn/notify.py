"""What a service tells systemd, in datagrams to the socket that systemd names: sd_notify(3), without a library."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

_LONGEST_STATUS = 500  # characters; `systemctl status` shows one line


@dataclass(frozen=True, slots=True)
class Systemd:
    """Whoever supervises this process; where nobody does, nothing is sent.

    Attributes:
        address: Of the socket, empty where there is none.
        watchdog_s: Within how many seconds a sign of life is wanted; None where none is.
    """

    address: str = ""
    watchdog_s: float | None = None

    @classmethod
    def take(cls, environment: MutableMapping[str, str] | None = None) -> Systemd:
        """Read, and take out, what systemd has put into the environment: programs that we start are not to answer.

        Args:
            environment: In place of `os.environ`.
        """
        there = os.environ if environment is None else environment
        address = there.pop("NOTIFY_SOCKET", "")
        text, process = there.pop("WATCHDOG_USEC", ""), there.pop("WATCHDOG_PID", "")
        ours = process in ("", str(os.getpid()))
        within_s = int(text) / 1e6 if ours and re.fullmatch("[0-9]{1,15}", text) else 0.0
        return cls(address if address[:1] in ("/", "@") else "", within_s or None)

    def ready(self) -> None:
        """The service has started."""
        self._send("READY=1")

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows.

        Args:
            text: One line, without control characters.
        """
        self._send(f"STATUS={text[:_LONGEST_STATUS]}")

    def stopping(self) -> None:
        """The service ends, as it was told to."""
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if not self.address:
            return
        abstract = self.address.replace("@", "\0", 1) if self.address[0] == "@" else self.address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1.0)  # a supervisor that does not read must not stop the labels
            sender.sendto(line.encode("utf-8", "replace"), abstract)
