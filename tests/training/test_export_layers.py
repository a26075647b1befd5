"""What is said of each layer, what stays in float32 for it, and the candidates made of this machine's times."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from onnx import TensorProto, helper, numpy_helper

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import networks  # noqa: E402
from edgecnn_training.export import layers, mixed, quantize, timing  # noqa: E402
from edgecnn_training.export.candidates import Workshop, unlike  # noqa: E402
from edgecnn_training.export.container import Identity  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.layers import Layer  # noqa: E402
from edgecnn_training.export.quantize import Scheme  # noqa: E402
from edgecnn_training.pictures import Normalization, Pictures  # noqa: E402

from edgecnn import Classifier, plugins  # noqa: E402
from edgecnn.card import InputSpec  # noqa: E402

NAN = math.nan


def workshop_of(arch: str, folder: Path, shape: tuple[int, int, int] = (20, 20, 1)) -> Workshop:
    """A workshop with an untrained network in it; its graph lies in ``folded.onnx``."""
    keras.utils.set_random_seed(0)
    model = plugins.load(networks.ARCHITECTURES, arch).build(shape, 4)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):  # a bias of zeros would be left out
            layer.bias.assign(np.linspace(-0.1, 0.1, layer.units))
    images = np.random.default_rng(0).integers(0, 256, (32, *shape), np.uint8)
    pictures = Pictures(images, np.arange(32), np.arange(32) % 4)
    workshop = Workshop(folder, Identity(arch, ("a", "b", "c", "d"), InputSpec(*shape)), pictures, pictures)
    zero, one = (0.0,) * shape[2], (255.0,) * shape[2]
    workshop.exact(to_onnx(model, InputSpec(*shape), Normalization(zero, one)))
    return workshop


@pytest.mark.parametrize(("arch", "count", "dense"), [("micro", 6, 0), ("small", 10, 0), ("lecture-a", 4, 1)])
def test_each_layer_gets_its_noise_and_its_times(arch: str, count: int, dense: int, tmp_path: Path) -> None:
    workshop = workshop_of(arch, tmp_path)
    picture = np.zeros((1, 20, 20, 1), np.uint8)
    workshop.examine(picture, times=False)
    assert all(math.isnan(layer.float32_us) for layer in workshop.layers)
    workshop.examine(picture, times=True)
    assert len(workshop.layers) == count
    for layer in workshop.layers:
        assert 0 < layer.signal_to_noise_db <= 120
        assert layer.float32_us > 0
        assert layer.int8_us > 0
        assert math.isnan(layer.few_bits_us) == (not dense)
    assert not list(tmp_path.glob("*profile*"))


def test_marks_change_nothing_that_is_computed_and_find_what_was_fused(tmp_path: Path) -> None:
    workshop_of("small", tmp_path)
    marked = quantize.load(tmp_path / "folded.onnx")
    images = np.random.default_rng(3).integers(0, 256, (4, 20, 20, 1), np.uint8)
    with Classifier(tmp_path / "float32.onnx") as model:
        assert np.array_equal(model.scores(images), quantize.run(tmp_path / "folded.onnx", images))
    relus = [node.name for node in marked.graph.node if node.op_type == "Relu"]
    assert any(name.startswith("layer0:") for name in relus)
    assert timing.plain("layer12:net/conv") == "net/conv"


def layer(node: str, float32: float = NAN, int8: float = NAN, few: float = NAN) -> Layer:
    return Layer(node, "Conv", (8, 1, 3, 3), 40.0, float32, int8, few)


def test_a_layer_stays_in_float32_where_int8_is_slower_by_more_than_noise() -> None:
    found = [layer("a", 10, 20), layer("b", 10, 10.4), layer("c", 20, 10), layer("unmeasured")]
    assert layers.slower_in_int8(found) == ("a",)
    few = [layer("a", 90, 30, 20), layer("b", 90, 30, 40), layer("c", 90, 30, 20), layer("unmeasured")]
    assert layers.faster_in_few_bits(few, ("a", "b", "unmeasured")) == ("a",)


def test_the_table_and_the_file_say_what_was_not_measured() -> None:
    found = [layer("layer0:conv", 10, 20.26), layer("layer1:other, one")]
    first, second = list(csv.DictReader(layers.as_csv(found).splitlines()))
    assert first == {
        "layer": "conv",
        "operator": "Conv",
        "weights": "8×1×3×3",
        "signal_to_noise_db": "40.0",
        "float32_us": "10",
        "int8_us": "20.26",
        "few_bits_us": "",
    }
    assert (second["layer"], second["int8_us"]) == ("other, one", "")
    lines = layers.table(found).splitlines()
    assert "conv" in lines[1]
    assert "20.3 µs" in lines[1]
    assert lines[2].count("–") == 3


def chain(*operators: str) -> onnx.ModelProto:
    """A convolution, and nodes behind it, one reading the other."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Conv", ["x", "w"], ["t0"], "Conv", kernel_shape=[3, 3])]
    for number, operator in enumerate(operators):
        options = {"kernel_shape": [2, 2], "strides": [2, 2]} if operator == "MaxPool" else {}
        nodes.append(helper.make_node(operator, [f"t{number}"], [f"t{number + 1}"], operator, **options))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 10, 10])
    y = helper.make_tensor_value_info(f"t{len(operators)}", TensorProto.FLOAT, None)
    weights = numpy_helper.from_array(rng.normal(size=(4, 1, 3, 3)).astype(np.float32), "w")
    graph = helper.make_graph(nodes, "g", [x], [y], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def outputs(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(1, 1, 10, 10)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("operators", "after", "names"),
    [
        (("Relu", "MaxPool", "Abs"), ("MaxPool", "Relu", "Abs"), {"Conv", "Relu", "MaxPool"}),
        (("Clip", "MaxPool", "Abs"), ("MaxPool", "Clip", "Abs"), {"Conv", "Clip", "MaxPool"}),
        (("Relu", "MaxPool"), ("MaxPool", "Relu"), {"Conv", "Relu", "MaxPool"}),
        (("Relu", "Abs"), ("Relu", "Abs"), {"Conv", "Relu"}),
        (("Neg", "MaxPool"), ("Neg", "MaxPool"), {"Conv"}),  # the largest value does not stay the largest
        (("Relu", "AveragePool"), ("Relu", "AveragePool"), {"Conv", "Relu"}),
    ],
)
def test_an_activation_moves_behind_the_pooling_and_the_numbers_stay(
    operators: tuple[str, ...], after: tuple[str, ...], names: set[str]
) -> None:
    model = chain(*operators)
    if "AveragePool" in operators:
        model.graph.node[2].attribute.append(helper.make_attribute("kernel_shape", [2, 2]))
    changed, kept = mixed.in_float(model, ["Conv"])
    assert tuple(node.op_type for node in changed.graph.node) == ("Conv", *after)
    assert set(kept) == names
    assert np.array_equal(outputs(changed), outputs(model))


def test_an_activation_that_something_else_reads_too_stays_where_it_is() -> None:
    model = chain("Relu", "MaxPool")
    extra = helper.make_tensor_value_info("t1", TensorProto.FLOAT, None)
    model.graph.output.append(extra)
    changed, _ = mixed.in_float(model, ["Conv"])
    assert [node.op_type for node in changed.graph.node] == ["Conv", "Relu", "MaxPool"]


def optimized(path: Path, folder: Path) -> list[onnx.NodeProto]:
    """The nodes that ONNX Runtime makes of a file, without those that are for this CPU only."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(onnx.load(folder / "optimized.onnx").graph.node)


def test_behind_a_convolution_in_float32_no_pooling_is_left_in_8_bits(tmp_path: Path) -> None:
    workshop = workshop_of("lecture-a", tmp_path)
    workshop.examine(np.zeros((1, 20, 20, 1), np.uint8), times=False)
    first = layers.first_convolution(workshop.layers)
    made = workshop.quantized(Scheme("int8 first float", float_nodes=first))
    nodes = optimized(made.path, tmp_path)
    by_output = {name: node.op_type for node in nodes for name in node.output}
    pools = [by_output[node.input[0]] for node in nodes if node.op_type == "MaxPool"]
    assert sorted(pools) == ["Conv", "QLinearConv"]


def test_onnx_runtime_leaves_a_layer_in_float32_between_layers_in_int8(tmp_path: Path) -> None:
    workshop = workshop_of("micro", tmp_path)
    workshop.examine(np.zeros((1, 20, 20, 1), np.uint8), times=False)
    third = workshop.layers[2]
    made = workshop.quantized(Scheme("int8 mixed", float_nodes=(third.node,)))
    nodes = optimized(made.path, tmp_path)
    assert [node.op_type for node in nodes].count("QLinearConv") == 4
    (conv,) = (node for node in nodes if node.op_type == "Conv")
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    kinds = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    assert kinds[conv.input[1]] == (TensorProto.FLOAT, third.weights)


@pytest.mark.parametrize("few_bits", [False, True])
def test_before_a_dense_layer_that_is_not_int8_another_one_still_is(few_bits: bool, tmp_path: Path) -> None:
    workshop = workshop_of("lecture-a", tmp_path)
    workshop.examine(np.zeros((1, 20, 20, 1), np.uint8), times=False)
    last = (workshop.layers[-1].node,)
    float_last = Scheme("int8 mixed", float_nodes=last)
    made = workshop.quantized(Scheme("int8 few", dense_nodes=last, dense_bits=4) if few_bits else float_last)
    nodes = optimized(made.path, tmp_path)
    operators = {node.op_type for node in nodes}
    assert operators & {"QGemm", "MatMulIntegerToFloat"}  # and no weights that are dequantised for each picture
    weights = {tensor.name for tensor in onnx.load(tmp_path / "optimized.onnx").graph.initializer}
    assert not [node for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in weights]


def test_two_schemes_that_are_the_same_are_made_once() -> None:
    schemes = [Scheme("int8"), Scheme("int8 fast"), Scheme("int8 full", full_range=True)]
    assert [scheme.name for scheme in unlike(schemes)] == ["int8", "int8 full"]


def test_layers_are_shown_kept_in_the_run_and_given_to_programs(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    done = edgecnn("export", tmp_path / "run", "-o", tmp_path / "m.onnx", "--quantize", "none", "--layers")
    assert done.code == 0
    assert "alone in int8" in done.err
    assert f"layers: {tmp_path / 'run' / 'layers.csv'}" in done.err
    rows = list(csv.DictReader((tmp_path / "run" / "layers.csv").read_text(encoding="utf-8").splitlines()))
    record = json.loads(done.out)
    assert len(rows) == len(record["layers"]) == 6
    assert all(float(row["int8_us"]) > 0 for row in rows)
    assert [row["layer"] for row in rows] == [own["layer"] for own in record["layers"]]


def test_without_being_asked_export_writes_and_shows_no_layers(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--max-drop", "6")
    assert "layers" not in json.loads(done.out)
    assert "alone in int8" not in done.err
    assert not (trained / "layers.csv").exists()
    assert "int8 full" not in done.err


def test_for_this_machine_there_are_candidates_made_of_its_times(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--target", "host", "--max-drop", "6")
    assert done.code == 0
    assert "    int8 full" in done.err.replace("✓", " ")
    with Classifier(tmp_path / "m.onnx") as model:
        how = model.card.more.get("quantization")
        scheme = json.loads(done.out)["scheme"]
        assert (how is None) == (scheme in ("float32", "float16"))
        if isinstance(how, dict):
            assert how["weight_bits"] == (8 if scheme == "int8 full" else 7)
