"""`edgecnn deploy` against SSH servers of this machine's own OpenSSH, each leading to a device in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from command import Edgecnn
from device import Device, Sshd
from edgecnn_deploy.connection import Stop, deliver
from edgecnn_deploy.hosts import Host
from edgecnn_deploy.parcel import Parcel

Connect: TypeAlias = Callable[[Device], Sshd]
NEVER = "http://127.0.0.1:9/never"
DEEP = "\n".join(["[" * 4000] * 10)
NAME = "--name must be letters, digits, _ and -, the first a letter or digit; received"
LIMITS = "--config must name a TOML file of at most 64 KB with lines of at most 4,096 characters"


def deploy(*words: object, input: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgecnn", "deploy", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=400, input=input
    )


def records(text: str) -> dict[str, dict[str, object]]:
    return {line["host"]: line for line in map(json.loads, text.splitlines())}


def test_of_three_devices_the_two_that_are_there_get_it(
    tmp_path: Path, connect: Connect, wheelhouse: Path, models: dict[str, Path]
) -> None:
    devices = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        devices.append(Device(tmp_path / name))
    servers = [connect(device) for device in devices]
    known = "".join((server.folder / "known_hosts").read_text() for server in servers)
    (servers[0].folder / "known_hosts").write_text(known)
    for server in servers:
        (server.folder / "authorized_keys").write_text((servers[0].folder / "user.pub").read_text())
    try:
        hosts = [servers[0].host, "127.0.0.1:9", servers[1].host]
        words = ["--wheelhouse", wheelhouse, "--source", "test:?fps=20", "--name", "door", *servers[0].options]
        done = deploy(models["good"], *hosts, *words)
        told = records(done.stdout)
        assert (done.returncode, set(told)) == (1, set(hosts)), done.stderr
        for host in (hosts[0], hosts[2]):
            assert (
                told[host] | {"type": "deploy", "name": "door", "state": "installed", "temperature_c": 51.0}
                == told[host]
            )
            assert told[host]["label"] in ("red", "green", "blue")
            assert float(str(told[host]["memory_mb"])) > 20
        assert told[hosts[1]]["state"] == "failed"
        assert "ssh must be running there; it refuses" in str(told[hosts[1]]["error"])
        assert "1 of 3 devices failed: 127.0.0.1:9" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("next:  ssh -p ")
        assert done.stderr.endswith(" 127.0.0.1 journalctl -fu edgecnn@door\n")
        assert {device.state("door") for device in devices} == {"active"}
        assert all(os.listdir(device.root.parent / "tmp") == [] for device in devices)
    finally:
        for device in devices:
            device.stop()


def test_what_was_deployed_is_unchanged_then_rolled_back_then_removed(
    installed: Device, connect: Connect, wheelhouse: Path, models: dict[str, Path], edgecnn: Edgecnn
) -> None:
    server = connect(installed)
    words = [models["good"], server.host, "--wheelhouse", wheelhouse, "--source", "test:?fps=20", *server.options]
    before = installed.files()
    done = edgecnn("deploy", *words, terminal=True)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == ["host", "label", "score", "latency", "memory", "temperature", "state"]
    assert done.out.splitlines()[1].split()[-1] == "unchanged"
    label = done.out.splitlines()[1].split()[1]
    assert label not in done.err, "the table tells it"
    assert installed.files() == before

    words = [models["better"], server.host, "--wheelhouse", wheelhouse, "--source", NEVER, "--wait", 6, *server.options]
    done = edgecnn("deploy", *words)
    (told,) = records(done.out).values()
    assert (done.code, told["state"]) == (1, "rolled-back"), done.err
    assert "must give its first label within 6 s" in str(told["error"])
    assert done.err.count("must give its first label") == 1, "each thing is told once"
    assert "edgecnn@camera runs again, as before" in done.err
    assert all(line.partition(": ")[2] for line in done.err.splitlines())
    assert "next:" not in done.err
    assert installed.files() == before


def test_the_cause_is_told_also_where_several_devices_are_named(
    installed: Device, connect: Connect, wheelhouse: Path, models: dict[str, Path]
) -> None:
    server = connect(installed)
    words = ["--wheelhouse", wheelhouse, "--name", "cause", "--source", "test:?no=1", *server.options]
    done = deploy(models["good"], server.host, "127.0.0.1:9", *words)
    assert done.returncode == 1
    assert f"{server.host}: error: options of the source test: must be one of" in done.stderr, "the service's own words"
    assert done.stderr.count("edgecnn@cause must give its first label") == 1


def test_edgecnn_is_removed_from_a_device(device: Device, connect: Connect) -> None:
    (device.root / "opt/edgecnn/venv-0.1.0-00000000").mkdir(parents=True)
    (device.root / "opt/edgecnn/venv").symlink_to("venv-0.1.0-00000000")
    server = connect(device)
    done = deploy(server.host, "--uninstall", *server.options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"type": "deploy", "host": server.host, "state": "uninstalled"}
    assert device.files() == {}


def begun(words: list[object]) -> subprocess.Popen[str]:
    """A deployment that waits for a label."""
    command = [sys.executable, "-m", "edgecnn", "deploy", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload]
    told = ""
    while "waiting for the first label" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    time.sleep(1)
    return process


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_ctrl_c_takes_back_what_was_begun(
    installed: Device, connect: Connect, wheelhouse: Path, models: dict[str, Path]
) -> None:
    before, server = installed.files(), connect(installed)
    with begun(
        [models["better"], server.host, "--wheelhouse", wheelhouse, "--source", NEVER, *server.options]
    ) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)
    (record,) = records(out).values()
    assert (process.returncode, record["state"]) == (130, "rolled-back"), err
    assert "stopping: devices that are at work go back to what they had" in err
    assert "edgecnn@camera runs again, as before" in err, "the device itself has told that"
    assert (installed.files(), installed.state("camera")) == (before, "active")


def test_where_the_connection_is_lost_the_device_goes_back(
    installed: Device, connect: Connect, wheelhouse: Path, models: dict[str, Path]
) -> None:
    before, server = installed.files(), connect(installed)
    with begun(
        [models["better"], server.host, "--wheelhouse", wheelhouse, "--source", NEVER, *server.options]
    ) as process:
        for session in server.sessions():
            os.kill(session, signal.SIGKILL)
        out, err = process.communicate(timeout=90)
    (told,) = records(out).values()
    assert process.returncode == 1, err
    assert "the connection must last; it was lost" in str(told["error"])
    end = time.monotonic() + 60
    while installed.files() != before or installed.state("camera") != "active":
        assert time.monotonic() < end
        time.sleep(0.3)


def test_what_takes_too_long_is_stopped(device: Device, connect: Connect, tmp_path: Path) -> None:
    server = connect(device)
    options = [word for word in server.options if word != "--ssh-option"]
    host, told = Host.parse(server.host), list[str]()
    with (tmp_path / "parcel").open("w+b") as archive:
        parcel = Parcel(archive, "echo reached=yes; cat >/dev/null")
        outcome = deliver(host, parcel, options, Stop(), most_s=1.5, tell=told.append)
    rule = "it must be done within 2 s; it was not"
    assert outcome.error == f"{rule}; whether it went back is not known: deploy to it again"


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("key of the host changed", "it has another: if its card was written anew, ssh-keygen -R '[127.0.0.1]:"),
        ("host unknown", "its key must be known; it is not yet: type `ssh -p"),
        ("key of the user unknown", "it must accept your key; it does not: type `ssh-copy-id -p"),
        (
            "sudo wants a password",
            " 127.0.0.1 sudo visudo -f /etc/sudoers.d/edgecnn`, and there the line pi ALL=(ALL) NOP",
        ),
        ("32 bits", "a 64-bit system is needed, since there is no ONNX Runtime for 32-bit ones"),
        ("full disk", "there must be room on its disk; it is full"),
    ],
)
def test_why_a_device_fails_is_said_in_plain_words(
    device: Device, connect: Connect, wheelhouse: Path, models: dict[str, Path], way: str, says: str
) -> None:
    server = connect(device)
    known = server.folder / "known_hosts"
    match way:
        case "key of the host changed":
            known.write_text(
                f"[127.0.0.1]:{server.port} {' '.join((server.folder / 'user.pub').read_text().split()[:2])}\n"
            )
        case "host unknown":
            known.write_text("")
        case "key of the user unknown":
            (server.folder / "authorized_keys").write_text("")
        case "sudo wants a password":
            device.tell("sudo", "echo 'sudo: a password is required' >&2; exit 1")
            device.tell("id", '[ "$1" = -u ] && echo 1000 || echo pi')
        case "32 bits":
            device.tell("dpkg", "echo armhf")
        case "full disk":
            device.tell("tar", "cat >/dev/null; echo 'tar: model: Cannot write: No space left on device' >&2; exit 2")
    done = deploy(models["good"], server.host, "--wheelhouse", wheelhouse, *server.options)
    (told,) = records(done.stdout).values()
    assert (done.returncode, told["state"]) == (1, "failed")
    assert says in str(told["error"]), done.stderr
    assert "Traceback" not in done.stderr
    assert device.files() == {}


def test_a_host_that_nobody_knows_is_said(wheelhouse: Path, models: dict[str, Path]) -> None:
    done = deploy(models["good"], "no-such-host.invalid", "--wheelhouse", wheelhouse)
    assert done.returncode == 1
    assert "its name must be known; here it is not" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["MODEL"], 2, "a device must be named behind the model"),
        (["digits"], 2, "a device must be named behind the model; received 'digits' only"),
        (["pi@door.local", "letters"], 2, "behind 'pi@door.local': edgecnn deploy letters pi@door.local"),
        (
            ["pi@a", "b", "my model.onnx"],
            2,
            "before the devices; received 'my model.onnx' behind 'pi@a': edgecnn deploy 'my",
        ),
        (["MODEL", "door", "--source", "tset:"], 2, "the source 'tset:': a source must begin with one of exec, "),
        (["MODEL", "door", "--config", "JSN"], 2, "the sink 'jsn:-': a sink must begin with one of csv, "),
        (["pi@door"], 2, "MODEL HOST; received 'pi@door' only: name the .onnx file, or one of digits, "),
        (["door", "--uninstall", "--name", "gate"], 2, "--uninstall removes all services; received --name gate too"),
        (["MODEL", "door", "other.onnx"], 2, "one model is deployed, named before the devices; received 'other.onnx'"),
        (["MODEL", "--uninstall"], 2, "only devices are named with --uninstall"),
        (["MODEL", "door", "--purge"], 2, "--purge goes with --uninstall"),
        (["MODEL", "door", "door"], 2, "each host must be named once; 'door' is named again"),
        (["MODEL", "--", "-oProxyCommand=touch x"], 2, "a host must be as ssh takes it"),
        (["MODEL", "door", "--name", "my door"], 2, f"{NAME} 'my door': my-door"),
        (["MODEL", "door", "--name", "../x-"], 2, f"{NAME} '../x-': x"),
        (["MODEL", "door", "--name", "ä"], 2, f"{NAME} 'ä': camera"),
        (["MODEL", "door", "--name", "rtsp://u:geheim@c/x"], 2, f"{NAME} 'rtsp:***@c/x': rtsp-c-x"),
        (["door", "--uninstall", "--config", "x", "--extras", "cpu"], 2, "received --config --extras too: leave it"),
        (["MODEL", "door", "--source", "a\nb"], 2, "--source must be one line of text"),
        (["MODEL", "door", "--source", "a\udcff"], 2, "one line of text; received 'a\\udcff': test:"),
        (["MODEL", "door", "--source", " "], 2, "--source must be one line of text; received ' '"),
        (["MODEL", "door", "--source", "a\u2028b"], 2, "--source must be one line of text; received 'a\\u2028b'"),
        (["MODEL", "door", "--source", "rtsp://u:ge\nheim@c/x"], 2, "received 'rtsp://***@c/x': test:"),
        (["MODEL", "door", "--source", "x" * 5000], 2, "--source must be at most 2,000 characters; received 5,000"),
        (["MODEL", "door", "--ssh-option", ""], 2, "--ssh-option must be as after ssh's -o; received an empty one"),
        (["MODEL", "door", "--extras", "cpu;id"], 2, "--extras must be names joined by commas"),
        (["MODEL", "door", "--wheel", "no.whl"], 3, "--wheel must name a file; received 'no.whl'"),
        (["MODEL", "door", "--wheelhouse", "empty"], 3, "--wheelhouse must be a folder of wheels; 'empty' holds none"),
        (["MODEL", "door", "--config", "no.toml"], 3, "--config must name a file that can be read; 'no.toml'"),
        (["MODEL", "door", "--config", "pipe.whl"], 3, "--config must name a TOML file; 'pipe.whl' is none"),
        (["MODEL", "door", "--config", "/dev/zero"], 3, "--config must name a TOML file; '/dev/zero' is none"),
        (["MODEL", "door", "--config", "large"], 3, LIMITS),
        (["MODEL", "door", "--config", "LONG"], 3, LIMITS),
        (["MODEL", "door", "--config", "DEEP"], 2, "--config must not be nested so deeply"),
        (["MODEL", "door", "--wheelhouse", "nope"], 3, "--wheelhouse must be a folder of wheels; 'nope' holds none"),
        (["MODEL", "door", "--wheelhouse", "."], 3, "names they were built with; 'pipe.whl' is none: take it out"),
        (["MODEL", "door", "--wheelhouse", "odd"], 3, "names they were built with; 'a\\nb.whl' is none: take it out"),
        (["MODEL", "door", "--config", "TYPO"], 2, "typo.toml: keys must be among model, source, "),
        (["no.onnx", "door"], 4, "no.onnx: no such file"),
        (["pipe.whl", "door"], 4, "a model must be a file; this is none"),
        (["WRONG", "door"], 4, "disagrees with the card about 1 of 1 test pictures"),
    ],
)
def test_what_can_be_checked_here_is_refused_here(
    edgecnn: Edgecnn,
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # there is no ssh
    monkeypatch.setattr("edgecnn_deploy.wheels.build_wheel", lambda *_: pytest.fail("it is refused before that"))
    for folder in ("empty", "odd"):
        Path(folder).mkdir()
    Path("odd/a\nb.whl").touch()
    os.mkfifo("pipe.whl")
    with Path("large").open("wb") as large:
        large.truncate((1 << 20) + 1)
    (tmp_path / "typo.toml").write_text("source = 'pi'\nmodle = 'x'\n")
    (tmp_path / "long.toml").write_text(f"{'a.' * 2048}a = 1\n")
    (tmp_path / "deep.toml").write_text(f"source = {DEEP}\n")
    (tmp_path / "jsn.toml").write_text("source = 'pi'\nto = ['jsn:-']\n")
    named = {"MODEL": models["good"], "WRONG": models["wrong"]}
    named |= {word.upper(): tmp_path / f"{word}.toml" for word in ("typo", "long", "deep", "jsn")}
    done = edgecnn("deploy", *(named.get(word, word) for word in words))
    assert (done.code, done.out) == (code, ""), done.err
    assert says in done.err
