"""The averaged network: what it averages, batch normalisation's statistics for it, and its checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # started above
from command import Edgecnn  # noqa: E402
from edgecnn_training import checkpoint, loop  # noqa: E402
from edgecnn_training.averaging import averaged_weights, batch_norms, re_estimate, swapped  # noqa: E402
from edgecnn_training.pictures import Normalization, Pictures  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402

from edgecnn.errors import DataError  # noqa: E402

NORMALIZATION = Normalization((100.0,), (60.0,))


def pictures(count: int = 600) -> Pictures:
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 5, 1), np.uint8)
    return Pictures(images, np.arange(count), np.arange(count) % 3)


def network(ema: float = 0.9) -> keras.Model:
    image = keras.Input((6, 5, 1))
    x = keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3)(image))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization(momentum=0.9)(x))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    loop.compile_model(model, Recipe(learning_rate=0.05, optimizer="sgd", schedule="constant", ema=ema), steps=50)
    return model


def train_steps(model: keras.Model, count: int) -> list[list[np.ndarray]]:
    """Train, and return the trainable weights after each step."""
    data, found = pictures(), []
    for step in range(count):
        chosen = np.arange(step * 20, step * 20 + 20)
        model.train_on_batch(NORMALIZATION(data.take(chosen)), np.eye(3, dtype=np.float32)[data.class_index[chosen]])
        found.append([np.array(variable) for variable in model.trainable_variables])
    return found


def test_the_average_is_the_one_its_definition_gives() -> None:
    model = network()
    history = train_steps(model, 6)
    expected = history[0]
    for weights in history[1:]:
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, weights, strict=True)]
    averaged = averaged_weights(model, pictures(), NORMALIZATION)
    with swapped(model, averaged):
        for variable, value in zip(model.trainable_variables, expected, strict=True):
            assert np.array(variable) == pytest.approx(value, abs=1e-6)


def test_averaging_leaves_the_network_as_it_stood() -> None:
    model = network()
    train_steps(model, 3)
    before = [np.array(variable) for variable in model.variables]
    momenta = [layer.momentum for layer in batch_norms(model)]
    averaged_weights(model, pictures(), NORMALIZATION)
    after = [np.array(variable) for variable in model.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))  # dropout's seeds among them
    assert [layer.momentum for layer in batch_norms(model)] == momenta


def test_statistics_measured_anew_are_those_of_the_pictures() -> None:
    image = keras.Input((6, 5, 1))
    model = keras.Model(image, keras.layers.BatchNormalization()(image))
    data = pictures(1024)
    re_estimate(model, data, NORMALIZATION)
    _, _, mean, variance = model.get_weights()
    values = NORMALIZATION(data.images)
    assert mean == pytest.approx([values.mean()], abs=1e-5)
    assert variance == pytest.approx([values.var()], rel=2e-3)  # the mean of four batches' variances


def test_networks_inside_a_network_are_found() -> None:
    inner = keras.Sequential([keras.Input((6, 5, 1)), keras.layers.BatchNormalization()])
    outer = keras.Sequential([keras.Input((6, 5, 1)), inner, keras.layers.BatchNormalization()])
    assert len(batch_norms(outer)) == 2


def test_the_checkpoint_for_use_is_the_averaged_one_and_the_one_to_go_on_with_is_not(tmp_path: Path) -> None:
    model = network()
    train_steps(model, 4)
    averaged = averaged_weights(model, pictures(), NORMALIZATION)
    saved = checkpoint.save(tmp_path, model, step=4, epoch=1, validation_top1=0.5, averaged=averaged)
    for ours, theirs in zip(averaged, saved.load().get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    other = network()
    saved.restore(other)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_damaged_averaged_network_is_told(tmp_path: Path) -> None:
    model = network()
    train_steps(model, 2)
    averaged = averaged_weights(model, pictures(), NORMALIZATION)
    saved = checkpoint.save(tmp_path, model, step=2, epoch=1, validation_top1=0.5, averaged=averaged)
    saved.averaged_path.write_bytes(saved.averaged_path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"averaged\.keras is damaged"):
        checkpoint.list_checkpoints(tmp_path)[0].check()


def test_a_run_that_averages_is_resumed_exactly_and_exports(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    options = ["--arch", "micro", "--batch-size", "16", "--set", "ema=0.95", "--set", "rotate=0", "--epochs", "4"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert edgecnn("train", shapes, "--run", whole, *options).code == 0
    shutil.copytree(whole, cut)
    newest = checkpoint.latest(cut / "checkpoints")
    shutil.rmtree(newest.path)
    assert edgecnn("train", "--run", cut, "--resume").code == 0
    for one, other in zip(
        checkpoint.list_checkpoints(whole / "checkpoints"),
        checkpoint.list_checkpoints(cut / "checkpoints"),
        strict=True,
    ):
        for a, b in zip(one.load().get_weights(), other.load().get_weights(), strict=True):
            assert np.array_equal(a, b)
    done = edgecnn("export", cut, "-o", tmp_path / "averaged.onnx", "--quantize", "none")
    assert done.code == 0, done.err  # the parity check compares with the averaged network
