"""The exported file: what it holds, what it computes, on which CPU and ONNX Runtime, and when there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import write_shapes

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import checkpoint, loop, networks  # noqa: E402
from edgecnn_training.confidence import tempered  # noqa: E402
from edgecnn_training.export import exporter, gate  # noqa: E402
from edgecnn_training.export.candidates import Workshop  # noqa: E402
from edgecnn_training.export.container import Identity  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.quantize import Scheme  # noqa: E402
from edgecnn_training.pictures import Normalization, Pictures  # noqa: E402
from edgecnn_training.run import Run  # noqa: E402

from edgecnn import Classifier, plugins  # noqa: E402
from edgecnn.card import InputSpec, graph_hash  # noqa: E402
from edgecnn.decode import decode  # noqa: E402
from edgecnn.errors import ModelError  # noqa: E402
from edgecnn.preprocess import fit_image  # noqa: E402
from edgecnn.self_test import picture  # noqa: E402

FLOOR = Path(sys.prefix) / "onnxruntime-floor"

SCORES_OF = (
    "import sys, numpy as np\n"
    "from edgecnn import Classifier\n"
    "model, images = Classifier(sys.argv[1]), np.load(sys.argv[2])\n"
    "np.save(sys.argv[3], model.scores(images))\n"
    "import onnxruntime; print(onnxruntime.__version__)\n"
)


def pictures(folder: Path) -> np.ndarray:
    return np.stack([fit_image(decode(p.read_bytes()), 20, 20, 1) for p in sorted(folder.rglob("*.png"))])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_names_types_opset_and_versions_are_what_the_design_says(exported: dict[str, Path], precision: str) -> None:
    model = onnx.load(str(exported[precision]))
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    (image,), (scores,) = model.graph.input, model.graph.output
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [0, 20, 20, 1]
    assert (scores.name, scores.type.tensor_type.elem_type) == ("scores", onnx.TensorProto.FLOAT)
    assert [d.dim_value for d in scores.type.tensor_type.shape.dim] == [0, 3]
    assert {v.type.tensor_type.shape.dim[0].dim_param for v in (image, scores)} == {"N"}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_batch_normalisation_is_folded_and_softmax_is_left_in_float(exported: dict[str, Path], precision: str) -> None:
    graph = onnx.load(str(exported[precision])).graph
    operators = Counter(node.op_type for node in graph.node)
    assert operators["Conv"] == 5  # micro's
    assert operators["Softmax"] == 1
    assert not operators["BatchNormalization"]
    assert operators["Mul"] == 1  # of the scaling; none is left of batch normalisation
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    assert softmax.output[0] == "scores"
    by_output = {name: node.op_type for node in graph.node for name in node.output}
    assert by_output[softmax.input[0]] not in ("QuantizeLinear", "DequantizeLinear")


def test_int8_weights_are_signed_per_channel_and_within_seven_bits(exported: dict[str, Path]) -> None:
    model = onnx.load(str(exported["int8"]))
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = {n: v for n, v in values.items() if v.dtype == np.int8 and v.ndim == 4}
    assert len(weights) == 5
    assert all(abs(v.astype(int)).max() <= 64 for v in weights.values())
    dequantized = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in weights]
    for node in dequantized:
        assert len(values[node.input[1]]) == weights[node.input[0]].shape[0]
    activations = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert activations
    assert all(values[node.input[2]].dtype == np.uint8 for node in activations)


def test_the_card_says_what_was_measured(exported: dict[str, Path], trained: Path) -> None:
    for precision, path in exported.items():
        card = Classifier(path).card
        run = Run.open(trained)
        assert (card.name, card.labels, card.precision) == ("shapes", run.info.labels, precision)
        assert card.input == run.info.input
        assert card.graph_sha256 == graph_hash(path.read_bytes())
        accuracy = card.more["accuracy"]
        assert isinstance(accuracy, dict)
        assert (accuracy["n"], accuracy["split"], accuracy["data_hash"]) == (18, "test", run.info.data_hash)
        assert (card.more["parameters"], card.more["macs"]) == (
            run.info.complexity.parameters,
            run.info.complexity.macs,
        )
        assert str(Path.home()) not in json.dumps(card.more["provenance"])


def test_inspect_tells_the_accuracy_in_a_sentence(edgecnn: Edgecnn, exported: dict[str, Path]) -> None:
    shown = edgecnn("inspect", exported["int8"], terminal=True)
    top1 = json.loads(edgecnn("inspect", exported["int8"]).out)["card"]["accuracy"]["top1"]
    assert f"top-1 {top1:.2%} of 18 test pictures, 95 % interval" in shown.out
    assert "before quantisation" in shown.out


def test_accuracy_in_the_card_is_that_of_the_file_on_the_test_pictures(
    exported: dict[str, Path], trained: Path, shapes: Path
) -> None:
    rows = [line.split(",") for line in (trained / "splits.csv").read_text().splitlines()[1:]]
    test = [(label, name) for _, split, label, name in rows if split == "test"]
    for path in exported.values():
        with Classifier(path) as model:
            right = sum(model.predict(shapes / name).label == label for label, name in test)
            assert model.card.more["accuracy"]["top1"] == right / len(test)  # type: ignore[index, call-overload]


def test_float32_agrees_with_keras_from_the_file_to_the_score(
    exported: dict[str, Path], trained: Path, shapes: Path
) -> None:
    run = Run.open(trained)
    images = pictures(shapes)
    model = Classifier(exported["float32"])
    keras_says = loop.keras_scorer(checkpoint.best(run.checkpoints).load(), run.info.normalization)(images)
    keras_says = tempered(keras_says, model.card.more["calibration"]["temperature"])
    file_says = model.scores(images)
    assert abs(file_says - keras_says).max() < 1e-5
    assert abs(file_says.sum(1) - 1).max() < 1e-5
    by_path = [Classifier(exported["float32"]).predict(p).scores for p in sorted(shapes.rglob("*.png"))[:20]]
    assert abs(np.stack(by_path) - keras_says[:20]).max() < 1e-5


@pytest.mark.parametrize("name", plugins.names(networks.ARCHITECTURES))
@pytest.mark.parametrize("shape", [(20, 20, 1), (33, 28, 3)])
def test_each_architecture_exports_within_1e_5_and_quantises(
    name: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    model = plugins.load(networks.ARCHITECTURES, name).build(shape, 4)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # fresh statistics would hide a wrong folding
            gamma, beta, mean, variance = (rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights())
            layer.set_weights([gamma, beta - 1, mean - 1, variance])
    normalization = Normalization((90.0, 120.0, 60.0)[: shape[2]], (50.0, 70.0, 40.0)[: shape[2]])
    images = rng.integers(0, 256, (32, *shape), np.uint8)
    graph = to_onnx(model, InputSpec(*shape), normalization)
    identity = Identity(name, ("a", "b", "c", "d"), InputSpec(*shape))
    pictures = Pictures(images, np.arange(32), np.arange(32) % 4)
    workshop = Workshop(tmp_path, identity, pictures, pictures)
    exact = workshop.exact(graph)
    assert abs(exact.validation - loop.keras_scorer(model, normalization)(images)).max() < 1e-5
    small, half = workshop.quantized(Scheme("int8")), workshop.half(exact)
    assert abs(small.validation - exact.validation).max() < 0.15
    assert abs(half.validation - exact.validation).max() < 0.01


def scores_elsewhere(command: list[str], model: Path, images: np.ndarray, folder: Path, **extra: str) -> np.ndarray:
    np.save(folder / "images.npy", images)
    arguments = [str(model), str(folder / "images.npy"), str(folder / "scores.npy")]
    done = subprocess.run(
        [*command, sys.executable, "-c", SCORES_OF, *arguments],
        env=os.environ | extra,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "PYTHONPATH" in extra:
        assert done.stdout.startswith("1.24")
    return np.load(folder / "scores.npy")


def emulator() -> str:
    path = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if path is None or os.uname().machine != "x86_64":
        pytest.skip("needs qemu-x86_64 on an x86-64 machine (Debian: apt install qemu-user-static)")
    return path


def test_int8_gives_the_same_scores_on_an_emulated_cpu_without_vnni(
    exported: dict[str, Path], shapes: Path, tmp_path: Path
) -> None:
    images = pictures(shapes)
    here = Classifier(exported["int8"]).scores(images)
    there = scores_elsewhere([emulator(), "-cpu", "Haswell"], exported["int8"], images, tmp_path)
    assert abs(here - there).max() <= 1e-6


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_oldest_supported_onnx_runtime_gives_the_same_scores(
    exported: dict[str, Path], shapes: Path, tmp_path: Path, precision: str
) -> None:
    if not FLOOR.is_dir():
        pytest.skip(f"needs the oldest ONNX Runtime in {FLOOR}; scripts/test puts it there")
    images = pictures(shapes)
    here = Classifier(exported[precision]).scores(images)
    there = scores_elsewhere([], exported[precision], images, tmp_path, PYTHONPATH=str(FLOOR))
    assert abs(here - there).max() <= 1e-6


def test_export_tells_parity_accuracy_and_the_next_command(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--max-drop", "6")
    assert done.code == 0
    assert "parity with Keras: 180 pictures, largest difference" in done.err
    assert "✓ int8" in done.err
    assert f"next:  edgecnn predict {tmp_path / 'm.onnx'} photo.jpg" in done.err
    record = json.loads(done.out)
    assert (record["type"], record["precision"], record["n"]) == ("export", "int8", 18)
    assert record["bytes"] == (tmp_path / "m.onnx").stat().st_size
    assert Classifier(tmp_path / "m.onnx").card.name == "m"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.fixture
def lossy(trained: Path, tmp_path: Path) -> Path:
    """A run whose network int8 cannot hold: one channel is a million times the others.

    A dense layer's weights are scaled so that the range of its input, calibrated on all channels, leaves nothing of the
    small ones. The network itself computes what it did.
    """
    path = tmp_path / "lossy"
    shutil.copytree(trained, path)
    run = Run.open(path)
    model = checkpoint.best(run.checkpoints).load()
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    dense = model.layers[-1]
    gamma, beta, mean, variance = convolutions[-1].get_weights()
    kernel, bias = dense.get_weights()
    factor = np.ones(len(gamma), np.float32)
    factor[0] = 1e4
    convolutions[-1].set_weights([gamma * factor, beta * factor, mean, variance])
    dense.set_weights([kernel / factor[:, None], bias])
    loop.compile_model(model, run.info.recipe, 36)
    checkpoint.save(run.checkpoints, model, step=99, epoch=4, validation_top1=1.1)
    return path


def test_what_int8_cannot_hold_ships_in_float16_and_the_table_says_why(
    edgecnn: Edgecnn, lossy: Path, tmp_path: Path
) -> None:
    done = edgecnn("export", lossy, "-o", tmp_path / "m.onnx")
    assert done.code == 0
    rows = {line.strip("✓ ").split("  ")[0]: line for line in done.err.splitlines() if " KB " in line}
    assert len(rows) == 9
    assert all("points on validation" in row for name, row in rows.items() if name.startswith("int8"))
    assert "✓ float16" in done.err
    card = Classifier(tmp_path / "m.onnx").card
    assert card.precision == "float16"
    assert card.more["accuracy"]["loss"]["measured"] == 0  # type: ignore[index, call-overload]


def none_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "passes", lambda loss, max_drop, *, prove: False)


def test_auto_writes_float32_and_says_why_where_nothing_passes_on_test(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_passes(monkeypatch)
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--max-drop", "6")
    assert done.code == 0
    assert "✓ float32" in done.err
    assert "more than --max-drop 6" in done.err
    assert Classifier(tmp_path / "m.onnx").card.precision == "float32"
    assert json.loads(done.out)["loss"] is None


def test_an_explicit_int8_that_loses_too_much_is_exit_7_and_leaves_the_older_file(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_passes(monkeypatch)
    (tmp_path / "m.onnx").write_bytes(b"the older file")
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--quantize", "int8")
    assert done.code == 7
    assert "nothing was written" in done.err
    assert (tmp_path / "m.onnx").read_bytes() == b"the older file"


def test_a_proof_that_the_test_pictures_cannot_give_ends_in_float32_and_says_how_many_it_takes(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--prove", "--max-drop", "6")
    assert done.code == 0
    assert "✓ float32" in done.err
    assert "note: to prove --max-drop 6 takes" in done.err
    assert "there are 18: hold out more, or raise --max-drop" in done.err


def test_float16_keeps_its_weights_in_half_the_bytes(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    for precision in ("none", "float16"):
        options = ("-o", tmp_path / f"{precision}.onnx", "--quantize", precision, "--max-drop", "6")
        assert edgecnn("export", trained, *options).code == 0
    small, large = Classifier(tmp_path / "float16.onnx"), tmp_path / "none.onnx"
    assert small.card.precision == "float16"
    weights = 4 * int(small.card.more["parameters"])  # type: ignore[call-overload]
    assert large.stat().st_size - small.path.stat().st_size > 0.4 * weights
    onnx.checker.check_model(onnx.load(str(small.path)), full_check=True)


def resealed(path: Path, change: Callable[[onnx.ModelProto], None], to: Path) -> Path:
    """A changed file whose card has the hash of the change, so that only the self-test can find it."""
    model = onnx.load(str(path))
    change(model)
    card = json.loads(model.metadata_props[0].value)
    model.metadata_props[0].value = ""
    card["graph_sha256"] = graph_hash(model.SerializeToString())
    model.metadata_props[0].value = json.dumps(card)
    to.write_bytes(model.SerializeToString())
    return to


def test_a_changed_file_is_refused_by_its_hash(exported: dict[str, Path], tmp_path: Path) -> None:
    model = bytearray(exported["int8"].read_bytes())
    where = model.index(onnx.load(str(exported["int8"])).graph.initializer[0].raw_data)
    model[where] ^= 0x40
    (tmp_path / "m.onnx").write_bytes(model)
    with pytest.raises(ModelError, match="it was changed after the export"):
        Classifier(tmp_path / "m.onnx")


def largest_weight(model: onnx.ModelProto) -> None:
    """One byte of the weights becomes its opposite: the largest one of the last layer."""
    values = {t.name: t for t in model.graph.initializer}
    tensor = [t for t in values.values() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2][-1]
    weights = bytearray(tensor.raw_data)
    at = int(np.abs(np.frombuffer(tensor.raw_data, np.int8).astype(int)).argmax())
    weights[at] = (256 - weights[at]) % 256
    tensor.raw_data = bytes(weights)


def exchanged_labels(model: onnx.ModelProto) -> None:
    """A doctored graph: the scores of two classes change places."""
    (node,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    order = onnx.numpy_helper.from_array(np.array([1, 0, 2]), "order")
    model.graph.initializer.append(order)
    swap = onnx.helper.make_node("Gather", [node.input[0], "order"], ["swapped"], axis=1)
    position = list(model.graph.node).index(node)
    node.input[0] = "swapped"
    nodes = [*model.graph.node[:position], swap, *model.graph.node[position:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@pytest.mark.parametrize("change", [largest_weight, exchanged_labels])
def test_a_change_that_the_hash_was_made_to_fit_fails_the_self_test_at_load(
    edgecnn: Edgecnn,
    exported: dict[str, Path],
    tmp_path: Path,
    change: Callable[[onnx.ModelProto], None],
) -> None:
    path = resealed(exported["int8"], change, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="must compute here what it computed where it was exported; ONNX Runtime 1"):
        Classifier(path)
    Classifier(path, self_test=False).close()
    done = edgecnn("predict", path, "test:")
    assert done.code == 4
    assert "disagrees with the card about" in done.err


def test_the_self_test_asks_about_different_labels_with_scores_that_can_move(exported: dict[str, Path]) -> None:
    for path in exported.values():
        test = Classifier(path).card.more["self_test"]
        assert isinstance(test, dict)
        assert len(test["seeds"]) == 12  # type: ignore[arg-type]
        firsts = Counter(own[0][0] for own in test["expected"])  # type: ignore[index, union-attr]
        assert len(firsts) >= 2
        assert sum(own[0][1] < 0.95 for own in test["expected"]) >= 6  # type: ignore[index, union-attr, operator]


@pytest.mark.parametrize("fault", ["batch-norm in training mode", "swapped channels", "calibrated at the wrong scale"])
def test_what_an_export_may_break_shows_against_keras(fault: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    shape, labels = (24, 24, 3), ("a", "b", "c", "d")
    images = np.stack([picture(seed, *shape) for seed in range(256)])
    kinds = images.mean((1, 2)).argmax(1) + (images.std((1, 2, 3)) > 55)  # something that can be learned
    model = plugins.load(networks.ARCHITECTURES, "micro").build(shape, 4)
    normalization = Normalization((110.0, 110.0, 110.0), (70.0, 70.0, 70.0))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(normalization(images), kinds, epochs=12, batch_size=16, verbose=0)
    known = Pictures(images, np.arange(len(images)), kinds)
    keras_says = loop.keras_scorer(model, normalization)(images)
    spec = InputSpec(*shape)
    workshop = Workshop(tmp_path, Identity("m", labels, spec), known, known)
    workshop.exact(to_onnx(model, spec, normalization))
    assert gate.disagreement(workshop.quantized(Scheme("int8")).validation, keras_says) == ""
    if fault == "calibrated at the wrong scale":
        dark = Pictures((images / 255).round().astype(np.uint8), known.rows, kinds)
        workshop = Workshop(tmp_path, Identity("m", labels, spec), dark, known)
        broken = workshop.quantized(Scheme("int8"))
    else:
        broken = workshop.exact(to_onnx(broken_model(model, fault), spec, normalization))
    assert "of 256 pictures only, where 90 % are needed" in gate.disagreement(broken.validation, keras_says)


def broken_model(model: keras.Model, fault: str) -> keras.Model:
    """The network with a mistake that an exporter might make."""
    image = keras.Input(model.input_shape[1:])
    if fault == "swapped channels":
        return keras.Model(image, model(image[..., ::-1]))
    rng, clone = np.random.default_rng(1), keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for layer in clone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # statistics of the batch at hand, not those kept
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta, mean + rng.normal(0, 1, mean.shape), variance * 4])
    return clone


def test_a_file_that_disagrees_with_keras_is_not_written(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = Normalization((0.0,), (1.0,))  # as if the scaling had been forgotten
    monkeypatch.setattr(exporter, "to_onnx", lambda model, spec, normalization: to_onnx(model, spec, swapped))
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx")
    assert done.code == 4
    assert "must agree with Keras within 0.0001" in done.err
    assert not list(tmp_path.iterdir())


NETWORK = """
import keras

{decorator}
class Own(keras.layers.Layer):
    def call(self, x):
        return {result}

def build(input_shape, classes):
    image = keras.Input(input_shape)
    x = Own()(keras.layers.Conv2D(4, 3)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes)(x))
"""
REGISTER = "@keras.saving.register_keras_serializable()"


def network(path: Path, result: str, decorator: str = REGISTER) -> Path:
    path.write_text(NETWORK.format(decorator=decorator, result=result))
    return path


def test_a_network_whose_scores_depend_on_the_rest_of_the_batch_is_refused(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path
) -> None:
    path = network(tmp_path / "net.py", "x - keras.ops.mean(x, axis=0, keepdims=True)")
    assert edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", path, "--epochs", "1").code == 0
    done = edgecnn("export", tmp_path / "run", "-o", tmp_path / "m.onnx")
    assert done.code == 4
    assert "must not depend on the others in its batch" in done.err
    assert not (tmp_path / "m.onnx").exists()


def test_an_architecture_with_a_layer_of_its_own_trains_and_exports(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.py", "keras.ops.relu(2 * x)")
    assert edgecnn("train", shapes, "--run", "run", "--arch", "net.py", "--epochs", "1").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert edgecnn("export", tmp_path / "run", "-o", "m.onnx", "--quantize", "none").code == 0


def test_a_layer_that_keras_cannot_rebuild_is_told_with_the_remedy(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path
) -> None:
    path = network(tmp_path / "net.py", "keras.ops.relu(x)", decorator="")
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", path, "--epochs", "1")
    assert done.code == 3
    assert "decorate the architecture's own ones" in done.err
    assert not (tmp_path / "run").exists()  # told before the training, not after it


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 3, "'nowhere' does not exist"),
        (("RUN", "-o", "model.tflite"), 2, "must be a file that ends in .onnx"),
        (("RUN", "-o", "nowhere/m.onnx"), 2, "must lie in a folder that exists"),
        (("RUN", "--quantize", "int4"), 2, "--quantize must be one of auto, int8, float16, none; received 'int4'"),
        (("RUN", "--target", "pi9"), 2, "--target must be one of any, host, pi3, pi4, pi5, gpu; received 'pi9'"),
        (("RUN", "--prove", "--max-drop", "0"), 2, "--prove needs a --max-drop above 0"),
        (("RUN", "--max-drop", "-1"), 2, "--max-drop must be 0 to 100"),
        (("RUN", "--max-drop", "nan"), 2, "--max-drop must be 0 to 100"),
        (("RUN", "--data", "nowhere"), 3, "there is no 'nowhere'"),
        (("RUN", "--name", "a\tb"), 2, "--name must be printable"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(
    edgecnn: Edgecnn,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = edgecnn("export", *(str(trained) if argument == "RUN" else argument for argument in arguments))
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_export_with_other_data_than_the_run_was_trained_on_is_refused(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    other = write_shapes(tmp_path / "other", each=10, seed=9)
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--data", other)
    assert done.code == 3
    assert "was trained on other data than" in done.err


def test_data_that_moved_is_named_with_data(edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "moved")
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--data", tmp_path / "moved", "--quantize", "none")
    assert done.code == 0
