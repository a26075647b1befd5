"""The second output of ``export --explain``: what it is, that it agrees with Keras, and that the scores stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from classifiers import network, save
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import images_of

start_keras("to test", backend="tensorflow")

import keras  # noqa: E402  # started above
import tensorflow as tf  # noqa: E402
from edgecnn_training import applications, networks  # noqa: E402
from edgecnn_training.class_maps import pooled_head  # noqa: E402
from edgecnn_training.export import container, explain, exporter  # noqa: E402
from edgecnn_training.export.container import Identity  # noqa: E402
from edgecnn_training.export.convert import compact, half, to_onnx  # noqa: E402
from edgecnn_training.export.material import of_run  # noqa: E402
from edgecnn_training.pictures import Normalization  # noqa: E402

from edgecnn import Classifier, plugins, prescan  # noqa: E402
from edgecnn.card import InputSpec, graph_hash  # noqa: E402
from edgecnn.errors import UsageError  # noqa: E402
from edgecnn.prediction import heat  # noqa: E402

FLOOR = Path(sys.prefix) / "onnxruntime-floor"
LABELS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def explained(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of the fixture ``exported``, made with ``--explain``."""
    folder = tmp_path_factory.mktemp("explained")
    files = {"float32": folder / "float32.onnx", "int8": folder / "int8.onnx"}
    for path, (quantize, drop) in zip(files.values(), (("none", 0.5), ("int8", 6.0)), strict=True):
        wish = exporter.Wish(quantize, max_drop=drop, explain=True)
        exporter.export(trained, path, wish=wish, data=None, name="shapes")
    return files


def keras_grad_cam(network: keras.Model, pixels: np.ndarray, label: int) -> np.ndarray:
    """One picture's heat map as Keras's example makes it: docs "Grad-CAM class activation visualization"."""
    pooling = next(layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    model = keras.Model(network.inputs[0], [pooling.input, network.outputs[0]])
    with tf.GradientTape() as tape:
        feature_map, predictions = model(pixels[np.newaxis])
        channel = predictions[:, label]
    pooled = tf.reduce_mean(tape.gradient(channel, feature_map), axis=(0, 1, 2))
    shown = np.asarray(feature_map[0] @ pooled[..., tf.newaxis])[..., 0]
    return np.maximum(shown, 0) / shown.max()


def test_a_file_of_any_size_tells_the_same_of_the_scaled_picture(
    explained: dict[str, Path], trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "any.onnx"
    wish = exporter.Wish("none", explain=True, input="any")
    exporter.export(trained, path, wish=wish, data=None, name="shapes")
    pictures = [np.random.default_rng(0).integers(0, 256, size, np.uint8) for size in [(20, 20), (70, 31), (3, 90)]]
    with Classifier(path) as whole, Classifier(explained["float32"]) as fixed:
        for picture in pictures:
            ours, theirs = (one.predict(picture, explain=True).explanation for one in (whole, fixed))
            assert ours is not None
            assert theirs is not None
            np.testing.assert_array_equal(ours.maps, theirs.maps)
            assert ours.region == theirs.region


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_file_has_two_outputs_a_right_card_and_known_operators(explained: dict[str, Path], precision: str) -> None:
    path = explained[precision]
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    scores, maps = model.graph.output
    assert (scores.name, maps.name) == ("scores", "activation_map")
    assert maps.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_param or d.dim_value for d in maps.type.tensor_type.shape.dim] == ["N", 5, 5, 3]
    prescan.check(path.read_bytes())  # a warning would be an error
    card = Classifier(path).card
    assert card.graph_sha256 == graph_hash(path.read_bytes())
    assert card.more["self_test"] == Classifier(path).card.more["self_test"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_scores_and_self_test_are_those_of_the_file_without_it(
    explained: dict[str, Path], exported: dict[str, Path], shapes: Path, precision: str
) -> None:
    images = images_of(shapes)
    with Classifier(explained[precision]) as with_it, Classifier(exported[precision]) as without:
        expected = without.scores(images)
        np.testing.assert_array_equal(with_it.scores(images), expected)
        np.testing.assert_array_equal(with_it.explained(images)[0], expected)
        assert with_it.card.more["self_test"] == without.card.more["self_test"]
        assert with_it.card.more["accuracy"] == without.card.more["accuracy"]


def test_float32_maps_are_keras_grad_cam_within_1e_4_and_int8_near(
    explained: dict[str, Path], trained: Path, shapes: Path
) -> None:
    material = of_run(trained, None, "shapes")
    images = images_of(shapes)[::6]
    for precision, limit in (("float32", 1e-4), ("int8", 0.2)):
        scores, maps = Classifier(explained[precision]).explained(images)
        normalized = material.source.normalization(images)
        for pixels, row, own in zip(normalized, scores, maps, strict=True):
            label = int(row.argmax())
            expected = keras_grad_cam(material.model, pixels, label)
            assert abs(heat(own[:, :, label]) - expected).max() <= limit
            if precision == "float32":  # the largest is 1; near it int8 may differ at any place
                logits = np.asarray(material.model(pixels[np.newaxis]))[0]
                bias = material.model.layers[-1].get_weights()[1]
                np.testing.assert_allclose(own.mean((0, 1)) + bias, logits, atol=1e-4)


def test_the_weights_of_the_map_stay_float32_and_are_those_at_the_temperature(
    explained: dict[str, Path], trained: Path
) -> None:
    kernel = of_run(trained, None, "shapes").model.layers[-1].get_weights()[0]
    for path in explained.values():
        weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
        assert weights["map_kernel"].dtype == np.float32
        np.testing.assert_array_equal(weights["map_kernel"], kernel)


@pytest.mark.parametrize(
    "name",
    [
        "small",
        pytest.param("photo96", marks=pytest.mark.full),
        pytest.param("keras:MobileNetV3Small", marks=pytest.mark.full),  # its pooling is a ReduceMean in the graph
        pytest.param("keras:EfficientNetB0", marks=pytest.mark.full),
    ],
)
def test_maps_of_other_heads_and_of_float16_storage_are_keras_grad_cam(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    shape = (64, 48, 3)
    found = applications.builder(name) if ":" in name else plugins.load(networks.ARCHITECTURES, name).build
    network = found(shape, 4)
    normalization = Normalization((90.0, 120.0, 60.0), (50.0, 70.0, 40.0))
    head = explain.head_of(network)
    graph = to_onnx(network, InputSpec(*shape), normalization)
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)
    identity = Identity("m", LABELS, InputSpec(*shape))
    for one, limit in ((compact(graph), 1e-4), (compact(half(graph)), 0.02)):
        container.write(tmp_path / "m.onnx", explain.with_map(one, head), identity, "float32", {})
        _, maps = Classifier(tmp_path / "m.onnx").explained(images)
        for label in range(4):
            expected = explain.grad_cam(network, head, normalization(images), np.full(4, label))
            for ours, keras_says in zip(maps[..., label], expected, strict=True):
                assert abs(heat(ours) - heat(keras_says)).max() <= limit


def test_grad_cam_of_a_batch_is_that_of_each_picture_as_keras_shows_it() -> None:
    network = plugins.load(networks.ARCHITECTURES, "micro").build((20, 24, 3), 4)
    network.trainable = False  # as fine-tuning leaves layers
    head = pooled_head(network)
    assert head is not None
    pixels = np.random.default_rng(0).normal(size=(3, 20, 24, 3)).astype(np.float32)
    labels = np.array([2, 0, 3])
    network.trainable = True
    for ours, one, label in zip(explain.grad_cam(network, head, pixels, labels), pixels, labels, strict=True):
        np.testing.assert_allclose(np.maximum(ours, 0) / ours.max(), keras_grad_cam(network, one, label), atol=1e-5)
    network.trainable = False
    assert np.isfinite(explain.grad_cam(network, head, pixels, labels)).all()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("lecture-a", r"'dense\w*' \(Dense\) before its last"),
        ("lecture-b", r"'dense\w*' \(Dense\) before its last"),
        ("mlp", r"'dense\w*' \(Dense\) before its last"),
        ("softmax", r"'flatten\w*' \(Flatten\) before its last"),
        ("sprint", r"'flatten\w*' \(Flatten\) before its last"),
    ],
)
def test_a_network_with_another_head_is_refused_and_its_layer_named(name: str, layer: str) -> None:
    network = plugins.load(networks.ARCHITECTURES, name).build((28, 28, 1), 3)
    message = rf"ends in global average pooling and one dense layer; this one has the layer ({layer}): train one"
    with pytest.raises(UsageError, match=message):
        explain.head_of(network)


def test_a_network_that_does_not_end_in_a_dense_layer_is_refused_and_its_layer_named() -> None:
    image = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3, name="last_conv")(image))
    with pytest.raises(UsageError, match=r"this one has the layer 'global_average_pooling2d\w*' .* at its end: train"):
        explain.head_of(keras.Model(image, x))


def test_a_network_that_is_no_graph_of_layers_is_refused() -> None:
    class Own(keras.Model):
        def call(self, pixels: object) -> object:
            return pixels

    with pytest.raises(UsageError, match="this one is a Own, no graph of layers: train one"):
        explain.head_of(Own())


def test_export_says_what_was_proven_and_what_to_type(
    edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    done = edgecnn("export", trained, "-o", path, "--max-drop", "6", "--quantize", "int8", "--explain")
    assert done.code == 0
    assert "activation maps and Keras's Grad-CAM: 128 pictures, largest difference " in done.err
    assert "activation maps of int8" in done.err
    assert "at most, of maps from 0 to 1" in done.err
    assert f"next:  edgecnn predict {path} photo.jpg --to 'images:drawn?explain=1'" in done.err
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    end = edgecnn("predict", path, shapes / "disc", "--to", f"images:{tmp_path}/drawn?explain=1")
    assert (end.code, len(list((tmp_path / "drawn").iterdir()))) == (0, 60)


def test_a_run_whose_network_has_another_head_is_exit_2_and_makes_no_file(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert edgecnn("train", shapes, "--arch", "softmax", "--epochs", "1", "--no-tensorboard", "--run", run).code == 0
    done = edgecnn("export", run, "-o", tmp_path / "m.onnx", "--explain")
    assert (done.code, done.out) == (2, "")
    assert "error: --explain needs a network that ends in global average pooling and one dense layer" in done.err
    assert "this one has the layer 'flatten" in done.err
    assert not (tmp_path / "m.onnx").exists()


def test_a_classifier_that_keras_saved_explains_as_well(edgecnn: Edgecnn, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    body = keras.Sequential([keras.Input((20, 20, 1)), keras.layers.Conv2D(8, 3, strides=2, activation="relu")])
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(0.2), keras.layers.Dense(3, "softmax")]
    file, labels = save(keras.Sequential([keras.Input((20, 20, 1)), body, *head]), tmp_path)
    model = tmp_path / "m.onnx"
    named = ("--labels", labels, "--scale", "1/255", "--offset", "0", "--quantize", "none", "--explain")
    done = edgecnn("export", file, *named, "-o", model)
    assert done.code == 0, done.err
    assert "activation maps and Keras's Grad-CAM: 128 generated pictures, largest difference " in done.err
    assert Classifier(model).predict(np.zeros((20, 20), np.uint8), explain=True).activation_map_of("disc").shape == (
        9,
        9,
    )
    file, labels = save(network(), tmp_path)  # it takes the largest value and not the mean
    done = edgecnn("export", file, *named, "-o", tmp_path / "other.onnx")
    assert done.code == 2
    assert "this one has the layer 'global_max_pooling2d" in done.err
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [("maps", "activation maps must agree with Keras's Grad-CAM within 0.0001"), ("scores", "bit by bit")],
)
def test_maps_that_are_wrong_and_scores_that_change_are_exit_4_and_no_file(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    right = explain.with_map

    def wrong(graph: onnx.ModelProto, head: explain.Head) -> onnx.ModelProto:
        result = right(graph, head)
        if fault == "maps":  # as if the classes had another order
            turned = onnx.numpy_helper.from_array(head.kernel[:, ::-1].copy(), "map_kernel")
            result.graph.initializer[-1].CopyFrom(turned)
        else:
            (softmax,) = (node for node in result.graph.node if node.op_type == "Softmax")
            double = onnx.helper.make_node("Add", [softmax.input[0]] * 2, ["doubled"])
            softmax.input[0] = "doubled"
            result.graph.node.insert(list(result.graph.node).index(softmax), double)
        return result

    monkeypatch.setattr(explain, "with_map", wrong)
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--explain", "--quantize", "none")
    assert done.code == 4
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_oldest_supported_onnx_runtime_gives_the_same_maps(
    explained: dict[str, Path], shapes: Path, tmp_path: Path, precision: str
) -> None:
    if not FLOOR.is_dir():
        pytest.skip(f"needs the oldest ONNX Runtime in {FLOOR}; scripts/test puts it there")
    images = images_of(shapes)[:30]
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy as np\nfrom edgecnn import Classifier\nmodel = Classifier(sys.argv[1])\n"
        "scores, maps = model.explained(np.load(sys.argv[2]))\n"
        "assert (scores == model.scores(np.load(sys.argv[2]))).all()\n"
        "np.save(sys.argv[3], maps)\nimport onnxruntime; print(onnxruntime.__version__)\n"
    )
    arguments = [str(explained[precision]), str(tmp_path / "images.npy"), str(tmp_path / "maps.npy")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": f"{FLOOR}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.24")
    here = Classifier(explained[precision]).explained(images)[1]
    np.testing.assert_allclose(np.load(tmp_path / "maps.npy"), here, atol=1e-4)
