from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import checkpoint, loop  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402

from edgecnn.errors import DataError  # noqa: E402


def network() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(3)])
    loop.compile_model(model, Recipe(learning_rate=0.1), steps=100)
    return model


def train(model: keras.Model, steps: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(steps):
        labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=8)]
        model.train_on_batch(rng.normal(size=(8, 4)).astype(np.float32), labels)


def save(folder: Path, model: keras.Model, step: int, top1: float | None) -> checkpoint.Checkpoint:
    return checkpoint.save(folder, model, step=step, epoch=step // 10, validation_top1=top1)


def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = network()
    train(model, 5)
    saved = save(tmp_path, model, 5, None)
    train(model, 5)
    keras.utils.set_random_seed(2)  # other first weights and other dropout seeds, which the checkpoint replaces
    copy = network()
    saved.restore(copy)
    train(copy, 5)
    for ours, theirs in zip(model.get_weights(), copy.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_the_two_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    model = network()
    for step, top1 in [(10, 0.5), (20, 0.9), (30, 0.7), (40, 0.8), (50, None)]:
        save(tmp_path, model, step, top1)
    assert [c.state.step for c in checkpoint.list_checkpoints(tmp_path)] == [20, 40, 50]
    assert checkpoint.best(tmp_path).state.step == 20
    assert checkpoint.latest(tmp_path).state.step == 50


def test_of_two_equally_good_ones_the_later_is_best_and_without_validation_the_newest(tmp_path: Path) -> None:
    model = network()
    save(tmp_path / "a", model, 10, 0.9)
    save(tmp_path / "a", model, 20, 0.9)
    assert checkpoint.best(tmp_path / "a").state.step == 20
    save(tmp_path / "b", model, 10, None)
    save(tmp_path / "b", model, 20, None)
    assert checkpoint.best(tmp_path / "b").state.step == 20


def test_a_checkpoint_that_was_not_finished_is_not_seen_and_does_not_hinder(tmp_path: Path) -> None:
    model = network()
    (tmp_path / ".step-00000010.partial").mkdir(parents=True)
    (tmp_path / "step-00000099").mkdir()
    save(tmp_path, model, 10, 0.5)
    assert [c.state.step for c in checkpoint.list_checkpoints(tmp_path)] == [10]


def test_a_changed_byte_is_found_before_keras_reads_the_file(tmp_path: Path) -> None:
    saved = save(tmp_path, network(), 10, 0.5)
    content = bytearray(saved.model_path.read_bytes())
    content[len(content) // 2] ^= 1
    saved.model_path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged: delete the folder"):
        saved.load()


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none: train again"):
        checkpoint.latest(tmp_path)


def test_a_place_that_cannot_be_written_leaves_nothing_and_says_how_to_go_on(tmp_path: Path) -> None:
    model = network()
    save(tmp_path / "run", model, 10, 0.5)
    (tmp_path / "run" / ".step-00000020.partial").write_text("a file where the folder should go")
    (tmp_path / "run" / ".step-00000020.partial").chmod(0o400)
    with pytest.raises(DataError, match=r"free some space, then --resume"):
        save(tmp_path / "run", model, 20, 0.6)
    assert checkpoint.latest(tmp_path / "run").state.step == 10
