"""Runs that JAX and PyTorch train: resumed, and exported like those of TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecnn import Classifier

FOLDER = Path(sys.prefix) / "backends"  # scripts/test --full installs them there
pytestmark = pytest.mark.full


def run(backend: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    folder = FOLDER / backend
    if not folder.is_dir():
        pytest.skip(f"{backend} is not installed in {folder}: scripts/test --full")
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "edgecnn", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module", params=["jax", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(backend: str, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with averaged weights; without dropout, for which Keras asks PyTorch's global generator."""
    path = tmp_path_factory.mktemp(backend) / "run"
    options = ["--arch", "micro", "--epochs", "3", "--batch-size", "16", "--set", "ema=0.9", "--set", "rotate=0"]
    done = run(backend, "train", shapes, "--run", path, *options)
    result = json.loads(done.stdout)
    assert result["interval"][0] > 1 / 3  # better than chance
    assert json.loads((path / "environment.json").read_text())["versions"][backend]
    assert "I0000" not in done.stderr  # libraries that speak at their start
    return path


def test_it_resumes_to_the_very_weights(backend: str, made: Path, tmp_path: Path) -> None:
    from edgecnn_training.backend import start_keras

    start_keras("to test")
    from edgecnn_training import checkpoint

    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    newest = checkpoint.latest(copy / "checkpoints")
    expected = newest.load().get_weights()
    shutil.rmtree(newest.path)
    run(backend, "train", "--run", copy, "--resume")
    for ours, theirs in zip(expected, checkpoint.latest(copy / "checkpoints").load().get_weights(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)  # these backends promise no exact order of their sums


def test_it_exports_with_parity_and_the_file_predicts(backend: str, made: Path, tmp_path: Path) -> None:
    done = run(backend, "export", made, "-o", tmp_path / "model.onnx", "--max-drop", "50")
    assert "parity with Keras: 180 pictures" in done.stderr
    with Classifier(tmp_path / "model.onnx") as model:
        scores = model.scores(np.zeros((3, 20, 20, 1), np.uint8))
    assert scores.sum(1) == pytest.approx([1, 1, 1], abs=1e-5)
