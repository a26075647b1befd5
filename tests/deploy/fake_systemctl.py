"""Stands in for systemctl and systemd: really starts what the unit says, listens to it, and starts it anew.

``$EDGECNN_TEST_ROOT`` stands for ``/``, as it does for install.sh.
"""

import contextlib
import fnmatch
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(os.environ["EDGECNN_TEST_ROOT"])
STATES = ROOT / "run" / "fake-systemd"
UNITS = ROOT / "etc/systemd/system"
VERSION = os.environ.get("FAKE_SYSTEMD", "257")
OFF = {"ActiveState": "inactive", "SubState": "dead", "MainPID": "0", "StatusText": "", "ExecMainStatus": "0"}


def full(unit: str) -> str:
    return unit if unit.endswith(".service") else f"{unit}.service"


def state(unit: str) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        return OFF | json.loads((STATES / full(unit)).read_text())
    return dict(OFF)


def note(unit: str, **changes: object) -> None:
    STATES.mkdir(parents=True, exist_ok=True)
    partial = STATES / f".{full(unit)}"
    partial.write_text(json.dumps(state(unit) | {name: str(value) for name, value in changes.items()}))
    partial.replace(STATES / full(unit))


def log(*words: str) -> None:
    """What was asked for, for tests that ask whether a service was left alone."""
    with (ROOT / "systemctl.log").open("a") as file:
        file.write(" ".join(words) + "\n")


def lines_of(unit: str) -> dict[str, str]:
    text = (UNITS / f"{unit.partition('@')[0]}@.service").read_text()
    instance = full(unit).partition("@")[2].removesuffix(".service")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.replace("%i", instance) for name, _, value in pairs}


def mapped(word: str) -> str:
    """A path of the device as it is here; what a configuration names is mapped as well, in a copy of it."""
    if word.startswith("/etc/"):
        copy = STATES / Path(word).name
        copy.write_text(Path(f"{ROOT}{word}").read_text().replace("/opt/edgecnn/", f"{ROOT}/opt/edgecnn/"))
        return str(copy)
    return f"{ROOT}{word}" if word.startswith("/opt/") else word


def supervise(unit: str) -> None:
    told = lines_of(unit)
    command = [mapped(word) for word in shlex.split(told["ExecStart"])]
    folder = ROOT / told["WorkingDirectory"].lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    name = f"edgecnn-{uuid.uuid4().hex}"
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(f"\0{name}")
    ear.settimeout(0.1)
    environment = {"NOTIFY_SOCKET": f"@{name}", "PATH": os.environ["PATH"], "HOME": str(folder)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    note(unit, supervisor=os.getpid())
    while True:
        journal = (STATES / f"{unit}.log").open("ab")
        service = subprocess.Popen(command, env=environment, cwd=folder, stdout=journal, stderr=journal)
        note(unit, MainPID=service.pid, ActiveState="activating", SubState="start", StatusText="")
        try:
            while service.poll() is None:
                with contextlib.suppress(TimeoutError):
                    hear(unit, ear.recv(4096).decode())
        finally:
            service.terminate()
            code = service.wait()
            note(unit, MainPID=0, ActiveState="activating", SubState="auto-restart", ExecMainStatus=code)
        time.sleep(0.5)


def hear(unit: str, message: str) -> None:
    for line in message.splitlines():
        if line == "READY=1":
            note(unit, ActiveState="active", SubState="running")
        elif line.startswith("STATUS="):
            note(unit, StatusText=line.removeprefix("STATUS="))


def start(unit: str) -> None:
    if state(unit)["ActiveState"] in ("active", "activating"):
        return
    note(unit, **OFF | {"ActiveState": "activating", "SubState": "start"})
    null = subprocess.DEVNULL
    command = [sys.executable, __file__, "supervise", unit]
    subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)


def stop(unit: str) -> None:
    end = time.monotonic() + 5
    while state(unit)["ActiveState"] != "inactive" and time.monotonic() < end:
        if pid := int(state(unit).get("supervisor", 0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]:
                time.sleep(0.02)
            note(unit, **OFF, supervisor=0)
        time.sleep(0.02)


def wants(unit: str) -> Path:
    return UNITS / "multi-user.target.wants" / full(unit)


def main() -> int:
    words = sys.argv[1:]
    if words == ["--version"]:
        print(f"systemd {VERSION} ({VERSION}.8-1)\n+PAM")  # noqa: T201
        return 0
    if words[0] == "supervise":
        supervise(words[1])
    verb, *rest = [word for word in words if not word.startswith("--")]
    log(*words)
    match verb:
        case "show":
            units = rest[rest.index("-p") + 2 :]
            print({"Version": VERSION, **state(units[0] if units else "")}.get(rest[1], "[not set]"))  # noqa: T201
        case "start":
            start(rest[0])
        case "stop":
            stop(rest[0])
        case "enable":
            wants(rest[0]).parent.mkdir(parents=True, exist_ok=True)
            wants(rest[0]).symlink_to(UNITS / "edgecnn@.service")
        case "disable":
            wants(rest[0]).unlink(missing_ok=True)
            if "--now" in words:
                stop(rest[0])
        case "is-enabled":
            return 0 if wants(rest[0]).is_symlink() else 1
        case "is-active":
            return 0 if state(rest[0])["ActiveState"] == "active" else 3
        case "list-units":
            for path in sorted(STATES.glob("*.service")) if STATES.exists() else []:
                active = state(path.name)["ActiveState"]
                if fnmatch.fnmatch(path.name, rest[0]) and (active != "inactive" or "--all" in words):
                    print(f"{path.name} loaded {active} {state(path.name)['SubState']} a camera")  # noqa: T201
        case "daemon-reload":
            pass
        case _:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
