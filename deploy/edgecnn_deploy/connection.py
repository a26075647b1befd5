"""One device: the system's ssh carries a parcel there, and brings back what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from edgecnn.errors import MissingProgramError, printable, redacted
from edgecnn_deploy.hosts import Host
from edgecnn_deploy.parcel import Parcel

_OPTIONS = (
    "BatchMode=yes",  # it asks nothing, as nobody could answer for fifty
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ControlMaster=no",  # one that goes on in the background would hold our pipes open
    "RequestTTY=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
)
_SSH_FAILED = 255
_LOOK_S = 0.1
_GRACE_S = 40.0  # for a device to go back to what it had
_LINE = re.compile(r"([a-z_]+)=(.*)")

_UNREACHED = (
    ("could not resolve hostname", "its name must be known; here it is not: check it, or name its address"),
    (
        "connection refused",
        "ssh must be running there; it refuses: on a Raspberry Pi, sudo raspi-config, Interface Options, SSH",
    ),
    ("(timed out|no route to host|unreachable)", "it must answer; it does not: is it on, and in this network?"),
    (
        "host identification has changed",
        "its key must be the one known; it has another: if its card was written anew, ssh-keygen -R {name}; if not, "
        "someone may be in its place",
    ),
    ("host key verification failed", "its key must be known; it is not yet: type `{ssh}` once, and answer yes"),
    ("permission denied", "it must accept your key; it does not: type `ssh-copy-id {copy}`, and check the user's name"),
)
_FULL = "there must be room on its disk; it is full: `{ssh} sudo apt clean`, or a larger card"
_REFUSED = {
    "sudo": "sudo must work there without a password; it asks for one, as new Raspberry Pis do, or is missing. If "
    "whoever has your key may do anything there: `{terminal} sudo visudo -f /etc/sudoers.d/edgecnn`, and there the "
    "line {user} ALL=(ALL) NOPASSWD: ALL; if not, start install.sh there by yourself, or name root@…",
    "broken": "all that is sent must arrive; it was cut short or damaged, nothing was changed: try again",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one device.

    Attributes:
        host: The device.
        values: What install.sh printed: ``state``, ``label`` and so on.
        error: Why it failed; empty where it did not.
        story: What was told there, in lines.
    """

    host: Host
    values: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    story: Sequence[str] = ()


def deliver(
    host: Host,
    parcel: Parcel,
    options: Sequence[str],
    stop: threading.Event,
    *,
    most_s: float,
    tell: Callable[[str], None],
) -> Outcome:
    """Send a parcel to a device, and wait for what comes of it.

    Args:
        host: The device.
        parcel: What is sent.
        options: More options for ssh, as after its ``-o``.
        stop: Set by another thread, the device goes back to what it had.
        most_s: Seconds after which that happens as well.
        tell: Is told each line of the story as it comes.

    Raises:
        MissingProgramError: There is no ssh here.
    """
    named = (*options, *_OPTIONS)  # the first of a name holds
    words = [word for option in named for word in ("-o", option)]
    command = ["ssh", *words, *host.words(), parcel.command]
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=os.environ | {"LC_ALL": "C"},  # its errors are understood in English
                start_new_session=True,  # Ctrl-C is for us: we let the device go back first
            )
        except FileNotFoundError as error:
            raise MissingProgramError(
                "deploy needs ssh, which is not found: sudo apt install openssh-client"
            ) from error
        story, why = _attend(process, parcel.path, err, stop, most_s=most_s, tell=tell)
        out.seek(0)
        lines = out.read().decode("utf-8", "replace").splitlines()
    values = {found[1]: printable(found[2]) for found in map(_LINE.fullmatch, lines) if found}
    if not why and process.returncode != 0:
        why = explain(host, process.returncode, story, values)
    return Outcome(host, values, why, story)


def _attend(
    process: subprocess.Popen[bytes],
    path: Path,
    err: IO[bytes],
    stop: threading.Event,
    *,
    most_s: float,
    tell: Callable[[str], None],
) -> tuple[list[str], str]:
    """Feed ssh, pass on what it tells, and end it where it is to stop: the story, and why it was stopped."""
    over, end, why = threading.Event(), time.monotonic() + most_s, ""
    feeder = threading.Thread(target=_feed, args=(process, path, over), daemon=True)
    feeder.start()
    story: list[str] = []
    rest, read_to = b"", 0
    while True:
        ended = process.poll() is not None
        rest += os.pread(err.fileno(), 1 << 20, read_to)
        read_to = os.fstat(err.fileno()).st_size
        *lines, rest = (rest + b"\n" if ended and rest else rest).split(b"\n")
        for line in (printable(redacted(line.decode("utf-8", "replace").strip("\r"))) for line in lines):
            story.append(line)
            tell(line)
        if ended:
            break
        if not why and (stop.is_set() or time.monotonic() > end):
            why = "it was stopped" if stop.is_set() else f"it must be done within {most_s:.0f} s; it was not"
            over.set()
            end = time.monotonic() + _GRACE_S
        elif why and time.monotonic() > end:
            process.kill()
        time.sleep(_LOOK_S)
    over.set()
    feeder.join(1.0)
    return story, why


def _feed(process: subprocess.Popen[bytes], path: Path, over: threading.Event) -> None:
    """Write the archive, and keep the way open until it is over, since its end tells the device to go back."""
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin, path.open("rb") as file:
        while (chunk := file.read(1 << 16)) and not over.is_set():
            process.stdin.write(chunk)
        process.stdin.flush()
        over.wait()


def explain(host: Host, code: int, story: Sequence[str], values: Mapping[str, str]) -> str:
    """Why it failed, in plain words: the rule, what was there, and what to do."""
    name = host.destination.rpartition("@")[2]
    words = {
        "name": f"'[{name}]:{host.port}'" if host.port else name,
        "ssh": host.command("true").removesuffix(" true"),
        "copy": host.command("").removeprefix("ssh ").strip(),
        "terminal": host.command("").strip().replace("ssh ", "ssh -t ", 1),
        "user": values.get("user", "USER"),
    }
    if values.get("refused") in _REFUSED:
        return _REFUSED[values["refused"]].format(**words)
    told = [line.removeprefix("error: ") for line in story if line.startswith("error: ")]
    if told and code != _SSH_FAILED:
        return told[-1]
    text = "\n".join(story).lower()
    if "no space left on device" in text:
        return _FULL.format(**words)
    for pattern, why in () if "reached" in values else _UNREACHED:
        if re.search(pattern, text):
            return why.format(**words)
    if code == _SSH_FAILED:
        last = f" ({story[-1]})" if story else ""
        return f"the connection must last; it was lost{last}: the device goes back to what it had; try again"
    return f"it must be installed there; that ended with code {code}: {story[-1] if story else 'it said nothing'}"
