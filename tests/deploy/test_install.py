"""install.sh, on a device in a folder: what it puts where, and that what fails leaves what was there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from device import CHECKOUT, INSTALL, Device, other_wheel, result_of, wheel_of

NEVER = "http://127.0.0.1:9/never"
BROKEN = {"no UTF-8": b"\xff\xfe", "deep": b"source = " + b"[" * 4000, "long": b"x" * 70_000}


def test_a_model_becomes_a_service_that_labels_what_it_sees(
    device: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--name", "door", "--source", "test:?fps=20"]
    done = device.install(*words)
    assert done.returncode == 0, done.stderr
    told = result_of(done.stdout)
    assert (told["state"], told["version"], told["temperature_c"]) == ("installed", "0.1.0", "51")
    assert told["label"] in ("red", "green", "blue")
    assert 0 < float(told["score"]) <= 1
    assert 0 < float(told["latency_ms"]) < 10_000
    assert 20 < int(told["memory_mb"]) < 1000
    files = device.files()
    assert files["opt/edgecnn/models/door.onnx"]
    assert files["opt/edgecnn/venv"].startswith("venv-0.1.0-")
    assert files["etc/systemd/system/multi-user.target.wants/edgecnn@door.service"], "it starts with the machine"
    assert files["etc/systemd/system/edgecnn@.service.d/backoff.conf"]
    assert not [name for name in files if "partial" in name or ".install" in name]
    assert stat.S_IMODE((device.root / "etc/edgecnn/door.toml").stat().st_mode) == 0o640
    program = device.root / "usr/local/bin/edgecnn"
    assert (
        subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout == "edgecnn 0.1.0\n"
    )


def test_a_latency_above_a_second_is_told_whole(device: Device, wheelhouse: Path, models: dict[str, Path]) -> None:
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--source", "test:"]
    assert device.install(*words).returncode == 0
    process, place = int(device.state("camera", "MainPID")), device.root / "run/fake-systemd/edgecnn@camera.service"
    goes = "1,203 labels so far, 0.4/s over the last minute; capture to label p50 1,621, p90 2,802, p99 3,739 ms"
    os.kill(process, signal.SIGSTOP)  # so that it says nothing else
    try:
        place.write_text(json.dumps(json.loads(place.read_text()) | {"StatusText": f"five 0.97; {goes}"}))
        told = result_of(device.install(*words).stdout)
    finally:
        os.kill(process, signal.SIGCONT)
    assert (told["state"], told["label"], told["latency_ms"]) == ("unchanged", "five", "1621")


@pytest.fixture
def elsewhere(installed: Device, tmp_path: Path) -> Path:
    """Another root, which has the environment of the first one."""
    root = tmp_path / "root"
    (root / "opt").mkdir(parents=True)
    (root / "opt/edgecnn").symlink_to(installed.root / "opt/edgecnn")
    return root


def test_what_only_newer_systemds_know_is_left_out_on_older_ones(
    installed: Device, elsewhere: Path, wheelhouse: Path
) -> None:
    more = {"EDGECNN_TEST_ROOT": str(elsewhere), "FAKE_SYSTEMD": "252"}
    done = installed.install("--wheelhouse", wheelhouse, "--no-start", **more)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (elsewhere / "etc/systemd/system").iterdir()] == ["edgecnn@.service"]


def test_without_a_wheel_an_index_is_asked(installed: Device, elsewhere: Path, wheelhouse: Path) -> None:
    index = {"EDGECNN_TEST_ROOT": str(elsewhere), "PIP_NO_INDEX": "1"}
    done = installed.install("--no-start", **index, PIP_FIND_LINKS=str(wheelhouse))
    assert (done.returncode, "asking the package index for edgecnn" in done.stderr) == (0, True), done.stderr
    done = installed.install("--no-start", **index)
    assert done.returncode == 3
    assert "edgecnn must be on a package index, or be given as a file; pip found none: in a checkout" in done.stderr
    assert "type pip wheel --no-deps -w dist . and add --wheel dist/edgecnn-….whl" in done.stderr


def test_a_second_run_changes_nothing_and_leaves_the_service_alone(
    installed: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    before, asked, process = installed.files(), installed.asked(), installed.state("camera", "MainPID")
    for words in (["--source", "test:?fps=20"], []):
        done = installed.install("--wheelhouse", wheelhouse, "--model", models["good"], *words)
        assert done.returncode == 0, done.stderr
        assert result_of(done.stdout)["state"] == "unchanged"
        assert result_of(done.stdout)["label"]
        assert "nothing was changed" in done.stderr
    assert (installed.files(), installed.asked(), installed.state("camera", "MainPID")) == (before, asked, process)


def test_another_model_takes_the_place_of_the_first_one(
    installed: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    words = ["--wheelhouse", wheelhouse, "--name", "upgraded"]
    assert installed.install(*words, "--model", models["good"], "--source", "test:", "--wait", 0).returncode == 0
    other = installed.state("camera", "MainPID")
    done = installed.install(*words, "--model", models["better"])
    assert done.returncode == 0, done.stderr
    assert result_of(done.stdout)["state"] == "installed"
    assert (installed.root / "opt/edgecnn/models/upgraded.onnx").read_bytes() == models["better"].read_bytes()
    assert installed.state("camera", "MainPID") == other, "another service is none of its business"


def test_a_model_that_fails_its_self_test_comes_nowhere(
    installed: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    before, process = installed.files(), installed.state("camera", "MainPID")
    done = installed.install("--wheelhouse", wheelhouse, "--model", models["wrong"])
    assert (done.returncode, done.stdout) == (4, "state=failed\n")
    assert "disagrees with the card about 1 of 1 test pictures" in done.stderr
    assert done.stderr.endswith("error: the model is refused on this machine, as told above; nothing was changed\n")
    assert (installed.files(), installed.state("camera", "MainPID")) == (before, process)


def test_where_the_first_label_does_not_come_the_previous_model_runs_again(
    installed: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    before = installed.files()
    words = ["--wheelhouse", wheelhouse, "--model", models["better"], "--source", NEVER, "--wait", 8]
    done = installed.install(*words)
    assert (done.returncode, done.stdout) == (5, "state=rolled-back\n"), done.stderr
    assert "must give its first label within 8 s" in done.stderr
    assert "127.0.0.1:9" in done.stderr
    assert "edgecnn@camera runs again, as before" in done.stderr
    assert installed.files() == before
    assert installed.state("camera") == "active"


def test_a_first_installation_that_fails_leaves_nothing(
    device: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--wait", 9999]  # which are not waited
    done = device.install(*words, "--source", "test:?no=1")
    assert (done.returncode, done.stdout) == (5, "state=rolled-back\n"), done.stderr
    assert "options of the source test: must be one of" in done.stderr, "what the service itself said is shown"
    assert (device.files(), device.state("camera")) == ({}, "inactive")


def test_another_edgecnn_restarts_every_service_and_the_old_one_is_removed(
    device: Device, wheelhouse: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--source", "test:?fps=20"]
    for name in ("front", "back"):
        assert device.install(*words, "--name", name).returncode == 0
    venv, processes = device.files()["opt/edgecnn/venv"], {device.state(name, "MainPID") for name in ("front", "back")}
    broken = other_wheel(wheelhouse, tmp_path, predict="raise SystemExit('no good')")
    done = device.install(*words, "--name", "front", "--wheel", broken)
    assert (done.returncode, done.stdout) == (3, "state=failed\n"), done.stderr
    assert "no good\nerror: edgecnn must run on this machine; it ended with 1, as told above" in done.stderr
    broken = other_wheel(wheelhouse, tmp_path, service="raise SystemExit(7)")
    done = device.install(*words, "--name", "front", "--wheel", broken, "--wait", 5)
    assert (done.returncode, done.stdout) == (5, "state=rolled-back\n"), done.stderr
    assert device.files()["opt/edgecnn/venv"] == venv
    assert {device.state(name) for name in ("front", "back")} == {"active"}
    done = device.install(*words, "--name", "front", "--wheel", other_wheel(wheelhouse, tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (device.root / "opt/edgecnn").glob("venv-*")] == [device.files()["opt/edgecnn/venv"]]
    assert device.files()["opt/edgecnn/venv"] != venv
    assert not processes & {device.state(name, "MainPID") for name in ("front", "back")}


@pytest.mark.parametrize("way", ["a signal", "the end of standard input"])
def test_one_that_is_cut_off_leaves_what_was_there(
    installed: Device, wheelhouse: Path, models: dict[str, Path], way: str
) -> None:
    before = installed.files()
    words = ["--wheelhouse", wheelhouse, "--model", models["better"], "--source", NEVER, "--until-eof"]
    command = ["bash", str(INSTALL), *map(str, words)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=installed.environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert "waiting for the first label" in process.stderr.readline()
        time.sleep(1)
        if way == "a signal":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
        out, err = process.stdout.read(), process.stderr.read()
    assert (process.returncode, out) == (143, "state=rolled-back\n"), err
    assert installed.files() == before
    assert installed.state("camera") == "active"


def test_a_model_that_comes_with_edgecnn_is_installed_by_its_name(installed: Device, wheelhouse: Path) -> None:
    words = ["--wheelhouse", wheelhouse, "--model", "digits", "--name", "digits", "--source", "test:?fps=20"]
    done = installed.install(*words)
    assert done.returncode == 0, done.stderr
    assert result_of(done.stdout)["label"] in map(str, range(10))
    bundled = CHECKOUT / "edgecnn/models/digits.onnx"
    assert (installed.root / "opt/edgecnn/models/digits.onnx").read_bytes() == bundled.read_bytes()


def test_what_a_configuration_says_beside_is_kept(installed: Device, wheelhouse: Path, models: dict[str, Path]) -> None:
    place = installed.root / "etc/edgecnn/kept.toml"
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--name", "kept", "--wait", 0]
    assert installed.install(*words, "--source", "test:?fps=1").returncode == 0
    place.write_text(f"# mine\n{place.read_text()}top = 2\n")
    assert installed.install(*words).returncode == 0
    assert place.read_text().startswith("# mine\n")
    assert installed.install(*words, "--source", "test:?fps=2").returncode == 0
    assert "test:?fps=2" in place.read_text()
    assert "# mine" not in place.read_text()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_configuration_gives_way_and_that_of_another_service_holds_up_nothing(
    installed: Device, wheelhouse: Path, models: dict[str, Path], broken: bytes
) -> None:
    folder = installed.root / "etc/edgecnn"
    others = [folder / "otherwise.toml", folder / "pipe.toml"]
    others[0].write_bytes(broken)
    os.mkfifo(others[1])
    (folder / "door.toml").write_bytes(broken)
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--name", "door", "--no-start"]
    try:
        done = installed.install(*words, "--source", "test:")
        assert (done.returncode, result_of(done.stdout)["state"]) == (0, "installed"), done.stderr
        assert 'source = ["test:"]' in (folder / "door.toml").read_text()
    finally:
        for path in others:
            path.unlink()


def test_sources_of_a_file_and_of_the_command_line_are_joined_in_any_order(
    installed: Device, wheelhouse: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "sources").write_text("\ufefftest:?seed=1\r\ntest:?seed=2\n\n")
    words = ["--wheelhouse", wheelhouse, f"--model={models['good']}", "--name=joined", "--no-start"]
    file, one = f"--source-file={tmp_path / 'sources'}", "--source=test:?seed=3"
    for order, seeds in (([file, one], [1, 2, 3]), ([one, file], [3, 1, 2])):
        done = installed.install(*words, *order)
        assert done.returncode == 0, done.stderr
        made = tomllib.loads((installed.root / "etc/edgecnn/joined.toml").read_text())
        assert made["source"] == [f"test:?seed={n}" for n in seeds]


def test_many_sources_are_read_again(installed: Device, wheelhouse: Path, models: dict[str, Path]) -> None:
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--name", "many", "--no-start"]
    sources = [f"test:?seed={n}&text={'x' * 300}" for n in range(20)]
    for more, state in ((sources, "installed"), ([], "unchanged")):
        done = installed.install(*words, *(word for one in more for word in ("--source", one)))
        assert (done.returncode, result_of(done.stdout)["state"]) == (0, state), done.stderr


def test_a_password_in_a_source_is_told_to_nobody(
    installed: Device, wheelhouse: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "sources").write_text("http://user:s3cret@127.0.0.1:9/x\n")
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--name", "secret", "--wait", 4]
    done = installed.install(*words, "--source-file", tmp_path / "sources")
    assert done.returncode == 5
    assert "127.0.0.1:9" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert not (installed.root / "etc/edgecnn/secret.toml").exists()


def test_the_default_wheel_is_the_one_beside_the_script(
    device: Device, wheelhouse: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    script = tmp_path / "install.sh"
    script.write_bytes(INSTALL.read_bytes())
    (tmp_path / wheel_of(wheelhouse).name).write_bytes(b"not a zip")
    command = ["bash", script, "--model", models["good"]]
    done = subprocess.run(command, env=device.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert f"--wheel must be whole, and of this edgecnn or a newer one; {wheel_of(wheelhouse).name}" in done.stderr
    assert os.listdir(device.root / "opt") == []


def test_packages_are_taken_from_a_folder_whose_path_pip_would_read_as_something_else(
    device: Device, wheelhouse: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "a; b[c] 'd' #e%20@ä"
    shutil.copytree(wheelhouse, odd)
    (odd / "wheel;").mkdir()
    wheel = wheel_of(odd).rename(odd / "wheel;" / wheel_of(odd).name)
    done = device.install("--wheelhouse", odd, "--wheel", wheel, "--no-start")
    assert (done.returncode, extras_of(device)) == (0, {"onnxruntime"}), done.stderr
    next(odd.glob("numpy-*.whl")).unlink()
    done = device.install("--wheelhouse", odd, "--wheel", other_wheel(wheelhouse, tmp_path), "--no-start")
    assert done.returncode == 3
    assert "numpy" in done.stderr
    assert f"must be found; pip failed: put into {odd} what is told above\n" in done.stderr


@pytest.mark.parametrize(
    ("program", "when", "place", "state"),
    [
        ("install", "$* == *onnx.partial*", "opt/edgecnn/models", "failed"),
        ("cp", "$* == *onnx*", "opt/edgecnn", "failed"),
        ("mv", "$* == *.toml.partial*", "etc/edgecnn", "rolled-back"),
        ("sync", "1", "opt/edgecnn", "failed"),
    ],
)
def test_a_full_disk_is_told_as_that_and_what_was_there_stays(
    installed: Device, wheelhouse: Path, models: dict[str, Path], program: str, when: str, place: str, state: str
) -> None:
    words = ["--wheelhouse", wheelhouse, "--name", "room", "--no-start"]
    assert installed.install(*words, "--model", models["good"], "--source", "test:").returncode == 0
    before = installed.files()
    full = f"echo \"{program}: 'x': No space left on device\" >&2; exit 1"
    installed.tell(program, f'if [[ {when} ]]; then {full}; fi\nexec /usr/bin/{program} "$@"')
    installed.tell("df", "echo Filesystem; echo /dev/root 900000 899990 10 99% /")
    try:
        done = installed.install(*words, "--model", models["better"], "--source", "test:?fps=1")
    finally:
        (installed.bin / program).unlink()
        (installed.bin / "df").unlink()
    assert (done.returncode, done.stdout) == (3, f"state={state}\n"), done.stderr
    says = f"error: there must be room on the disk of {installed.root / place}; it is full: free some space (sudo apt"
    assert says in done.stderr
    assert done.stderr.count("error: ") == 1
    assert installed.files() == before


def extras_of(device: Device) -> set[str]:
    """What pip has installed into the environment in use, of what only extras bring."""
    packages = (device.root / "opt/edgecnn/venv").glob("lib/python*/site-packages/*.dist-info")
    return {path.name.partition("-")[0] for path in packages} & {"onnxruntime", "av"}


def test_all_services_have_the_extras_that_any_of_them_needs(
    device: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    words = ["--wheelhouse", wheelhouse, "--wait", 0]
    door = [*words, "--name", "door", "--model", models["good"], "--source", "test:?fps=20"]
    assert device.install(*door).returncode == 0
    assert extras_of(device) == {"onnxruntime"}
    gate = device.root / "etc/edgecnn/gate.toml"  # by hand, as the guide tells
    gate.write_text('model = "/opt/edgecnn/models/door.onnx"\nsource = ["rtsp://127.0.0.1:9/stream"]\n')
    gate.with_name("broken.toml").write_text("source = [")
    done = device.install(*door)
    assert (done.returncode, extras_of(device)) == (0, {"onnxruntime", "av"}), done.stderr
    gate.unlink()
    done = device.install(*words, "--name", "door", "--model", models["better"])
    assert (done.returncode, extras_of(device)) == (0, {"onnxruntime", "av"}), "what is there stays there"
    assert device.install(*words, "--extras", "cpu").returncode == 0
    assert extras_of(device) == {"onnxruntime"}, "but where it is said"
