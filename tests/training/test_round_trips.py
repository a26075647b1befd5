"""Networks of every kind through the export: Keras against the ONNX file, the 8-bit file, the oldest ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgecnn_training.backend import start_keras

start_keras("to test", backend="tensorflow")

import keras  # noqa: E402  # started above
from edgecnn_training import loop, networks  # noqa: E402
from edgecnn_training.export import islands  # noqa: E402
from edgecnn_training.export.candidates import Candidate, Workshop  # noqa: E402
from edgecnn_training.export.container import Identity  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.quantize import Scheme  # noqa: E402
from edgecnn_training.pictures import Normalization, Pictures  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from keras import layers  # noqa: E402

from edgecnn import Classifier, plugins  # noqa: E402
from edgecnn.card import InputSpec  # noqa: E402
from edgecnn.errors import ModelError  # noqa: E402

FLOOR = Path(sys.prefix) / "onnxruntime-floor"
COUNT, CLASSES = 24, 4
ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "hard_sigmoid", "hard_swish", "tanh", "sigmoid"),
    *("softplus", "celu", "mish", "softsign", "PReLU", "PReLU shared"),
)


def randomise(model: keras.Model) -> None:
    """Statistics as of a trained network: fresh ones would hide a wrong folding."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, (layers.BatchNormalization, layers.PReLU)):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])


class Trip:
    """A network's files and what Keras says; logits are spread so that scores are neither all equal nor all 0 or 1."""

    def __init__(self, model: keras.Model, folder: Path, *, name: str = "net") -> None:
        randomise(model)
        shape = model.input_shape[1:]
        rng = np.random.default_rng(1)
        self.images = rng.integers(0, 256, (COUNT, *shape), np.uint8)
        normalization = Normalization((90.0, 120.0, 60.0)[: shape[2]], (50.0, 70.0, 40.0)[: shape[2]])
        spread = float(np.std(model.predict_on_batch(normalization(self.images)), axis=1).mean())
        model = networks.with_temperature(model, max(spread, 1e-3) / 2)
        self.keras_says = loop.keras_scorer(model, normalization)(self.images)
        folder.mkdir(exist_ok=True)
        spec = InputSpec(*shape)
        pictures = Pictures(self.images, np.arange(COUNT), np.arange(COUNT) % CLASSES)
        self.workshop = Workshop(folder, Identity(name, ("a", "b", "c", "d"), spec), pictures, pictures)
        self.exact = self.workshop.exact(to_onnx(model, spec, normalization))  # checks it, and opens it

    def int8(self, **options: object) -> Candidate:
        return self.workshop.quantized(Scheme("int8", **options))  # type: ignore[arg-type]

    @property
    def apart(self) -> float:
        return float(abs(self.exact.validation - self.keras_says).max())


def at_the_floor(trips: Sequence[Trip], folder: Path) -> list[np.ndarray]:
    """What the oldest ONNX Runtime says of the float32 and then of the int8 files."""
    if not FLOOR.is_dir():
        pytest.skip(f"needs the oldest ONNX Runtime in {FLOOR}; scripts/test puts it there")
    program = (
        "import sys, numpy as np\nfrom edgecnn import Classifier\n"
        "for images, path in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    np.save(path + '.npy', Classifier(path).scores(np.load(images)))\n"
        "import onnxruntime; print(onnxruntime.__version__)\n"
    )
    words: list[str] = []
    for trip in trips:
        for name in ("float32", "int8"):
            np.save(trip.workshop.folder / "images.npy", trip.images)
            words += [str(trip.workshop.folder / "images.npy"), str(trip.workshop.folder / f"{name}.onnx")]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(FLOOR), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.24")
    return [np.load(f"{path}.npy") for path in words[1::2]]


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Trip, Candidate]]:
    """All that we ship, at 28×28 in colour, as files."""
    root, made = tmp_path_factory.mktemp("architectures"), {}
    for name in plugins.names(networks.ARCHITECTURES):
        keras.utils.set_random_seed(0)
        trip = Trip(plugins.load(networks.ARCHITECTURES, name).build((28, 28, 3), CLASSES), root / name)
        made[name] = trip, trip.int8()
    return made


def test_every_architecture_computes_in_8_bits_from_the_first_layer_to_the_last(
    architectures: dict[str, tuple[Trip, Candidate]], tmp_path: Path
) -> None:
    found = {name: islands.float_operators(small.path, tmp_path) for name, (_, small) in architectures.items()}
    assert found == {name: {} for name in plugins.names(networks.ARCHITECTURES)}
    assert {name: trip.apart < 1e-5 for name, (trip, _) in architectures.items()} == dict.fromkeys(found, True)


def test_the_oldest_onnx_runtime_says_the_same_of_every_architecture(
    architectures: dict[str, tuple[Trip, Candidate]], tmp_path: Path
) -> None:
    trips = [trip for trip, _ in architectures.values()]
    here = [file.validation for trip, small in architectures.values() for file in (trip.exact, small)]
    for ours, theirs in zip(here, at_the_floor(trips, tmp_path), strict=True):
        assert abs(ours - theirs).max() <= 1e-5


def test_a_first_convolution_and_noisy_layers_that_are_to_stay_in_float_do(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    trip = Trip(plugins.load(networks.ARCHITECTURES, "micro").build((28, 28, 1), CLASSES), tmp_path / "net")
    folded = convolutions_of(trip)
    for chosen in (folded[:1], [folded[0], folded[2]], [folded[2], folded[3]]):
        file = trip.int8(float_nodes=tuple(chosen))
        assert islands.float_operators(file.path, tmp_path) == {"Conv": len(chosen)}
        assert abs(file.validation - trip.keras_says).max() < 0.15


def convolutions_of(trip: Trip) -> list[str]:
    """Names of the convolutions in the folded graph, which a scheme names."""
    graph = onnx.load(str(trip.workshop.folder / "folded.onnx")).graph
    return [node.name for node in graph.node if node.op_type == "Conv"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("MobileNetV2", 96),
        ("MobileNetV3Small", 96),
        ("EfficientNetB0", 64),
        ("ResNet50", 64),
        ("DenseNet121", 64),
        ("Xception", 96),
    ],
)
def test_networks_of_keras_applications_compute_in_8_bits_throughout(name: str, side: int, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    trip = Trip(networks.build(Recipe(arch=f"keras:{name}"), (side, side, 3), CLASSES), tmp_path / "net")
    assert trip.apart < 1e-5
    assert islands.float_operators(trip.int8().path, tmp_path) == {}


def test_every_activation_agrees_with_keras_and_quantises(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((9, 9, 3))
    branches = [activated(layers.Conv2D(4, 3)(image), name) for name in ACTIVATIONS]
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()(branches))
    trip = Trip(keras.Model(image, layers.Dense(CLASSES)(x)), tmp_path / "net")
    assert trip.apart < 1e-5
    file = trip.int8()
    assert abs(file.validation - trip.exact.validation).max() < 0.15
    # ONNX Runtime has no 8-bit kernels for these; of the others none is there: Sigmoid, Mul, LeakyRelu, Relu, Clip, Add
    known = {"Elu", "Erf", "Exp", "Max", "Min", "Neg", "Selu", "Softplus", "Softsign", "Sub", "Tanh"}
    found = islands.float_operators(file.path, tmp_path)
    assert set(found) <= known
    assert islands.told({name: found[name] for name in ("Elu", "Tanh")}) == "1 Elu, 2 Tanh"


def activated(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    if name.startswith("PReLU"):
        return layers.PReLU(shared_axes=[1, 2] if "shared" in name else None)(x)
    return layers.Activation(name)(x)


def small_network(draw: st.DrawFn) -> keras.Model:
    """Two to four blocks, a head, random weights and statistics."""
    keras.utils.set_random_seed(draw(st.integers(0, 99)))
    x = image = keras.Input((draw(st.integers(9, 20)), draw(st.integers(9, 20)), draw(st.sampled_from([1, 3]))))
    for _ in range(draw(st.integers(2, 4))):
        x = draw(st.sampled_from([convolved, convolved, pooled, joined]))(draw, x)
    end = draw(st.sampled_from(["average", "max", "flatten"]))
    heads = {"average": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D, "flatten": layers.Flatten}
    x = layers.Dropout(0.3)(heads[end]()(x))
    if draw(st.booleans()):
        x = layers.Dense(6, activation=draw(st.sampled_from(["relu", "tanh", "gelu"])))(x)
    return keras.Model(image, layers.Dense(CLASSES)(x))


def convolved(draw: st.DrawFn, x: keras.KerasTensor) -> keras.KerasTensor:
    """A convolution of some kind, perhaps padded before it, normalised and activated after it, in either order."""
    if draw(st.booleans()):
        x = layers.ZeroPadding2D(((0, draw(st.integers(0, 2))), (draw(st.integers(0, 2)), 1)))(x)
    kind = draw(st.sampled_from([layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D]))
    strides, dilation = draw(st.sampled_from([(1, 1), (2, 1), (1, 2)]))
    room = min(x.shape[1:3]) >= 2 * dilation + 1
    options = {
        "kernel_size": 3,
        "padding": draw(st.sampled_from(["valid", "same"])) if room else "same",
        "strides": strides,
        "dilation_rate": dilation,
        "use_bias": draw(st.booleans()),
    }
    if kind is not layers.DepthwiseConv2D:
        options["filters"] = draw(st.integers(3, 8))
    return finished(draw, kind(**options)(x))


def finished(draw: st.DrawFn, x: keras.KerasTensor) -> keras.KerasTensor:
    normalised = draw(st.sampled_from(["not", "before", "after"]))
    if normalised == "before":
        x = layers.BatchNormalization()(x)
    x = activated(x, draw(st.sampled_from(ACTIVATIONS)))
    return layers.BatchNormalization()(x) if normalised == "after" else x


def pooled(draw: st.DrawFn, x: keras.KerasTensor) -> keras.KerasTensor:
    kind = draw(st.sampled_from([layers.MaxPooling2D, layers.AveragePooling2D]))
    padding = draw(st.sampled_from(["valid", "same"])) if min(x.shape[1:3]) >= 3 else "same"
    return kind(draw(st.sampled_from([2, 3])), strides=draw(st.sampled_from([1, 2])), padding=padding)(x)


def joined(draw: st.DrawFn, x: keras.KerasTensor) -> keras.KerasTensor:
    other = finished(draw, layers.Conv2D(x.shape[3], 3, padding="same")(x))
    return draw(st.sampled_from([layers.Add, layers.Concatenate]))()([x, other])


def check_drawn_networks(count: int, folder: Path) -> None:
    trips: list[Trip] = []
    small: list[Candidate] = []

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        model = small_network(data.draw)
        trip = Trip(model, folder / str(len(trips)))
        assert trip.apart <= 1e-5, [layer.name for layer in model.layers]
        trips.append(trip)
        small.append(trip.int8())
        assert abs(small[-1].validation.sum(1) - 1).max() < 1e-5
        keras.backend.clear_session()

    check()
    here = [file.validation for trip, other in zip(trips, small, strict=True) for file in (trip.exact, other)]
    for ours, theirs in zip(here, at_the_floor(trips, folder), strict=True):
        assert abs(ours - theirs).max() <= 1e-4  # of a score: other kernels round elsewhere


def test_drawn_networks_agree_with_keras_quantise_and_load_in_the_oldest_onnx_runtime(tmp_path: Path) -> None:
    check_drawn_networks(8, tmp_path)


@pytest.mark.full
def test_many_drawn_networks_do(tmp_path: Path) -> None:
    check_drawn_networks(120, tmp_path)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.Resizing(4, 4, antialias=True), "ScaleAndTranslate (layer 'odd', Resizing)"),
        (layers.Discretization(bin_boundaries=[0.0, 1.0]), "Bucketize (layer 'odd', Discretization)"),
        (keras.Sequential([layers.Reshape((8, 24)), layers.LSTM(3, name="memory")]), "LSTM (layer 'memory', LSTM)"),
    ],
)
def test_a_layer_that_cannot_be_exported_is_named(layer: keras.Layer, message: str) -> None:
    layer.name = "odd"
    model = keras.Sequential([keras.Input((8, 8, 3)), layer, layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ModelError) as error:
        to_onnx(model, InputSpec(8, 8, 3), Normalization((0.0,) * 3, (1.0,) * 3))
    assert f"received {message}: replace the layer they come from" in str(error.value)


def test_a_dilated_convolution_keeps_its_padding_behind_a_zero_padding(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    padded = [layers.ZeroPadding2D(((0, 2), (2, 1))), layers.Conv2D(7, 3, padding="same", dilation_rate=2)]
    model = keras.Sequential([keras.Input((12, 11, 3)), *padded, layers.GlobalAveragePooling2D(), layers.Dense(4)])
    assert Trip(model, tmp_path / "net").apart < 1e-5


def test_a_grouped_convolution_and_a_flatten_become_plain_operators(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, groups=3),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    trip = Trip(model, tmp_path / "net")
    assert trip.apart < 1e-5
    kinds = {node.op_type for node in trip.exact.graph.graph.node}
    assert kinds <= {
        "Cast",
        "Sub",
        "Mul",
        "Transpose",
        "Conv",
        "MaxPool",
        "Reshape",
        "Gemm",
        "MatMul",
        "Add",
        "Softmax",
    }
    with Classifier(trip.int8().path) as opened:
        assert opened.scores(trip.images).shape == (COUNT, CLASSES)
