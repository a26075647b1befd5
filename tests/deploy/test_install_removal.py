"""install.sh removes what it has made: environments that nothing uses, and with --uninstall all of it; and no more."""

from __future__ import annotations

import fcntl
import subprocess
import time
from pathlib import Path

import pytest
from device import INSTALL, Device

FOREIGN = "opt/edgecnn/venv-mine/notes.txt"
PROGRAM = "usr/local/bin/edgecnn"


def put(device: Device, path: str, text: str = "mine") -> Path:
    """Write a file of the device."""
    place = device.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def lay_out(device: Device) -> None:
    """What an installation leaves of its own, as far as a removal looks at it."""
    for path in ("venv-0.1.0-1/.whole", "venv-0.1.0-2/.whole.partial", "models/door.onnx", ".install.x/log"):
        put(device, f"opt/edgecnn/{path}")
    for path in ("etc/edgecnn/door.toml", "var/lib/edgecnn/door/log", "etc/systemd/system/edgecnn@.service"):
        put(device, path)
    (device.root / "opt/edgecnn/venv").symlink_to("venv-0.1.0-1")


def test_it_is_removed_but_for_what_is_the_users_and_then_that_too(
    device: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--source", "test:", "--wait", 0]
    assert device.install(*words).returncode == 0
    stranger = device.root / "etc/systemd/system/other.service"
    stranger.write_text("")
    done = device.install("--uninstall")
    assert (done.returncode, done.stdout) == (0, "state=uninstalled\n"), done.stderr
    assert device.state("camera") == "inactive"
    kept = {"opt/edgecnn/models/camera.onnx", "etc/edgecnn/camera.toml"}
    assert set(device.files()) == kept | {"etc/systemd/system/other.service"}
    assert device.install("--uninstall").stdout == "state=unchanged\n"
    assert device.install("--uninstall", "--purge").returncode == 0
    assert set(device.files()) == {"etc/systemd/system/other.service"}


def test_what_a_user_has_put_beside_it_stays_when_it_fails_is_updated_and_is_removed(
    device: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    put(device, FOREIGN)
    put(device, "opt/edgecnn/venv-0.0.9-old/.whole")
    (device.root / "etc/edgecnn").mkdir(parents=True)
    failed = device.install("--wheelhouse", wheelhouse, "--model", models["wrong"], "--source", "test:")
    assert failed.returncode == 4, failed.stderr
    assert set(device.files()) == {FOREIGN, "opt/edgecnn/venv-0.0.9-old/.whole"}, "not even what is unused is removed"
    assert (device.root / "etc/edgecnn").is_dir()
    done = device.install("--wheelhouse", wheelhouse, "--model", models["good"], "--source", "test:", "--wait", 0)
    assert done.returncode == 0, done.stderr
    venvs = {path.name for path in (device.root / "opt/edgecnn").glob("venv-*")}
    assert venvs == {"venv-mine", device.files()["opt/edgecnn/venv"]}
    done = device.install("--uninstall", "--purge")
    assert done.returncode == 0, done.stderr
    assert set(device.files()) == {FOREIGN}
    opt = device.root / "opt/edgecnn"
    assert f"note: what install.sh has not put into {opt} stays there: venv-mine\n" in done.stderr


@pytest.mark.parametrize("purge", [[], ["--purge"]])
def test_a_removal_leaves_what_has_only_a_name_like_its_own(device: Device, purge: list[str]) -> None:
    lay_out(device)
    put(device, FOREIGN)
    (device.root / "opt/edgecnn/venv").unlink()
    kept = {FOREIGN, "opt/edgecnn/venv/pyvenv.cfg", "etc/systemd/system/edgecnn@.service.d/mine.conf"}
    for path in kept:
        put(device, path)
    assert device.install("--uninstall", *purge).returncode == 0
    theirs = set() if purge else {"opt/edgecnn/models/door.onnx", "etc/edgecnn/door.toml"}
    assert set(device.files()) == kept | theirs


@pytest.mark.parametrize("target", ["/usr/bin/true", "no/such/file"])
def test_a_program_that_is_a_link_to_somewhere_else_stays(
    installed: Device, wheelhouse: Path, tmp_path: Path, target: str
) -> None:
    program = installed.root / PROGRAM
    before = program.readlink()
    program.unlink()
    program.symlink_to(target)
    try:
        done = installed.install("--wheelhouse", wheelhouse, "--no-start")
        assert done.returncode == 0, done.stderr
        assert f"note: {program} is a program of its own and stays; the service's is" in done.stderr
        assert str(program.readlink()) == target
    finally:
        program.unlink()
        program.symlink_to(before)
    (tmp_path / "other").mkdir()
    other = Device(tmp_path / "other")
    lay_out(other)
    link = other.root / PROGRAM
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    done = other.install("--uninstall")
    assert f"note: {link} is not of install.sh, and stays\n" in done.stderr
    assert str(link.readlink()) == target
    link.unlink()
    link.symlink_to("../../../opt/edgecnn/venv/bin/edgecnn")
    assert other.install("--uninstall").returncode == 0
    assert not link.is_symlink(), "this one leads to what was removed"


@pytest.mark.parametrize("place", ["opt/edgecnn", "etc/edgecnn", "var/lib/edgecnn"])
def test_a_purge_removes_what_lies_behind_a_link_on_another_disk(device: Device, tmp_path: Path, place: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "holiday.jpg").touch()
    link = device.root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(disk)
    lay_out(device)
    done = device.install("--uninstall", "--purge")
    assert done.returncode == 0, done.stderr
    assert device.files().keys() <= {place}
    assert [path.name for path in disk.iterdir()] == ["holiday.jpg"]
    assert f"note: {link} is a link to {disk}, and stays\n" in done.stderr
    assert f"note: what install.sh has not put into {link} stays there: holiday.jpg\n" in done.stderr


def test_a_service_that_comes_while_a_removal_waits_for_its_turn_is_removed_too(device: Device) -> None:
    lay_out(device)
    waits = device.root / "waits"
    device.tell("flock", f'touch "{waits}"; exec /usr/bin/flock "$@"')
    (device.root / "run").mkdir()
    with (device.root / "run/edgecnn-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["bash", str(INSTALL), "--uninstall"]
        removal = subprocess.Popen(
            command, env=device.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 60
        while not waits.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        subprocess.run([device.bin / "systemctl", "enable", "edgecnn@late"], env=device.environment, check=True)
    with removal:
        err = removal.communicate(timeout=60)[1]
    assert removal.returncode == 0, err
    assert "disable --now edgecnn@late" in device.asked()
    assert set(device.files()) == {"opt/edgecnn/models/door.onnx", "etc/edgecnn/door.toml"}
