"""Training leaves the home folder alone but for the cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shapes import write_shapes

QUICK = ("--arch", "softmax", "--epochs", "1", "--run", "run")


def train(folder: Path, home: Path) -> None:
    unwanted = ("XDG_CACHE_HOME", "KERAS_HOME", "MPLCONFIGDIR")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted} | {"HOME": str(home)}
    command = [sys.executable, "-m", "edgecnn", "train", "shapes", *QUICK]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shapes(tmp_path / "shapes", each=20)
    (tmp_path / "home").mkdir()
    return tmp_path


def test_only_the_cache_is_written_to_in_the_home_folder(folder: Path) -> None:
    train(folder, folder / "home")
    written = [path.relative_to(folder / "home") for path in (folder / "home").rglob("*") if path.is_file()]
    assert written
    assert {path.parts[:2] for path in written} == {(".cache", "edgecnn")}


def test_a_keras_folder_of_the_users_own_is_still_the_one(folder: Path) -> None:
    (folder / "home" / ".keras").mkdir()
    train(folder, folder / "home")
    assert not (folder / "home" / ".cache" / "edgecnn" / "keras").exists()
