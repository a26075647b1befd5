"""The exported file: what it holds, what it computes, on which CPU and ONNX Runtime, and when there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import images_of, write_shapes

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import checkpoint, loop, networks  # noqa: E402
from edgecnn_training.confidence import tempered  # noqa: E402
from edgecnn_training.export import exporter  # noqa: E402
from edgecnn_training.export.candidates import Workshop  # noqa: E402
from edgecnn_training.export.container import Identity  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.quantize import Scheme  # noqa: E402
from edgecnn_training.pictures import Normalization, Pictures  # noqa: E402
from edgecnn_training.run import Run  # noqa: E402

from edgecnn import Classifier, plugins  # noqa: E402
from edgecnn.card import InputSpec, graph_hash  # noqa: E402

FLOOR = Path(sys.prefix) / "onnxruntime-floor"

SCORES_OF = (
    "import sys, numpy as np\n"
    "from edgecnn import Classifier\n"
    "model, images = Classifier(sys.argv[1]), np.load(sys.argv[2])\n"
    "np.save(sys.argv[3], model.scores(images))\n"
    "import onnxruntime; print(onnxruntime.__version__)\n"
)


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
    assert f"top-1 {top1 * 100:.2f} % of 18 test pictures, 95 % interval" in shown.out
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
    images = images_of(shapes)
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
    images = images_of(shapes)
    here = Classifier(exported["int8"]).scores(images)
    there = scores_elsewhere([emulator(), "-cpu", "Haswell"], exported["int8"], images, tmp_path)
    assert abs(here - there).max() <= 1e-6


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_oldest_supported_onnx_runtime_gives_the_same_scores(
    exported: dict[str, Path], shapes: Path, tmp_path: Path, precision: str
) -> None:
    if not FLOOR.is_dir():
        pytest.skip(f"needs the oldest ONNX Runtime in {FLOOR}; scripts/test puts it there")
    images = images_of(shapes)
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


def test_a_model_is_not_written_among_the_pictures(edgecnn: Edgecnn, trained: Path, shapes: Path) -> None:
    done = edgecnn("export", trained, "-o", shapes / "m.onnx")
    assert done.code == 2
    assert "--output must lie outside of the data" in done.err
    assert not (shapes / "m.onnx").exists()


def test_a_folder_under_the_temporary_name_is_told_before_any_work(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / ".m.onnx.partial").mkdir()
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx")
    assert done.code == 6
    assert f"first written as {tmp_path / '.m.onnx.partial'}, which is a folder: remove that" in done.err
    assert "parity" not in done.err
