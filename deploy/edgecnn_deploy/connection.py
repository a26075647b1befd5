"""One device: the system's ssh carries a parcel there, and brings back what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from edgecnn.errors import MissingProgramError, UsageError, printable
from edgecnn_deploy.heard import Heard
from edgecnn_deploy.hosts import Host, hidden
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
_NOT_UNPACKED = 3  # where install.sh, which may end with it too, tells no state
_LOOK_S = 0.1
GRACE_S = 40.0  # for a device to go back to what it had

_UNREACHED = (
    (
        "bad configuration option",
        "ssh must know all of its configuration here; it does not: type `{ssh} true`, and correct the file it names",
    ),
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
    "sudo": "sudo must work there without a password; it asks for one, as on Raspberry Pi OS of 2026, or is missing: "
    "if whoever has your key may do anything there, type `{terminal} sudo visudo -f /etc/sudoers.d/edgecnn`, and there "
    "the line {user} ALL=(ALL) NOPASSWD: ALL; if not, start install.sh there by yourself, or name root@…",
    "broken": "all that is sent must arrive; it was cut short or damaged, nothing was changed: try again",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one device.

    Attributes:
        host: The device.
        values: What install.sh printed: ``state``, ``label`` and so on.
        error: Why it failed; empty where it did not.
        story: The last lines of what was told there.
    """

    host: Host
    values: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    story: Sequence[str] = ()

    @property
    def state(self) -> str:
        """What it has come to: ``installed``, ``unchanged``, ``uninstalled``, ``rolled-back`` or ``failed``."""
        told = self.values.get("state", "failed")
        return told if not self.error or told == "rolled-back" else "failed"


@dataclass(frozen=True, slots=True)
class Stop:
    """What ends deliveries from another thread.

    Attributes:
        asked: Set, devices that are at work go back to what they had, and are waited for.
        at_once: Set besides, none is waited for.
    """

    asked: threading.Event = field(default_factory=threading.Event)
    at_once: threading.Event = field(default_factory=threading.Event)


def check_ssh(options: Sequence[str]) -> None:
    """Try whether ssh starts, and knows the options; no device is asked for that.

    Raises:
        MissingProgramError: It does not start.
        UsageError: It does not take an option.
    """
    try:
        subprocess.run(["ssh", "-V"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        rule = f"deploy needs ssh, which cannot be started: {error.strerror}"
        raise MissingProgramError(f"{rule}: sudo apt install openssh-client") from error
    for option in options:
        command = ["ssh", "-G", "-F", "none", "-o", option, "--", "localhost"]  # it prints what would hold, and ends
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if tried.returncode != 0:
            said = tried.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
            why = printable(hidden(said[0].rpartition("line 0: ")[2].rstrip(".")))
            rule = f"--ssh-option must be as after ssh's -o; received {hidden(option)!r}, of which ssh says: {why}"
            raise UsageError(f"{rule}: correct it")


def deliver(
    host: Host,
    parcel: Parcel,
    options: Sequence[str],
    stop: Stop,
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
    """
    named = (*options, *_OPTIONS)  # the first of a name holds
    words = [word for option in named for word in ("-o", option)]
    command = ["ssh", *words, *host.words(), parcel.command]
    pipe = subprocess.PIPE
    environment = os.environ | {"LC_ALL": "C"}  # its errors are understood in English
    try:  # in a session of its own: Ctrl-C is for us, as we let the device go back first
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
        )
    except OSError as error:
        return Outcome(host, {}, f"ssh must start; it did not: {error.strerror}: try again, with fewer --jobs")
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        heard = Heard(process.stdout, process.stderr, tell)
        why = _attend(process, parcel, heard, stop, most_s=most_s)
    story, values, code = heard.story(), heard.values, process.returncode
    if code == 0 and values.get("state") in parcel.well:
        return Outcome(host, values, "", story)  # also where it was done just before it was stopped
    why = f"{why}{_left(code, values)}" if why else explain(host, code, story, values)
    return Outcome(host, values, why, story)


def _attend(process: subprocess.Popen[bytes], parcel: Parcel, heard: Heard, stop: Stop, *, most_s: float) -> str:
    """Feed ssh, hear what it tells, and end it where it is to stop: why it was stopped."""
    over, end, why = threading.Event(), time.monotonic() + most_s, ""
    feeder = threading.Thread(target=_feed, args=(process, parcel.archive, over), daemon=True)
    feeder.start()
    while True:
        ended = process.poll() is not None
        heard.listen(ended=ended)
        if ended:
            break
        if not why and (stop.asked.is_set() or time.monotonic() > end):
            why = "it was stopped" if stop.asked.is_set() else f"it must be done within {most_s:.0f} s; it was not"
            over.set()
            end = time.monotonic() + GRACE_S
        elif why and (stop.at_once.is_set() or time.monotonic() > end):
            process.kill()
        time.sleep(_LOOK_S)
    over.set()
    feeder.join(1.0)
    return why


def _feed(process: subprocess.Popen[bytes], archive: IO[bytes], over: threading.Event) -> None:
    """Write the archive, and keep the way open until it is over, since its end tells the device to go back."""
    assert process.stdin is not None
    position = 0  # others read the same file
    with contextlib.suppress(OSError, ValueError), process.stdin:
        while not over.is_set() and (chunk := os.pread(archive.fileno(), 1 << 16, position)):
            process.stdin.write(chunk)
            position += len(chunk)
        process.stdin.flush()
        over.wait()


def _left(code: int, values: Mapping[str, str]) -> str:
    """What one that was stopped has now, as far as it is known."""
    if values.get("state") == "rolled-back":
        return ""  # which is told of every device that has gone back
    unpacked = "reached" in values and (code != _NOT_UNPACKED or "state" in values)
    if values.get("state") == "failed" or not unpacked:
        return "; nothing was changed there"
    return "; whether it went back is not known: deploy to it again"


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
    if code == 0:
        said = values.get("state") or (story[-1] if story else "nothing")
        return (
            f"install.sh must tell there what it did; it said {said}: type `{words['ssh']} uname`: a shell must answer "
            "that, and no menu, router or forced command"
        )
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
