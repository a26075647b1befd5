"""What a run writes for TensorBoard is what the run is: its metrics, its weights, its pictures."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from event_files import read_events, tags, values
from PIL import Image as PILImage

start_keras("to test")

import keras  # noqa: E402  # Keras is started
from edgecnn_training import checkpoint, splits  # noqa: E402
from edgecnn_training.features import features  # noqa: E402
from edgecnn_training.report import projector  # noqa: E402
from edgecnn_training.report.graph import layer_names  # noqa: E402
from edgecnn_training.run import Run  # noqa: E402
from edgecnn_training.run_data import codes_of, load_data_of, pictures  # noqa: E402

OPTIONS = ("--tensorboard", "--no-tensorboard")
BOTH = """
import keras
from keras import layers

def build(shape, classes):
    image = keras.Input(shape)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3)(image))
    x = layers.Dropout(0.5)(layers.Flatten()(layers.MaxPooling2D(6)(x)))
    return keras.Model(image, layers.Dense(classes)(x))
"""


PICKY = """@keras.saving.register_keras_serializable()
class Picky(layers.Layer):
    def call(self, x):
        if x.shape[0] == 8:
            raise ValueError("not eight")
        return x

def build"""


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A network with the two layers that training changes behind one's back: batch normalisation and dropout."""
    path = tmp_path / "both.py"
    path.write_text(BOTH)
    return path


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def picture(value: object) -> np.ndarray:
    return np.asarray(PILImage.open(io.BytesIO(value.image.encoded_image_string)))  # type: ignore[attr-defined]


def test_the_curves_are_the_runs_metrics_and_lie_over_each_other(trained: Path) -> None:
    for split, what in (("train", "loss"), ("train", "top1"), ("validation", "loss"), ("validation", "top1")):
        points = values(trained / "tensorboard" / split, f"epoch/{what}")
        assert [step for step, _ in points] == [line["step"] for line in metrics(trained)]
        expected = [line[f"{split}_{what}"] for line in metrics(trained)]
        assert [value.simple_value for _, value in points] == pytest.approx(expected, rel=1e-6)  # float32
    for what in ("learning_rate", "seconds"):
        points = values(trained / "tensorboard" / "train", f"epoch/{what}")
        expected = [line[what] for line in metrics(trained)]
        assert [value.simple_value for _, value in points] == pytest.approx(expected, rel=1e-6)


def test_the_accuracy_of_the_best_checkpoint_is_there_to_compare_runs_by(trained: Path) -> None:
    ((step, value),) = values(trained / "tensorboard", "best/test_top1")
    result = json.loads((trained / "result.json").read_text())
    assert value.simple_value == pytest.approx(result["top1"], rel=1e-6)
    assert step == checkpoint.best(trained / "checkpoints").state.step


def test_the_histograms_of_the_last_epoch_are_those_of_the_networks_weights(trained: Path) -> None:
    newest = checkpoint.latest(trained / "checkpoints")
    network = newest.load()
    folder, checked = trained / "tensorboard" / "train", 0
    names = layer_names(network)
    for variable in network.weights:
        layer, _, name = variable.path.partition("/")
        kind = "biases" if name in ("bias", "beta") else "weights"
        step, value = values(folder, f"layer_{kind}/{names[layer]}/{name}")[-1]
        weights, histogram = np.asarray(variable, np.float64), value.histo
        assert step == newest.state.step
        assert (histogram.num, sum(histogram.bucket)) == (weights.size, weights.size)
        assert (histogram.min, histogram.max) == (weights.min(), weights.max())
        assert histogram.sum == pytest.approx(weights.sum(), rel=1e-6, abs=1e-9)
        below = np.searchsorted(np.sort(weights.ravel()), histogram.bucket_limit)
        # a value on a limit may count on either side
        assert np.abs(np.cumsum(histogram.bucket) - below).max() <= 1
        checked += 1
    assert checked == len(network.weights) > 10


def test_each_layer_has_activations_and_each_trainable_weight_a_gradient(trained: Path) -> None:
    network = checkpoint.latest(trained / "checkpoints").load()
    found = tags(trained / "tensorboard" / "train")
    gradients = {tag.partition("/")[2] for tag in found if tag.startswith("layer_gradients/")}
    names = layer_names(network)
    paths = {"/".join((names[v.path.split("/")[0]], *v.path.split("/")[1:])) for v in network.trainable_weights}
    assert gradients == paths
    activations = {tag.partition("/")[2] for tag in found if tag.startswith("layer_activations/")}
    silent = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Dropout)
    assert activations == {names[layer.name] for layer in network.layers if not isinstance(layer, silent)}


def test_the_recipe_stands_where_runs_are_compared(trained: Path) -> None:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    ((_, value),) = values(trained / "tensorboard", "_hparams_/session_start_info")
    assert value.metadata.plugin_data.plugin_name == "hparams"
    data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    found = {key: getattr(v, v.WhichOneof("kind")) for key, v in data.session_start_info.hparams.items()}
    recipe = Run.open(trained).info.recipe.to_values()
    assert found == {key: v for key, v in recipe.items() if key not in ("description", "options")}
    assert isinstance(found["flip"], bool)


def test_the_projector_shows_the_features_of_the_test_pictures_with_their_labels_and_thumbnails(trained: Path) -> None:
    run = Run.open(trained)
    data = load_data_of(run, None)
    test = pictures(data, codes_of(run, data), "test")
    network = checkpoint.best(run.checkpoints).load()
    folder = trained / "tensorboard"
    config = (folder / "projector_config.pbtxt").read_text()
    paths = dict(part.split(': "')[0::1] for part in config.replace('"\n', "\n").splitlines() if "_path" in part)
    named = {key.strip(): folder / path for key, path in paths.items()}
    tensors = np.loadtxt(named["tensor_path"], delimiter="\t")
    expected = features(network, run.info.normalization, test.images, test.rows)
    assert expected is not None
    np.testing.assert_allclose(tensors, expected, rtol=1e-4, atol=1e-5)  # six digits are written
    heading, *rows = [line.split("\t") for line in named["metadata_path"].read_text().splitlines()]
    assert heading == ["label", "read as", "right", "score", "name"]
    assert [row[0] for row in rows] == [run.info.labels[i] for i in test.class_index]
    assert sum(row[2] == "yes" for row in rows) == json.loads((trained / "result.json").read_text())["correct"]
    known = splits.read_splits(run.splits)
    names = {record.name for record in data.records if known[record.content_hash] == "test"}
    assert {row[4] for row in rows} == names
    sprite = np.asarray(PILImage.open(named["image_path"]))
    assert sprite.shape == (100, 100)  # 18 pictures of 20×20 fill 5×5 places
    for i, row in enumerate(test.rows):
        top, left = i // 5 * 20, i % 5 * 20
        assert np.array_equal(sprite[top : top + 20, left : left + 20], test.images[row][:, :, 0])


def test_thumbnails_are_square_small_and_in_order() -> None:
    images = np.zeros((5, 96, 192, 3), np.uint8)
    images[3] = (9, 8, 7)
    sprite, side = projector.thumbnails(images)
    assert (side, sprite.shape) == (64, (192, 192, 3))
    assert tuple(sprite[64 + 32, 32]) == (9, 8, 7)
    assert tuple(sprite[64 + 10, 32]) == (128, 128, 128)  # above a wide picture lies paper


def test_class_names_that_are_numbers_become_words_since_the_projector_does_not_write_numbers() -> None:
    assert projector.as_words(["0", "1e3"]) == ["class 0", "class 1e3"]
    assert projector.as_words(["0", "nothing"]) == ["0", "nothing"]


def test_weights_are_the_same_bit_by_bit_with_and_without(
    edgecnn: Edgecnn, shapes: Path, both: Path, tmp_path: Path
) -> None:
    weights = []
    for option in OPTIONS:
        run = tmp_path / option
        options = ("--arch", both, "--epochs", 3, "--batch-size", 32)
        done = edgecnn("train", shapes, "--run", run, option, *options)
        assert done.code == 0
        assert "note:" not in done.err
        assert (run / "tensorboard").exists() == (option == "--tensorboard")
        saved = checkpoint.latest(run / "checkpoints")
        weights.append([*saved.load().get_weights(), np.array(saved.state.seeds)])
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))
    losses = [[line["train_loss"] for line in metrics(tmp_path / option)] for option in OPTIONS]
    assert losses[0] == losses[1]


def test_a_resumed_run_has_no_point_twice(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(checkpoint.latest(run / "checkpoints").path)  # as if it had been killed just before it was written
    (old,) = (run / "tensorboard" / "train").iterdir()
    os.truncate(old, old.stat().st_size - 5)  # in the midst of a record
    assert edgecnn("train", "--run", run, "--resume").code == 0
    for folder, tag in (
        ("train", "epoch/loss"),
        ("validation", "epoch/top1"),
        ("train", "layer_weights/01_conv2d/kernel"),
    ):
        assert len(values(run / "tensorboard" / folder, tag, purged=False)) == 5
        points = values(run / "tensorboard" / folder, tag)
        assert [step for step, _ in points] == [9, 18, 27, 36]
        assert [v for _, v in points] == [v for _, v in values(trained / "tensorboard" / folder, tag)]
    assert len(values(run / "tensorboard", "best/test_top1")) == 1
    assert len(values(run / "tensorboard", "_hparams_/session_start_info")) == 1


def test_a_finished_run_that_is_resumed_has_no_point_twice(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert edgecnn("train", "--run", run, "--resume").code == 0
    assert len(values(run / "tensorboard" / "train", "epoch/loss")) == 4
    assert len(values(run / "tensorboard", "best/test_top1")) == 1


def test_a_run_that_is_killed_at_any_moment_goes_on_with_each_point_once(
    edgecnn: Edgecnn, shapes: Path, both: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command: tuple[object, ...] = (shapes, "--run", run, "--arch", both, "--epochs", 6, "--batch-size", 16)
    for after_s in (0.05, 0.3):
        line = [sys.executable, "-m", "edgecnn", "train", *map(str, command)]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        known = len(metrics(run)) if (run / "metrics.jsonl").exists() else 0
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count("\n") > known:
                break
            time.sleep(0.01)
        time.sleep(after_s)
        process.kill()
        process.communicate()
        command = ("--run", run, "--resume")
    assert edgecnn("train", *command).code == 0
    for split in ("train", "validation"):
        points = values(run / "tensorboard" / split, "epoch/loss")
        assert [step for step, _ in points] == [line["step"] for line in metrics(run)]
        expected = [line[f"{split}_loss"] for line in metrics(run)]
        assert [value.simple_value for _, value in points] == pytest.approx(expected, rel=1e-6)


def test_without_tensorboardx_the_training_goes_on_and_says_what_to_install(shapes: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['tensorboardX'] = None; from edgecnn.cli import main; main()"
    words = ("train", shapes, "--run", tmp_path / "run", "--arch", "softmax", "--epochs", "1", "--batch-size", "32")
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.count("note: the package 'tensorboardX' is needed to write TensorBoard's files") == 1
    assert "pip install -e '.[train]'; the training goes on without TensorBoard's files" in done.stderr
    assert "checkpoint of epoch 1" in done.stderr


def test_a_folder_that_cannot_be_written_is_told_once_and_the_training_goes_on(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "tensorboard")
    (run / "tensorboard").write_text("a file where a folder should be")
    done = edgecnn("train", "--run", run, "--resume")
    assert done.code == 0
    assert done.err.count("note: TensorBoard's files must be written to") == 1
    assert "the training goes on without them: free some space or let the folder be written to" in done.err
    assert len(metrics(run)) == 4


def test_layers_that_do_not_let_one_look_are_told_once_and_the_training_goes_on(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path
) -> None:
    path = tmp_path / "picky.py"
    path.write_text(BOTH.replace("def build", PICKY).replace("layers.Dropout(0.5)(", "Picky()("))
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", path, "--epochs", 2, "--batch-size", 32)
    assert done.code == 0
    assert done.err.count("note: TensorBoard shows no activations and gradients of ") == 1
    assert "not eight" in done.err
    found = tags(tmp_path / "run" / "tensorboard" / "train")
    assert "layer_weights/1_conv2d/kernel" in found
    assert not [tag for tag in found if tag.startswith("layer_gradients")]


def test_the_files_of_a_run_are_whole_and_name_no_machine(trained: Path) -> None:
    files = list((trained / "tensorboard").rglob("events.out.tfevents.*"))
    assert len(files) == 3
    assert all(path.name.endswith(".edgecnn") for path in files)
    assert all(read_events(path.parent) for path in files)  # the checksums are checked there
