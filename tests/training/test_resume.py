"""`edgecnn train --resume`: after Ctrl-C, after a kill at any moment, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import write_shapes

start_keras("to test")

from edgecnn_training import checkpoint  # noqa: E402  # Keras is started
from edgecnn_training.run import Run  # noqa: E402


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgecnn", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


STOPPED = ("--arch", "lecture-a", "--epochs", "20", "--batch-size", "8")  # with dropout; 18 batches an epoch


@pytest.fixture(scope="module")
def whole(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stops."""
    path = tmp_path_factory.mktemp("whole") / "run"
    _, told = (process := start(shapes, "--run", path, *STOPPED)).communicate(timeout=120)
    assert process.returncode == 0, told
    return path


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_resumed_to_the_very_weights_of_one_that_was_not(
    shapes: Path, whole: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    halted = start(shapes, "--run", tmp_path / "halted", *STOPPED)
    deadline = time.monotonic() + 120
    while not (tmp_path / "halted" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    halted.send_signal(stop)
    _, told = halted.communicate(timeout=120)
    assert halted.returncode == 130, told
    step = checkpoint.latest(tmp_path / "halted" / "checkpoints").state.step
    assert 0 < step < 20 * 18
    assert f"stopped after {step:,} steps; checkpoint saved" in told
    assert f"next:  edgecnn train --run {tmp_path / 'halted'} --resume" in told
    resumed = start("--run", tmp_path / "halted", "--resume")
    _, told = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, told
    assert same_weights(whole, tmp_path / "halted")
    assert same_metrics(whole, tmp_path / "halted")
    lines = (tmp_path / "halted" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 21))


def test_a_run_with_averaged_weights_that_is_stopped_within_an_epoch_ends_with_the_same_weights(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras puts the average in the weights' place when `fit` ends, which must not be what is gone on with."""
    from edgecnn_training import loop

    averaged = ("--arch", "pico", "--epochs", "3", "--batch-size", "8", "--no-tensorboard", "--set", "ema=0.9")
    assert edgecnn("train", shapes, "--run", tmp_path / "whole", *averaged).code == 0
    original = loop._Journal.on_train_batch_end

    def stopping(journal, batch, logs=None):  # type: ignore[no-untyped-def]
        journal.stop.wished |= journal.step == 22
        original(journal, batch, logs)

    with monkeypatch.context() as patched:
        patched.setattr(loop._Journal, "on_train_batch_end", stopping)
        assert edgecnn("train", shapes, "--run", tmp_path / "halted", *averaged).code == 130
    assert checkpoint.latest(tmp_path / "halted" / "checkpoints").state.step == 23
    assert edgecnn("train", "--run", tmp_path / "halted", "--resume").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "halted")
    assert same_metrics(tmp_path / "whole", tmp_path / "halted")


def test_resuming_with_other_data_is_refused(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    other = write_shapes(tmp_path / "other", each=10, seed=9)
    done = edgecnn("train", other, "--run", trained, "--resume")
    assert done.code == 3
    assert "was trained on other data than" in done.err


def test_a_finished_run_that_is_resumed_says_its_result_again(
    edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path
) -> None:
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    shutil.copytree(trained, copy)
    shutil.copytree(shapes, moved)
    done = edgecnn("train", moved, "--run", copy, "--resume")
    assert done.code == 0
    assert json.loads(done.out)["top1"] == json.loads((trained / "result.json").read_text())["top1"]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same bits."""
    first, second = (checkpoint.latest(run / "checkpoints").load().get_weights() for run in (one, other))
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def same_metrics(one: Path, other: Path) -> bool:
    """Whether two runs' lines are alike but for the time, also of an epoch that was trained in two parts.

    Means of parts are put together in 64 bits, those of an epoch in one part are summed up by Keras in 32.
    """
    first, second = (Run.open(run).read_metrics() for run in (one, other))
    for line in (*first, *second):
        del line["seconds"]
    return [pytest.approx(line, rel=1e-5) for line in first] == second


def test_a_run_that_is_killed_again_and_again_ends_with_the_very_weights_of_one_that_was_not(
    shapes: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    moments = iter(np.random.default_rng(0).uniform(0.05, 0.7, 6))
    resume: tuple[object, ...] = (shapes, "--run", run, *STOPPED)
    kills = 0
    for after_s in moments:
        process = start(*resume)
        known = (run / "metrics.jsonl").read_text().count("\n") if (run / "metrics.jsonl").exists() else 0
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count("\n") > known:
                break
            time.sleep(0.01)
        time.sleep(after_s)  # any moment: within a step, a checkpoint, a line of the metrics
        kills += process.poll() is None
        process.kill()
        process.communicate()
        if run.exists():
            resume = ("--run", run, "--resume")
    assert kills >= 3
    last = start(*resume)
    _, told = last.communicate(timeout=120)
    assert last.returncode == 0, told
    assert same_weights(run, whole)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 21))
    assert not list((run / "checkpoints").glob(".*"))


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_is_used(
    edgecnn: Edgecnn, whole: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    newest = checkpoint.latest(copy / "checkpoints")
    content = bytearray(newest.model_path.read_bytes())
    content[len(content) // 2] ^= 1
    newest.model_path.write_bytes(content)
    done = edgecnn("train", "--run", copy, "--resume")
    assert done.code == 0
    assert (
        f"note: {newest.path} is damaged and left out (model.keras is not as it was saved); the checkpoint" in done.err
    )
    assert same_weights(copy, whole)


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1" + "0" * 9_000, '"warm"', "-1", "[" * 2_000])
def test_a_damaged_result_is_told_and_written_anew(edgecnn: Edgecnn, whole: Path, tmp_path: Path, value: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    result = copy / "result.json"
    good = result.read_text()
    result.write_text('{"calibration": {"temperature": ' + value + "}}")
    done = edgecnn("evaluate", copy)
    assert done.code == 3
    assert "delete that file; edgecnn train --run RUN --resume writes it anew" in done.err
    result.unlink()
    assert edgecnn("train", "--run", copy, "--resume").code == 0
    assert json.loads(result.read_text())["calibration"] == json.loads(good)["calibration"]


def test_an_edited_recipe_is_refused_with_what_differs(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 4", "epochs = 9").replace("shift = 0.07", "shift = 0.1"))
    done = edgecnn("train", "--run", copy, "--resume")
    assert done.code == 3
    assert "now has epochs = 9 instead of 4, shift = 0.1 instead of 0.07: put that back, or train a new run" in done.err


def test_a_run_is_trained_by_one_process_at_a_time(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    with Run.open(tmp_path / "copy").locked():
        done = edgecnn("train", "--run", tmp_path / "copy", "--resume")
    assert done.code == 2
    assert "another one is training" in done.err
    assert edgecnn("train", "--run", tmp_path / "copy", "--resume").code == 0


def test_other_data_is_refused_with_how_it_differs(
    edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path
) -> None:
    data = tmp_path / "shapes"
    shutil.copytree(shapes, data)
    first, second, third = sorted(data.glob("bar/*.png"))[:3]
    first.unlink()
    second.rename(data / "disc" / "moved.png")
    third.write_bytes(third.read_bytes() + b"more")
    done = edgecnn("train", data, "--run", trained, "--resume")
    assert done.code == 3
    assert "holds now, 2 of 180 pictures gone, 1 new, 1 under another label (hash" in done.err


def test_a_run_without_a_checkpoint_is_resumed_from_its_beginning(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "checkpoints")
    (tmp_path / "copy" / "metrics.jsonl").write_text("[1]\n{}\n")
    done = edgecnn("train", "--run", tmp_path / "copy", "--resume")
    assert done.code == 0
    assert "resuming after 0 steps" in done.err
    assert json.loads(done.out)["correct"] == json.loads((trained / "result.json").read_text())["correct"]
