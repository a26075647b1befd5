from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_bytes
import pytest
from hypothesis import settings
from PIL import Image as PILImage

settings.register_profile("shared machine", deadline=None)  # a busy core is no failure
settings.load_profile("shared machine")


@dataclass(frozen=True)
class Outcome:
    """What a command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def edgecnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``edgecnn ARGS`` in this process, through the real `main`."""
    from edgecnn.cli import main

    def run(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgecnn", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """A model of 8×8 RGB that tells red, green and blue apart by the mean colour."""
    path = tmp_path / "colors.onnx"
    path.write_bytes(onnx_bytes.color_model())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder: 2.png green, 10.png blue, inner/1.jpg red."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    PILImage.new("RGB", (30, 20), "lime").save(folder / "2.png")
    PILImage.new("RGB", (30, 20), "blue").save(folder / "10.png")
    PILImage.new("RGB", (30, 20), "red").save(folder / "inner" / "1.jpg")
    return folder
