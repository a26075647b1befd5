"""A run that begins with weights: its head first, then all of it, and a resume before, at and after the turn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import checkpoint, finetune, loop, networks, run_data  # noqa: E402
from edgecnn_training.finetune import Phase  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402
from edgecnn_training.run import Run  # noqa: E402

HEAD = 2  # arrays of the dense layer


@pytest.mark.parametrize(
    ("epochs", "freeze", "head"),
    [(30, 0.2, 6), (5, 0.2, 1), (2, 0.2, 1), (1, 0.2, 1), (10, 0.0, 0), (10, 1.0, 10), (3, 0.5, 2)],
)
def test_the_head_is_trained_for_its_share_of_whole_epochs_and_at_least_one(
    epochs: int, freeze: float, head: int
) -> None:
    assert finetune.epochs_of_head(Recipe(weights="x.h5", epochs=epochs, freeze=freeze)) == head


def test_a_run_has_a_phase_for_the_head_and_one_for_all_layers() -> None:
    recipe = Recipe(weights="x.h5", epochs=10, freeze=0.3, learning_rate=0.01, fine_tune_rate=0.0002)
    first, second = finetune.phases(recipe, per_epoch=7)
    assert first == Phase(0, 21, trained="head")
    assert second == Phase(21, 70, "fine_tune_rate", "weights")
    assert [phase.learning_rate(recipe) for phase in (first, second)] == [0.01, 0.0002]
    assert [finetune.phase_of([first, second], step) for step in (0, 21, 22, 70)] == [first, first, second, second]


@pytest.mark.parametrize(("freeze", "trained"), [(0.0, "weights"), (1.0, "head")])
def test_a_run_may_have_one_of_the_phases_only(freeze: float, trained: str) -> None:
    (only,) = finetune.phases(Recipe(weights="x.h5", epochs=4, freeze=freeze), per_epoch=5)
    assert (only.first, only.last, only.trained) == (0, 20, trained)


def test_a_run_with_random_weights_has_one_phase_of_everything() -> None:
    assert finetune.phases(Recipe(epochs=4), per_epoch=5) == [Phase(0, 20)]
    assert finetune.described(Recipe()) == ""


def test_early_stopping_counts_the_epochs_of_the_last_phase_only() -> None:
    lines = [{"step": step, "validation_top1": value} for step, value in ((5, 0.9), (10, 0.8), (15, 0.7))]
    assert loop.stopped_early(lines, 2)
    assert not loop.stopped_early(lines, 2, since=5)


def begun(trained: Path, path: Path) -> Run:
    """A run on the pictures of `trained` that is to begin with weights, and has no checkpoint yet."""
    shutil.copytree(trained, path, ignore=shutil.ignore_patterns("checkpoints", "metrics.jsonl"))
    text = (path / "recipe.toml").read_text()
    text = text.replace('weights = "none"', 'weights = "x.h5"').replace("freeze = 0.2", "freeze = 0.5")
    (path / "recipe.toml").write_text(text)
    return Run.open(path)


def network(run: Run) -> keras.Model:
    keras.utils.set_random_seed(1)
    spec = run.info.input
    return networks.build(run.info.recipe, (spec.height, spec.width, spec.channels), len(run.info.labels))


def go_on(run: Run, newest: checkpoint.Checkpoint | None) -> None:
    data = run_data.load_data_of(run, None)
    codes = run_data.codes_of(run, data)
    chosen = loop.Splits(run_data.pictures(data, codes, "train"), run_data.pictures(data, codes, "validation"))
    assert loop.fit(run, network(run), chosen, newest)


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of the head, two of everything, 9 batches each; every checkpoint is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_KEEP", 4)
        run = begun(trained, tmp_path_factory.mktemp("whole") / "run")
        go_on(run, None)
    return run


def test_the_body_stays_as_it_was_while_the_head_is_trained_and_batch_norm_stays_to_the_end(whole: Run) -> None:
    fresh = network(whole).get_weights()
    first, second, _, last = checkpoint.list_checkpoints(whole.checkpoints)
    for found in (first, second):
        weights = found.load().get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(fresh[:-HEAD], weights[:-HEAD], strict=True))
        assert not np.array_equal(fresh[-HEAD], weights[-HEAD])
    ended = last.load()
    for before, after in zip(network(whole).layers, ended.layers, strict=True):
        same = all(np.array_equal(a, b) for a, b in zip(before.get_weights(), after.get_weights(), strict=True))
        assert same is (isinstance(before, keras.layers.BatchNormalization) or not before.weights)


def test_each_phase_has_a_course_of_the_learning_rate_of_its_own(whole: Run) -> None:
    def one_cycle(step: int) -> float:  # of 18 steps, long after the rise
        return 0.001 + 0.999 * (1 + np.cos(np.pi * (step - 0.15 * 18) / (0.85 * 18))) / 2

    recipe = whole.info.recipe
    head, everything = [[rate * one_cycle(t) for t in (8, 17)] for rate in (recipe.learning_rate, 1e-4)]
    assert [line["learning_rate"] for line in whole.read_metrics()] == pytest.approx([*head, *everything], rel=1e-4)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_resumed_before_at_and_after_the_turn_ends_with_the_very_weights(
    whole: Run, tmp_path: Path, epoch: int
) -> None:
    shutil.copytree(whole.path, tmp_path / "cut")
    cut = Run.open(tmp_path / "cut")
    found = checkpoint.list_checkpoints(cut.checkpoints)
    for later in found[epoch:]:
        shutil.rmtree(later.path)
    go_on(cut, found[epoch - 1])
    expected = checkpoint.latest(whole.checkpoints).load().get_weights()
    for ours, theirs in zip(expected, checkpoint.latest(cut.checkpoints).load().get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert [line["train_loss"] for line in cut.read_metrics()] == [line["train_loss"] for line in whole.read_metrics()]
