"""scripts/make_models: what it refuses, and that a model made again is about as good."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecnn import Classifier

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_models"


def make(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digit",), "received 'digit': one of digits, letters, objects, signs; did you mean 'digits'?"),
        (("digits",), "digits is made from mnist: name the folder that holds it with --data; received None"),
        (("--data", "."), "digits is made from mnist: name the folder that holds it with --data; received ."),
        (("letters", "-o", "here"), "-o must name a new folder; here exists: name another"),
        (("letters", "-o", "/proc/x"), "-o must name a folder that can be made; /proc/x: No such file or directory"),
    ],
)
def test_what_cannot_be_made_is_told_before_anything_is(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "here").mkdir()
    end = make(tmp_path, *arguments)
    assert (end.returncode, end.stdout) == (2, "")
    assert message in end.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.usefixtures("_heeds_ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_training_too(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, str(SCRIPT), "letters", "-o", "new"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as script:
        assert script.stderr is not None
        assert script.stderr.readline().startswith("$ edgecnn train glyphs ")
        children = Path(f"/proc/{script.pid}/task/{script.pid}/children")
        while not (training := children.read_text().split()):
            time.sleep(0.01)
        script.send_signal(number)
        said = script.stderr.read()
    assert (script.returncode, "Traceback" in said) == (code, False)
    assert not Path(f"/proc/{training[0]}").exists()


@pytest.mark.full
def test_a_model_that_is_made_again_is_as_good_as_the_one_that_comes_with_edgecnn(tmp_path: Path) -> None:
    end = make(tmp_path, "letters", "-o", "new")
    assert end.returncode == 0, end.stderr
    with Classifier("letters") as old, Classifier(tmp_path / "new" / "letters.onnx") as new:
        before, after = old.card.more["accuracy"], new.card.more["accuracy"]
        assert (old.card.labels, old.card.input) == (new.card.labels, new.card.input)
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    low, high = before["interval"]  # type: ignore[misc]
    assert low <= after["top1"] <= high  # type: ignore[operator]
    assert json.dumps(after["top1"]) in end.stdout
