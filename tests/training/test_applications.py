"""The architectures `keras:NAME`: their names, what they do to the pixels, and the networks themselves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import applications, networks  # noqa: E402
from edgecnn_training.complexity import complexity  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.features import feature_network  # noqa: E402
from edgecnn_training.pictures import Normalization  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from edgecnn.card import InputSpec  # noqa: E402
from edgecnn.errors import UsageError  # noqa: E402

SMALLEST = Recipe(arch="keras:MobileNetV2", options={"alpha": 0.35})


@pytest.mark.parametrize(
    ("name", "blue_first"),
    [("MobileNetV2", False), ("DenseNet121", False), ("ResNet50", True), ("EfficientNetB0", False)],
)
def test_the_normalization_is_what_the_network_itself_does_to_pixels(name: str, blue_first: bool) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    expected = np.asarray(applications.preprocess(f"keras:{name}", pixels))
    ours = applications.normalization(f"keras:{name}")(pixels)
    assert (ours[..., ::-1] if blue_first else ours) == pytest.approx(expected, abs=1e-4)  # float32, up to 151


def test_pixels_of_a_network_that_wants_blue_first_are_turned_round_inside_of_it() -> None:
    body = applications.body("keras:VGG16", (32, 32, 3), {})
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    theirs.set_weights(body.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(theirs(keras.applications.vgg16.preprocess_input(pixels.copy())))
    found = np.asarray(body(applications.normalization("keras:VGG16")(pixels)))
    assert found == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))


def test_a_network_has_a_head_that_gives_logits_and_features() -> None:
    model = networks.build(SMALLEST, (32, 32, 3), 7)
    assert model.output_shape == (None, 7)
    assert model.layers[-1].activation is keras.activations.linear
    assert feature_network(model).output_shape == (None, 1280)
    assert [type(layer).__name__ for layer in model.layers[-3:]] == ["GlobalAveragePooling2D", "Dropout", "Dense"]
    without = networks.build(Recipe(arch=SMALLEST.arch, options={"alpha": 0.35, "dropout": 0.0}), (32, 32, 3), 7)
    assert len(without.layers) == len(model.layers) - 1


def test_the_documented_sizes_are_those_of_the_smallest_network() -> None:
    rows = re.findall(
        r"^``(\S+)``(?:, ``alpha = ([\d.]+)``)?\s+(\d+)×\d+×3\s+([\d,]+)\s+([\d,]+)$", applications.__doc__, re.M
    )
    assert len(rows) >= 4
    arch, alpha, side, parameters, macs = rows[0]
    size = complexity(networks.build(Recipe(arch=arch, options={"alpha": float(alpha)}), (int(side), int(side), 3), 10))
    assert (f"{size.parameters:,}", f"{size.macs:,}") == (parameters, macs)


def test_separable_convolutions_dense_layers_on_maps_and_networks_inside_are_counted_as_by_hand() -> None:
    inner = keras.Sequential(
        [
            keras.Input((8, 6, 2)),
            keras.layers.SeparableConv2D(5, 3, padding="same", use_bias=False),  # 3·3·2 and 2·5 weights, 8×6 positions
            keras.layers.Dense(4, use_bias=False),  # 5·4 weights, 8×6 positions
        ]
    )
    size = complexity(keras.Sequential([keras.Input((8, 6, 2)), inner]))
    assert size.parameters == 18 + 10 + 20
    assert size.macs == 48 * (18 + 10 + 20)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("keras:mobilenetv3smal", "received 'keras:mobilenetv3smal'; did you mean 'keras:MobileNetV3Small'"),
        ("keras:mobilenetv2", "did you mean 'keras:MobileNetV2'"),
        ("keras:", r"must be one of ConvNeXtBase, .*Xception; received 'keras:'$"),
    ],
)
def test_an_unknown_name_is_told_with_all_there_are(arch: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        networks.architecture(Recipe(arch=arch))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((32, 32, 3), {"width": 2}, "options of keras:MobileNetV2 must be among alpha, dropout; received width"),
        ((32, 32, 3), {"weights": "imagenet"}, "must be among alpha, dropout; received weights"),
        ((24, 24, 3), {}, r"keras:MobileNetV2 does not build for 24x24.*at least 32x32"),
        ((32, 32, 3), {"alpha": "wide"}, "keras:MobileNetV2 does not build for 32x32 and {'alpha': 'wide'}"),
    ],
)
def test_a_size_or_an_option_it_cannot_have_is_told(
    shape: tuple[int, int, int], options: dict[str, str | int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        networks.build(Recipe(arch="keras:MobileNetV2", options=options), shape, 3)


def test_pictures_are_rgb_and_of_imagenets_usual_size_unless_another_one_is_asked_for() -> None:
    assert applications.input_for("keras:ResNet50", None, None) == ((224, 224), 3)
    assert applications.input_for("keras:ResNet50", (96, 64), 3) == ((96, 64), 3)
    assert applications.input_for("small", None, 1) == (None, 1)
    assert applications.normalization("small") is None


def test_grey_pictures_are_refused_with_what_to_do(edgecnn: Edgecnn, tmp_path: Path) -> None:
    done = edgecnn("train", tmp_path, "--arch", "keras:MobileNetV2", "--channels", "1")
    assert done.code == 2
    assert "received --channels 1: leave it out, grey pictures then become RGB" in done.err


def test_a_network_that_normalizes_by_itself_is_exported_with_the_mean_and_the_variance_it_was_adapted_to() -> None:
    layer = keras.layers.Normalization(axis=3)
    inner = keras.Sequential([keras.Input((4, 4, 3)), layer, keras.layers.GlobalAveragePooling2D()])
    model = keras.Sequential([keras.Input((4, 4, 3)), inner, keras.layers.Dense(2)])
    layer.set_weights([np.array([90.0, 120.0, 60.0]), np.array([400.0, 100.0, 900.0]), layer.get_weights()[2]])
    layer.finalize_state()
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    graph = to_onnx(model, InputSpec(4, 4, 3), Normalization((0.0,) * 3, (1.0,) * 3))
    assert [entry.name for entry in graph.graph.input] == ["image"]
    (scores,) = ReferenceEvaluator(graph).run(None, {"image": images})
    expected = keras.ops.softmax(model(images.astype(np.float32)))
    assert scores == pytest.approx(np.asarray(expected), abs=1e-5)


def test_the_list_of_architectures_names_them(edgecnn: Edgecnn) -> None:
    assert '"name": "keras:NAME"' in edgecnn("architectures").out
