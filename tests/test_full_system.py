"""``scripts/pi --system``: what it refuses, and what becomes of a guest that ends or falls silent.

``--full`` runs it, where ``scripts/pi --system`` has fetched what it needs: about 15 minutes each on two idle cores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pi import CHECKOUT, on_pi

sys.path.insert(0, str(CHECKOUT / "scripts"))
from emulated import disk, initrd, qemu, stick
from emulated.problem import Problem


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--system", "true"], "--system goes without a command and without --way"),
        (["--system", "--way", "plain"], "--system goes without a command and without --way"),
        (["--model", "signs.onnx", "true"], "--model goes with --system"),
        (
            ["--system", "--model", "no.onnx"],
            "--model must name an .onnx file that edgecnn has exported; there is no no",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(words: list[str], message: str) -> None:
    end = on_pi(*words)
    assert (end.returncode, end.stdout) == (2, "")
    assert message in end.stderr


def test_what_was_not_fetched_cannot_be_had_offline(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    end = on_pi("--system", "--model", tmp_path / "model.onnx", cache_home=str(tmp_path))
    assert end.returncode == 2
    assert "qemu 10 for whole systems (50 MB) was asked for, with --offline; it has not been fetched" in end.stderr


def test_shellcheck_finds_nothing_in_the_checks() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", stick.CHECKS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def module(folder: Path, name: str, *needs: str) -> None:
    """A file with what the kernel's build writes of a module."""
    path = folder / f"kernel/{name}.ko"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0")


def test_a_module_comes_after_those_that_it_needs_and_what_is_built_in_is_left_out(tmp_path: Path) -> None:
    module(tmp_path, "vivid", "v4l2-tpg", "videodev")
    module(tmp_path, "v4l2-tpg", "videodev")
    module(tmp_path, "videodev", "mc")
    module(tmp_path, "mc")
    module(tmp_path, "sound")
    (tmp_path / "modules.builtin").write_text("kernel/virtio-pci.ko\n")
    modules = initrd.Modules(tmp_path)
    assert [path.stem for path in modules.needed(["vivid", "virtio_pci"])] == ["mc", "videodev", "v4l2-tpg", "vivid"]
    modules.keep(["v4l2_tpg"])
    assert sorted(path.stem for path in tmp_path.rglob("*.ko")) == ["mc", "v4l2-tpg", "videodev"]
    with pytest.raises(Problem, match="the kernel must have a module floppy; there is none in"):
        modules.needed(["floppy"])


NEEDS_E2FSPROGS = pytest.mark.skipif(not Path("/usr/sbin/debugfs").exists(), reason="there is no e2fsprogs")


@NEEDS_E2FSPROGS
def test_a_disk_holds_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("raspberrypi\n")
    disk.write(tmp_path / "etc", tmp_path / "disk", "4M")
    dump = ["/usr/sbin/debugfs", "-R", "cat /hostname", str(tmp_path / "disk")]
    assert subprocess.run(dump, capture_output=True, text=True, check=True).stdout == "raspberrypi\n"


@NEEDS_E2FSPROGS
def test_a_disk_that_is_too_small_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "much").mkdir()
    (tmp_path / "much/file").write_bytes(b"1" * 3_000_000)
    with pytest.raises(Problem, match=r"mke2fs could not make a disk: .*\n  Is there room"):
        disk.write(tmp_path / "much", tmp_path / "disk", "1M")
    assert not (tmp_path / "disk").exists()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[qemu.Guest]:
    """A process in the place of the emulator, which does nothing."""
    for name in ("console", "told"):
        (tmp_path / name).write_text("")
    with subprocess.Popen(["sleep", "60"]) as process:
        yield qemu.Guest(process, tmp_path / "console", tmp_path / "told")
        process.kill()


def test_what_a_guest_tells_comes_line_by_line(guest: qemu.Guest) -> None:
    guest.told.write_text("ok      one\nok      tw")
    lines = guest.lines(30, 60)
    assert next(lines) == "ok      one"
    with guest.told.open("a") as file:
        file.write("o\n")
    assert next(lines) == "ok      two"


def test_a_guest_that_says_nothing_is_given_up(guest: qemu.Guest) -> None:
    began = time.monotonic()
    with pytest.raises(qemu.Stuck, match=r"the guest has been silent for 0\.5 s"):
        list(guest.lines(0.5, 60))
    assert time.monotonic() - began < 10


def test_a_guest_that_chatters_without_end_is_given_up(guest: qemu.Guest) -> None:
    with pytest.raises(qemu.Stuck, match=r"the guest was not done within 0\.5 s"):
        list(guest.lines(30, 0.5))


def test_a_guest_that_ended_is_told_after_its_last_words(guest: qemu.Guest) -> None:
    guest.told.write_text("ok      one\n")
    guest.process.kill()
    guest.process.wait()
    lines = guest.lines(30, 60)
    assert next(lines) == "ok      one"
    with pytest.raises(qemu.Stuck, match=r"the guest has ended \(the emulator with code -9\)"):
        next(lines)


@pytest.mark.full
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_the_service_stands_all_that_can_happen_on_a_whole_pi(release: str) -> None:
    end = on_pi("--system", release=release, timeout_s=4 * 3600)
    if end.returncode == 2:
        pytest.skip(f"{end.stderr.strip()} (type: scripts/pi --system --release {release})")
    assert end.returncode == 0, end.stdout
    assert end.stdout.count("\nok ") == 27
