"""Training ends when validation has got no better for as long as the recipe says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras

start_keras("to test")

from edgecnn_training import checkpoint, loop  # noqa: E402  # started above


def metrics(values: Sequence[float]) -> list[dict[str, float]]:
    return [{"epoch": i, "step": i, "validation_top1": value} for i, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([0.5, 0.6, 0.7], 0, False),
        ([0.7, 0.6, 0.6], 0, False),
        ([0.7, 0.6], 2, False),
        ([0.7, 0.6, 0.6], 2, True),
        ([0.7, 0.6, 0.71], 2, False),
        ([0.7, 0.7, 0.7], 2, True),  # as good as before is no better
        ([0.1, 0.7, 0.6, 0.65, 0.5], 3, True),
        ([], 1, False),
    ],
)
def test_it_stops_when_the_last_epochs_were_no_better(values: list[float], patience: int, stops: bool) -> None:
    assert loop.stopped_early(metrics(values), patience) is stops


def test_epochs_without_validation_never_stop_it() -> None:
    assert not loop.stopped_early([{"epoch": i, "step": i} for i in range(9)], 2)


def test_a_run_that_stopped_early_is_finished(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--arch", "micro", "--batch-size", "16", "--learning-rate", "0.02", "--set", "schedule=constant"]
    done = edgecnn("train", shapes, "--run", run, *options, "--epochs", "60", "--set", "patience=2")
    assert done.code == 0, done.err
    assert "stopped early: no better on validation for 2 epochs" in done.err
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert 3 <= len(found) < 60
    best = max(line["validation_top1"] for line in found)
    assert max(line["validation_top1"] for line in found[:-2]) == best
    assert checkpoint.best(run / "checkpoints").state.validation_top1 == best
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    again = edgecnn("train", "--run", copy, "--resume")
    assert again.code == 0
    assert len((copy / "metrics.jsonl").read_text().splitlines()) == len(found)
    exported = edgecnn("export", copy, "-o", tmp_path / "early.onnx", "--quantize", "none")
    assert exported.code == 0
    assert "not finished" not in exported.err
