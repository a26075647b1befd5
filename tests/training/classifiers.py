"""Small classifiers as somebody might have made them with Keras alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgecnn_training.backend import start_keras

start_keras("to test", backend="tensorflow")

import keras  # noqa: E402  # started above
from keras import layers  # noqa: E402

SIDE = 20


def network(*before: keras.Layer, end: str | None = "softmax", units: int = 3, channels: int = 1) -> keras.Model:
    """Two convolutions and a dense layer, of which the scores vary."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, channels)),
            *before,
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(12, 3, activation="silu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(units, activation=end, kernel_initializer=keras.initializers.RandomNormal(0, 2)),
        ]
    )
    model.build()
    return model


def functional(shape: tuple[int | None, ...], *stack: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *stack])


def behind(model: keras.Model, end: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    return keras.Model(model.inputs, end(model.outputs[0]))


def save(model: keras.Model, folder: Path, labels: str = "bar\ncolumn\ndisc\n") -> tuple[Path, Path]:
    model.save(folder / "net.keras")
    (folder / "labels.txt").write_text(labels)
    return folder / "net.keras", folder / "labels.txt"
