"""What comes of devices that lie, flood, or are stopped: `edgecnn deploy` with an ssh that is a script."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from command import Edgecnn
from edgecnn_deploy.heard import Heard

Ssh: TypeAlias = Callable[[str], Path]
# A device named well… has it at once; others take what is sent, and go on with what is set up until their input ends.
FLEET = """
host=${*: -2:1}
case $host in well*) echo state=installed; exit ;; esac
touch "$HERE/$host.begun"
cat >/dev/null
case $host in
back*) echo "state=rolled-back"; exit 143 ;;
just*) echo "state=installed" ;;
cut*) echo reached=yes; exit 255 ;;
slow*) echo reached=yes; echo refused=broken; exit 3 ;;
half*) echo reached=yes; exit 3 ;;
esac
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """Puts an ssh on PATH that is this script."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HERE", str(tmp_path))
    (tmp_path / "bin").mkdir()

    def put(text: str) -> Path:
        program = tmp_path / "bin/ssh"
        program.write_text(f'#!/bin/bash\n[ "$1" = -V ] && exit\n{text}\n')
        program.chmod(0o755)
        return program

    return put


@pytest.fixture
def sent(tmp_path: Path, models: dict[str, Path]) -> list[object]:
    """A model and a wheel: no device here looks into it."""
    (tmp_path / "edgecnn-1-py3-none-any.whl").touch()
    return [models["good"], "--wheel", tmp_path / "edgecnn-1-py3-none-any.whl"]


def begun(*words: object, jobs: int = 1, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgecnn", "deploy", "--jobs", str(jobs), *map(str, words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes, **options)  # type: ignore[call-overload,no-any-return]


def await_file(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", "nothing"),
        ("echo Welcome; echo reached=yes", "Welcome"),
        ("echo state=failed", "failed"),
        ("echo state=hacked", "nothing"),
        ("echo state=rolled-back", "rolled-back"),
    ],
)
@pytest.mark.parametrize("removal", [False, True])
def test_a_device_that_does_not_say_that_it_is_done_has_failed(
    edgecnn: Edgecnn, ssh: Ssh, sent: list[object], script: str, said: str, removal: bool
) -> None:
    ssh(script)
    done = edgecnn("deploy", *(["--uninstall"] if removal else sent), "pi@door:2222")
    assert (done.code, json.loads(done.out)["state"]) == (1, "rolled-back" if said == "rolled-back" else "failed")
    assert f"install.sh must tell there what it did; it said {said}: type `ssh -p 2222 pi@door uname`" in done.err
    assert "next:" not in done.err


def test_what_is_well_after_an_installation_is_not_after_a_removal(
    edgecnn: Edgecnn, ssh: Ssh, sent: list[object]
) -> None:
    for state, codes in {"installed": (0, 1), "uninstalled": (1, 0), "unchanged": (0, 0)}.items():
        ssh(f"echo state={state}")
        assert (edgecnn("deploy", *sent, "door").code, edgecnn("deploy", "door", "--uninstall").code) == codes


def test_values_that_install_sh_never_prints_are_left_out(edgecnn: Edgecnn, ssh: Ssh, sent: list[object]) -> None:
    lies = "score=nan latency_ms=inf memory_mb=1_0 temperature_c=0x1 host=other type=x error=x name=x version=a/b"
    ssh(f"printf '%s\\n' {lies} label=red state=installed")
    done = edgecnn("deploy", *sent, "door")
    record = {"type": "deploy", "host": "door", "name": "camera", "state": "installed", "label": "red"}
    assert json.loads(done.out) == record, done.err
    ssh("printf '%s\\n' score=0.5 memory_mb=78 temperature_c=-4 latency_ms=3.25 state=installed")
    told = json.loads(edgecnn("deploy", *sent, "door").out)
    assert [told[key] for key in ("score", "memory_mb", "temperature_c", "latency_ms")] == [0.5, 78, -4, 3.25]


def test_the_last_word_is_heard_after_two_hundred_thousand_lines(
    edgecnn: Edgecnn, ssh: Ssh, sent: list[object]
) -> None:
    ssh("seq -f 'line %g' 200000 >&2; printf 'error: final word' >&2; exit 3")
    done = edgecnn("deploy", *sent, "door")
    assert (done.code, json.loads(done.out)["error"]) == (1, "final word")
    assert "door: line 200\n" in done.err
    assert "it tells more than 200 lines" in done.err
    assert done.err.endswith("door: error: final word\n")
    assert len(done.err.splitlines()) < 220


def test_of_a_flood_only_the_last_lines_are_kept_and_no_line_without_an_end() -> None:
    pipes = [os.pipe() for _ in range(2)]
    lines = b"".join(b"%d\n" % n for n in range(100_000))

    def flood() -> None:
        for (_, end), data in zip(pipes, (b"x" * 10_000_000 + b"\nstate=installed", lines), strict=True):
            with open(end, "wb") as file:
                file.write(data)

    writer = threading.Thread(target=flood)
    writer.start()
    with open(pipes[0][0], "rb") as out, open(pipes[1][0], "rb") as err:
        heard = Heard(out, err, lambda _: None)
        while writer.is_alive():
            heard.listen(ended=False)
        heard.listen(ended=True)
    assert heard.values == {"state": "installed"}
    assert heard.story() == [str(n) for n in range(99_950, 100_000)]


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_after_ctrl_c_it_is_told_of_each_device_what_it_has(tmp_path: Path, ssh: Ssh, sent: list[object]) -> None:
    ssh(FLEET)
    hosts = ["well", "back", "just", "cut", "slow", "half", "later", "last"]
    with begun(*sent, *hosts, jobs=5) as process:
        for host in hosts[1:6]:
            await_file(tmp_path / f"{host}.begun")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    told = {line["host"]: line for line in map(json.loads, out.splitlines())}
    assert (process.returncode, sorted(told)) == (130, sorted(hosts)), err
    states = {host: line["state"] for host, line in told.items()}
    assert states == {"well": "installed", "just": "installed", "back": "rolled-back"} | dict.fromkeys(
        ("cut", "slow", "half", "later", "last"), "failed"
    )
    assert "error" not in told["just"]
    assert told["cut"]["error"] == "it was stopped; whether it went back is not known: deploy to it again"
    assert "back: error: it was stopped; the previous state is back" in err
    for host in ("later", "last"):
        assert f"{host}: error: all was stopped before it was begun; nothing was changed there" in err
        assert not (tmp_path / f"{host}.begun").exists()
    for host in ("slow", "half"):
        assert told[host]["error"] == "it was stopped; nothing was changed there"
    assert "\n6 of 8 devices failed: " in err
    assert err.splitlines()[-1] == "stopped"


def test_where_nobody_reads_on_it_is_still_told_what_was_installed(
    tmp_path: Path, ssh: Ssh, sent: list[object]
) -> None:
    ssh(f'[[ "$*" != *second* ]] || sleep 1\n{FLEET}')
    with begun(*sent, "well", "well-second", "just", "later", jobs=2) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["host"] == "well"
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141, err
    assert "well-second: installed" in err
    assert "just: installed" in err
    assert "later: error: all was stopped before it was begun" in err


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_a_second_ctrl_c_waits_for_no_device_and_nothing_is_left_behind(
    tmp_path: Path, ssh: Ssh, sent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh(f"{FLEET}\nexec sleep 60")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with begun(*sent, "door", "later", "--source", "rtsp://u:Geheim@x/y") as process:
        await_file(tmp_path / "door.begun")
        left = os.listdir(tmp_path / "tmp")  # a password in a file, while it works
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "stopping" not in (told := process.stderr.readline()):
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)  # before the 40 s that are told
    assert told.endswith("; waiting up to 40 s for door; Ctrl-C again ends at once\n")
    assert (process.returncode, left + os.listdir(tmp_path / "tmp")) == (130, [])
    records = {line["host"]: line["error"] for line in map(json.loads, out.splitlines())}
    assert records.keys() == {"door", "later"}
    assert records["door"] == "it was stopped; nothing was changed there"
    assert err.splitlines()[-1] == "stopped"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("Foo=bar", "received 'Foo=bar', of which ssh says: Bad configuration option: foo: correct it"),
        ("Port=none", "received 'Port=none', of which ssh says: Bad port 'none': correct it"),
        ("ProxyJump=u:geheim@", "--ssh-option must be as after ssh's -o; received 'ProxyJump=u:***@'"),
    ],
)
def test_an_option_that_ssh_does_not_take_is_told_once_and_no_device_is_tried(
    edgecnn: Edgecnn, ssh: Ssh, tmp_path: Path, sent: list[object], option: str, says: str
) -> None:
    real = shutil.which("ssh", path="/usr/bin")
    if real is None:
        pytest.skip("needs openssh-client")
    ssh(f'[ "$1" = -G ] && exec {real} "$@"\n{FLEET}')
    done = edgecnn("deploy", *sent, "door", "shed", "--ssh-option", "ConnectTimeout=5", "--ssh-option", option)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "geheim" not in done.err
    assert not (tmp_path / "door.begun").exists()
    assert edgecnn("deploy", *sent, "well", "--ssh-option", "IdentityFile=x").code == 0


def test_a_temporary_folder_that_takes_no_more_is_named(
    tmp_path: Path, ssh: Ssh, sent: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh("echo state=installed")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "edgecnn-1-py3-none-any.whl").write_bytes(bytes(1_000_000))
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))}
    with begun(*sent, "door", **limit) as process:  # a full disk, but for the number of the error
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    rule = f"temporary files must be written to deploy; File too large in {tmp_path / 'tmp'}"
    assert f"error: {rule}: free some space, or set TMPDIR to a folder on a larger disk" in err
    assert os.listdir(tmp_path / "tmp") == []


def test_a_configuration_that_ssh_does_not_know_is_no_lost_connection(
    edgecnn: Edgecnn, ssh: Ssh, sent: list[object]
) -> None:
    ssh("echo '.ssh/config: line 3: Bad configuration option: foo' >&2; exit 255")
    error = json.loads(edgecnn("deploy", *sent, "pi@door").out)["error"]
    assert error.startswith("ssh must know all of its configuration here; it does not: type `ssh pi@door true`")


@pytest.mark.parametrize("kind", ["none", "folder", "not executable", "garbage"])
def test_an_ssh_that_does_not_start_is_said(
    edgecnn: Edgecnn, ssh: Ssh, sent: list[object], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    program = ssh("exit 0")
    monkeypatch.setenv("PATH", str(program.parent))
    match kind:
        case "none":
            program.unlink()
        case "folder":
            program.unlink()
            program.mkdir()
        case "not executable":
            program.chmod(0o644)
        case "garbage":
            program.write_bytes(b"\0garbage")
    done = edgecnn("deploy", *sent, "door", "shed")
    assert (done.code, done.out) == (3, "")
    assert "error: deploy needs ssh, which cannot be started: " in done.err
    assert done.err.endswith(": sudo apt install openssh-client\n")
