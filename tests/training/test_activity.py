"""Activations and gradients of a network, against formulas, on each backend that is installed; nothing changes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

BACKENDS = ("tensorflow", "torch", "jax")
START = """
import numpy as np
from edgecnn_training.backend import start_keras
start_keras("to test")
import keras
from keras import layers
from edgecnn_training import loop
from edgecnn_training.report.activity import Activity, numpy_of, variable_tags
from edgecnn_training.recipe import Recipe

rng = np.random.default_rng(0)
images = rng.normal(size=(6, 5, 4, 2)).astype(np.float32)
labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 6)]
image = keras.Input((5, 4, 2))
"""
FORMULA = """
network = keras.Model(image, layers.Dense(3)(layers.Flatten()(image)))
loop.compile_model(network, Recipe(label_smoothing=0.0), 10)
activity = Activity(network, images, labels)
kernel, bias = (numpy_of(variable).astype(np.float64) for variable in network.weights)
flat = images.reshape(6, -1).astype(np.float64)
logits = flat @ kernel + bias
shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

(name, found), = activity.activations().items()
assert name == "2_dense", name
np.testing.assert_allclose(found, logits, atol=1e-5)  # float32, 40 terms

found = activity.gradients()
assert list(found) == ["2_dense/kernel", "2_dense/bias"], list(found)
np.testing.assert_allclose(found["2_dense/kernel"], flat.T @ (shares - labels) / 6, atol=1e-5)
np.testing.assert_allclose(found["2_dense/bias"], (shares - labels).mean(0), atol=1e-5)
assert np.array_equal(activity.gradients()["2_dense/kernel"], found["2_dense/kernel"])
"""
CHANGES_NOTHING = """
x = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
x = layers.Dropout(0.5)(layers.Flatten()(layers.ReLU()(x)))
network = keras.Model(image, layers.Dense(3)(x))
loop.compile_model(network, Recipe(), 10)
variables = [*network.variables, *network.optimizer.variables, *network.metrics_variables]
before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
activity = Activity(network, images, labels)
assert len(activity.activations()) == 4
found = activity.gradients()
assert {name for name, variable in variable_tags(network) if variable.trainable} == set(found)
found.pop("1_conv2d/bias")  # zero but for rounding: batch normalisation takes it away
assert all(np.isfinite(gradient).all() and gradient.any() for gradient in found.values())
after = [keras.ops.convert_to_numpy(variable) for variable in variables]
assert len(variables) > 20
assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
"""
FREE = """
class Free(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(keras.ops.reshape(x, (-1, 40)))

network = Free()
network(images)
network.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
activity = Activity(network, images, labels)
assert activity.activations() == {}
assert set(activity.gradients()) == {"0_dense/kernel", "0_dense/bias"}, activity.gradients().keys()
"""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("program", [FORMULA, CHANGES_NOTHING, FREE], ids=["formula", "changes-nothing", "subclass"])
def test_activations_and_gradients(backend: str, program: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-W", "ignore", "-c", START + program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
