"""scripts/pi where it cannot do what is asked: what it says, and that nothing half made stays. Without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pi import CHECKOUT

WAITS = """
import sys, time
from pathlib import Path
sys.path.insert(0, {scripts!r})
from emulated import cache

def make(folder):
    folder.mkdir()
    Path(sys.argv[1]).touch()
    time.sleep(float(sys.argv[2]))
    (folder / "whole").touch()

with cache.turn():
    print(cache.kept("thing", make, "a thing"))
""".format(scripts=str(CHECKOUT / "scripts"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are kept, but by this test only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/edgecnn/pi"


def pi(*words: str, before: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    line = [*before, sys.executable, str(CHECKOUT / "scripts/pi"), *words]
    return subprocess.run(line, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120)


def start(cache: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that makes a thing and has begun."""
    begun = cache.parents[2] / "begun"
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, begun, str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    begun.unlink()
    return process


def test_without_a_command_it_helps(cache: Path) -> None:
    end = pi()
    assert (end.returncode, end.stderr) == (0, "")
    assert "scripts/pi edgecnn predict signs.onnx photo.jpg" in end.stdout
    assert not cache.exists()


def test_another_board_is_refused_with_those_there_are() -> None:
    end = pi("--board", "6", "true")
    assert end.returncode == 2
    assert "'zero2w', '3', '4', '5'" in end.stderr


def test_a_machine_of_another_kind_is_told(cache: Path) -> None:
    end = pi("true", before=("setarch", "i686"))
    assert end.returncode == 2
    assert "runs on Linux on x86-64; this is Linux on i686" in end.stderr
    assert not cache.exists()


def test_a_machine_without_apt_is_told(cache: Path, tmp_path: Path) -> None:
    end = pi("true", PATH=str(tmp_path))
    assert end.returncode == 2
    assert "apt-get is needed; there is none on PATH\n  An emulated Pi is put together on Debian" in end.stderr


def test_without_unshare_the_command_runs_plainly_and_the_limits_are_told(cache: Path, tmp_path: Path) -> None:
    end = pi("--offline", "true", PATH=str(tmp_path))
    assert "there is no program unshare (sudo apt install util-linux)\n  So the command runs plainly" in end.stderr


def test_who_insists_on_the_way_that_cannot_be_is_refused(cache: Path, tmp_path: Path) -> None:
    end = pi("--way", "chroot", "true", PATH=str(tmp_path))
    assert end.returncode == 2
    assert "--way chroot cannot be: there is no program unshare" in end.stderr


def test_what_was_not_fetched_cannot_be_had_offline(cache: Path) -> None:
    end = pi("--offline", "true")
    assert end.returncode == 2
    assert "with --offline; it has not been fetched\n  Leave out --offline once." in end.stderr


@pytest.mark.skipif(not Path("/usr/bin/apt-get").exists(), reason="there is no apt-get")
def test_an_archive_that_does_not_answer_is_told_and_nothing_half_made_stays(cache: Path) -> None:
    end = pi("--mirror", "http://127.0.0.1:9/debian", "true")
    assert end.returncode == 2
    assert "http://127.0.0.1:9/debian was asked: is there a network? Name another with --mirror URL." in end.stderr
    assert "Traceback" not in end.stderr
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_a_second_one_waits_for_the_first_and_takes_what_it_made(cache: Path) -> None:
    with start(cache, 1.0) as first:
        second = subprocess.run(
            [sys.executable, "-c", WAITS, cache, "0"], capture_output=True, text=True, check=True, timeout=60
        )
        first.communicate(timeout=30)
    assert second.stderr == "scripts/pi: another scripts/pi is setting up; waiting for it\n"
    assert (cache / "thing/whole").exists()


def test_what_was_cut_off_is_made_anew(cache: Path) -> None:
    with start(cache, 60) as process:
        process.kill()
        process.communicate(timeout=30)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["thing.part"]
    with start(cache, 0) as process:
        assert process.communicate(timeout=30)[0] == f"{cache}/thing\n"
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["thing"]


def test_clean_removes_what_was_kept(cache: Path) -> None:
    (cache / "bookworm-arm64/usr").mkdir(parents=True)
    assert pi("--clean").returncode == 0
    assert [path.name for path in cache.iterdir()] == ["lock"]
    assert pi("--clean").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mirror", "http://x/debian\ndeb [trusted=yes] file:/x", "true"), "--mirror must be an address such as"),
        (("--mirror", "http://me:geheim@x/debian", "true"), "plain and without user or password"),
        (("--mirror", "http://x/\x1b[2J", "true"), "--mirror must be an address such as"),
        (("--clean", "true"), "--clean removes what was fetched and does nothing else"),
        (("",), "COMMAND must be the name of a program"),
    ],
)
def test_words_without_meaning_are_refused(words: tuple[str, ...], message: str) -> None:
    end = pi(*words)
    assert end.returncode == 2
    assert message in end.stderr
    assert "geheim" not in end.stderr


def test_where_nothing_can_be_kept_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    end = pi("true", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (end.returncode, end.stdout) == (2, "")
    assert "Not a directory" in end.stderr
    assert "Traceback" not in end.stderr
