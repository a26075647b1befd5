"""What ``edgecnn export MODEL.keras`` refuses: files that are none, and networks that classify no pictures."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from classifiers import SIDE, functional, network, save
from command import Edgecnn
from edgecnn_training.backend import start_keras

start_keras("to test", backend="tensorflow")

import keras  # noqa: E402  # started above
from keras import layers  # noqa: E402


@keras.saving.register_keras_serializable(package="tests")
class Own(layers.Layer):  # type: ignore[misc]
    def call(self, x: object) -> object:
        return x


@keras.saving.register_keras_serializable(package="tests")
def own_activation(x: object) -> object:
    return x


def two_inputs() -> keras.Model:
    a, b = keras.Input((SIDE, SIDE, 1), name="left"), keras.Input((SIDE, SIDE, 1), name="right")
    return keras.Model([a, b], layers.Dense(3)(layers.Flatten()(layers.Add()([a, b]))))


def rounded() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 1))
    return keras.Model(image, keras.ops.cast(layers.Dense(3)(layers.Flatten()(image)), "int32"))


def named_output() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 1))
    return keras.Model(image, {"scores": layers.Dense(3)(layers.Flatten()(image))})


def two_outputs() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 1))
    return keras.Model(image, [layers.Dense(3)(layers.Flatten()(image)) for _ in range(2)])


REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "two inputs": (two_inputs, "must have one input, a picture; this one has 2, left, right"),
    "two outputs": (two_outputs, "must have one output, a number for each label; this one has 2"),
    "no pictures": (lambda: functional((10,), layers.Dense(3)), "this one takes (N, 10)"),
    "any size": (
        lambda: functional((None, None, 3), layers.Conv2D(3, 3), layers.GlobalAveragePooling2D()),
        "of any size: fix it and save it again",
    ),
    "channels first": (lambda: functional((3, 8, 8), layers.Flatten(), layers.Dense(3)), "the channels first"),
    "channels first inside": (
        lambda: functional((3, 8, 3), layers.AveragePooling2D(2, data_format="channels_first"), layers.Flatten()),
        "must have its channels last; layer 'average_pooling2d",
    ),
    "four channels": (lambda: functional((8, 8, 4), layers.Flatten(), layers.Dense(3)), "1 channel is grey, 3 are RGB"),
    "a map": (lambda: functional((8, 8, 3), layers.Conv2D(3, 3)), "this one gives (N, (6, 6, 3)): add Flatten"),
    "no height": (lambda: functional((0, 24, 3), layers.Flatten(), layers.Dense(3)), "both sides must be 1 to 4,096"),
    "too wide": (
        lambda: functional((8, 5_000, 3), layers.GlobalAveragePooling2D(), layers.Dense(3)),
        "both sides must be 1 to 4,096 pixels; build it for smaller pictures",
    ),
    "whole numbers": (rounded, "this one gives int32"),
    "named outputs": (named_output, "must give a row of numbers; this one gives a dict: keras.Model(image, scores)"),
    "float16": (
        lambda: functional((8, 8, 3), layers.Conv2D(3, 3, dtype="mixed_float16", name="half"), layers.Flatten()),
        "layer 'half', Conv2D, has the dtype policy 'mixed_float16'",
    ),
    "bfloat16": (
        lambda: functional((8, 8, 3), layers.Flatten(), layers.Dense(3, dtype="bfloat16", name="brain")),
        "layer 'brain', Dense, has the dtype policy 'bfloat16'",
    ),
    "several labels": (lambda: network(end="sigmoid"), "outputs a sigmoid of its own, so that several labels may be"),
    "a hyperbolic end": (lambda: network(units=1, end="tanh"), "a probability by a sigmoid; layer"),
    "lambda": (
        lambda: functional(
            (8, 8, 3), layers.Lambda(lambda x: x / 255, name="scale"), layers.Flatten(), layers.Dense(3)
        ),
        "received layer 'scale', Lambda: write what it does with a layer of Keras",
    ),
    "own layer": (
        lambda: functional((8, 8, 3), Own(name="mine"), layers.Flatten(), layers.Dense(3)),
        "received layer 'mine', Own of test_keras_file: replace it by layers of Keras",
    ),
    "own activation": (
        lambda: functional((8, 8, 3), layers.Conv2D(3, 3, activation=own_activation, name="odd"), layers.Flatten()),
        "received layer 'odd', function of builtins: replace it",
    ),
    "no numbers": (
        lambda: functional((8, 8, 3), layers.Rescaling(np.inf), layers.Flatten(), layers.Dense(3)),
        "must be finite numbers; some are not",
    ),
    "no operator for it": (
        lambda: functional((8, 8, 3), layers.Resizing(4, 4, antialias=True), layers.Flatten(), layers.Dense(3)),
        "Resizing): replace the layer they come from",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_is_no_classifier_of_pictures_is_refused_by_name(
    name: str, edgecnn: Edgecnn, tmp_path: Path
) -> None:
    make, message = REFUSED[name]
    model = make()
    labels = "no\nyes\n" if "hyperbolic" in name else "".join(f"{i}\n" for i in range(3))
    file, named = save(model, tmp_path, labels)
    if name in ("channels first inside", "float16", "own activation"):
        named.write_text("".join(f"{i}\n" for i in range(model.output_shape[-1])))
    done = edgecnn("export", file, "--labels", named, "--scale", "1", "--offset", "0", "-o", tmp_path / "m.onnx")
    assert (done.code, done.out) == (4, ""), done.err
    assert message in done.err
    assert not list(tmp_path.glob("*m.onnx*"))


def broken(kind: str, folder: Path) -> Path:
    """A file that is no .keras file, each in another way."""
    whole = folder / "whole.keras"
    network().save(whole)
    path = folder / f"{kind}.keras"
    if kind == "truncated":
        path.write_bytes(whole.read_bytes()[:5000])
    elif kind == "changed":
        data = bytearray(whole.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    elif kind in ("zip", "json", "hostile"):
        config = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json" if kind != "zip" else "a.txt", "{" if kind == "json" else json.dumps(config))
            archive.writestr("model.weights.h5", "x")
    elif kind == "h5":
        network().save(folder / "old.h5")
        path = folder / "old.h5"
    elif kind == "weights":
        network().save_weights(folder / "w.weights.h5")
        path = folder / "w.weights.h5"
    elif kind == "folder":
        path = folder / "saved"
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"x")
    elif kind == "name":
        path = whole.rename(folder / "net.zip")
    return path


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("truncated", 4, "a zip archive; this is none, or only a part of one: copy it anew"),
        ("changed", 4, "must be whole; this one is damaged"),
        ("zip", 4, "lacks config.json"),
        ("json", 4, "must be whole; this one is damaged"),
        ("hostile", 4, "received layer '?', function of os"),
        ("h5", 4, "the older HDF5 format: keras.saving.load_model("),
        ("weights", 4, "holds weights without a network"),
        ("folder", 4, "this is a SavedModel folder"),
        ("name", 4, "its name must end so"),
        ("missing", 3, "does not exist"),
    ],
)
def test_a_file_that_is_no_keras_file_is_told_what_it_is(
    kind: str, code: int, message: str, edgecnn: Edgecnn, tmp_path: Path
) -> None:
    path = broken(kind, tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    done = edgecnn(
        "export", path, "--labels", tmp_path / "labels.txt", "--scale", "1", "--offset", "0", "-o", tmp_path / "m.onnx"
    )
    assert (done.code, done.out) == (code, ""), done.err
    assert message in done.err
    assert not (tmp_path / "m.onnx").exists()
