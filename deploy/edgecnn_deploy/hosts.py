"""Devices as a user names them: what ssh takes, and a port behind a colon."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.errors import UsageError, redacted

_HOST = re.compile(
    r"(?:ssh://)?(?P<user>[A-Za-z0-9_][\w.+-]*@)?"
    r"(?:(?P<name>[A-Za-z0-9_][\w.-]*)|\[(?P<bracketed>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\])(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII,
)
_BARE_IPV6 = re.compile(r"(?:[A-Za-z0-9_][\w.+-]*@)?(?:[0-9A-Fa-f]*:){2,}[0-9A-Fa-f:.]*(?:%[\w.-]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Host:
    """One device.

    Attributes:
        typed: As the user named it.
        destination: What ssh is given.
        port: Where it is not to be ssh's own choice.
    """

    typed: str
    destination: str
    port: int | None = None

    @classmethod
    def parse(cls, typed: str) -> Host:
        """Read ``raspberrypi``, ``pi@raspberrypi:2222``, ``ssh://pi@[fe80::1%eth0]:22`` or a name of ~/.ssh/config.

        Raises:
            UsageError: It is none of these.
        """
        if _BARE_IPV6.fullmatch(typed):
            return cls(typed, typed)
        found = _HOST.fullmatch(typed)
        if found is None or not 0 < int(found["port"] or 22) < 65536:
            raise UsageError(
                f"a host must be as ssh takes it, [USER@]NAME[:PORT]; received {hidden(typed)!r}: pi@raspberrypi"
            )
        name = f"{found['user'] or ''}{found['name'] or found['bracketed']}"
        return cls(typed, name, int(found["port"]) if found["port"] else None)

    def device(self) -> tuple[str, int]:
        """What is the same for the same device, however it is typed."""
        user, at, name = self.destination.rpartition("@")
        return f"{user}{at}{name.lower()}", self.port or 22

    def words(self) -> list[str]:
        """What stands on ssh's command line, before what is to be run there."""
        return [*(["-p", str(self.port)] if self.port else []), "--", self.destination]

    def command(self, what: str) -> str:
        """What to type to run something there."""
        port = f"-p {self.port} " if self.port else ""
        return f"ssh {port}{shlex.quote(self.destination)} {what}"


def hidden(typed: str) -> str:
    """What was typed in the place of a host, without a password before its @."""
    return redacted(re.sub(r"(?s):.*@", ":***@", typed))


def parse_hosts(typed: Sequence[str]) -> list[Host]:
    """Read several.

    Raises:
        UsageError: One has no meaning, or is named twice.
    """
    hosts = [Host.parse(one) for one in typed]
    for host in hosts:
        if sum(one.device() == host.device() for one in hosts) > 1:
            raise UsageError(f"each host must be named once; {host.typed!r} is named again: leave one out")
    return hosts
