"""The contract of an architecture, for every file in the directory."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import networks  # noqa: E402
from edgecnn_training.complexity import complexity  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402

from edgecnn import plugins  # noqa: E402
from edgecnn.errors import UsageError  # noqa: E402

PACKAGE = networks.ARCHITECTURES
NAMES = plugins.names(PACKAGE)


@pytest.mark.parametrize("shape", [(20, 20, 1), (33, 47, 3), (224, 224, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_it_builds_for_every_size_and_gives_finite_logits(name: str, shape: tuple[int, int, int]) -> None:
    model = plugins.load(PACKAGE, name).build(shape, 7)
    logits = model(np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32), training=False)
    assert tuple(logits.shape) == (2, 7)
    assert np.isfinite(np.asarray(logits)).all()
    assert not model.compiled


@pytest.mark.parametrize("name", NAMES)
def test_its_outputs_are_logits_and_not_probabilities(name: str) -> None:
    model = plugins.load(PACKAGE, name).build((28, 28, 1), 10)
    images = 10 * np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype(np.float32)
    logits = np.asarray(model(images, training=False))
    assert logits.min() < 0
    assert not np.allclose(logits.sum(1), 1)


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_gives_the_parameters_and_macs_that_it_has_and_its_source(name: str) -> None:
    module = plugins.load(PACKAGE, name)
    rows = re.findall(r"^(\d+)×(\d+)×(\d)\s+([\d,]+)\s+([\d,]+)$", module.__doc__ or "", re.M)
    assert rows
    for height, width, channels, parameters, macs in rows:
        size = complexity(module.build((int(height), int(width), int(channels)), 10))
        assert (f"{size.parameters:,}", f"{size.macs:,}") == (parameters, macs)
    assert "Source:" in (module.__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_no_layer_that_augments(name: str) -> None:
    model = plugins.load(PACKAGE, name).build((28, 28, 1), 10)
    assert not [layer.name for layer in model.layers if type(layer).__name__.startswith("Random")]


def test_parameters_and_macs_are_counted_as_by_hand() -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 6, 2)),
            keras.layers.Conv2D(5, 3, strides=2, padding="same"),  # 3·3·2·5 weights, 5 biases, 4×3 positions
            keras.layers.BatchNormalization(),  # 5 scales, 5 shifts
            keras.layers.DepthwiseConv2D(3, padding="valid", use_bias=False),  # 3·3·5 weights, 2×1 positions
            keras.layers.Flatten(),
            keras.layers.Dense(4),  # 10·4 weights, 4 biases
        ]
    )
    size = complexity(model)
    assert size.parameters == 90 + 5 + 10 + 45 + 40 + 4
    assert size.macs == 12 * 90 + 2 * 45 + 40


def test_a_file_of_ones_own_works_where_a_name_does(tmp_path: Path) -> None:
    path = tmp_path / "my_net.py"
    path.write_text(
        "import keras\n"
        "def build(input_shape, classes, *, units=8):\n"
        "    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),\n"
        "                             keras.layers.Dense(units), keras.layers.Dense(classes)])\n"
    )
    recipe = Recipe(arch=str(path), options={"units": 3})
    model = networks.build(recipe, (20, 20, 1), 4)
    assert model.layers[-2].units == 3


DENSE = """import keras
def build(shape, classes):
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes{})])
"""


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("x = 1", {}, "must have a function build"),
        ("def build(:", {}, "must import.*SyntaxError"),
        ("import nothing_like_it", {}, "must import.*ModuleNotFoundError"),
        ("import sys; sys.exit(0)", {}, "must import.*SystemExit"),
        ("def build(shape, classes): raise KeyError('x')", {}, "does not build for.*KeyError"),
        ("def build(shape, classes): return None", {}, "must return a keras.Model with one input"),
        ("def build(shape, classes): return None", {"depth": 3}, "does not build for"),
        ("import sys\ndef build(shape, classes): sys.exit(0)", {}, "does not build for.*SystemExit"),
        (DENSE.format(", trainable=False"), {}, "must have weights to train; it has none"),
        (DENSE.format(", bias_initializer=keras.initializers.Constant(float('nan'))"), {}, "must begin with finite"),
        (
            "import keras\ndef build(s, n):\n    return keras.Sequential([keras.Input(s), keras.layers.Flatten()])",
            {},
            "must return a keras.Model with one input",
        ),
    ],
)
def test_a_file_that_is_no_architecture_is_a_usage_error(
    tmp_path: Path, source: str, options: dict[str, int], message: str
) -> None:
    path = tmp_path / "my_net.py"
    path.write_text(source)
    with pytest.raises(UsageError, match=message):
        networks.build(Recipe(arch=str(path), options=options), (20, 20, 1), 4)


OWN = """import keras
@keras.saving.register_keras_serializable(package="test_architectures")
class Own(keras.layers.Layer):
    {}
def build(shape, classes):
    return keras.Sequential([keras.Input(shape), Own(), keras.layers.Flatten(), keras.layers.Dense(classes)])
"""
NO_CONFIG = "call = lambda self, x: x\n    def get_config(self): raise RuntimeError('no config')"
BOOM = "def call(self, x, training=None): return x + {}['boom'] if training else x"


@pytest.mark.parametrize(
    ("inside", "code", "message"),
    [
        (BOOM, 2, "must be one that can be trained; Keras says: KeyError"),
        (NO_CONFIG, 3, "give them a get_config (no config)"),
    ],
)
def test_a_layer_of_ones_own_that_fails_is_no_bug_of_edgecnn(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path, inside: str, code: int, message: str
) -> None:
    (tmp_path / "net.py").write_text(OWN.format(inside))
    arguments = ("--arch", tmp_path / "net.py", "--epochs", "1", "--no-tensorboard")
    done = edgecnn("train", shapes, "--run", tmp_path / "run", *arguments)
    assert done.code == code
    assert f"architecture {tmp_path / 'net.py'} must " in done.err
    assert message in done.err


@pytest.mark.parametrize("name", NAMES)
def test_its_first_line_is_a_sentence(name: str) -> None:
    text = ast.get_docstring(ast.parse((plugins.folder(PACKAGE) / f"{name.replace('-', '_')}.py").read_text()))
    assert text is not None
    assert text.partition("\n")[0].endswith(".")
