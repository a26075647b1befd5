"""Dense layers of few bits: what is packed, when it is offered, and that other machines compute the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from edgecnn_training.backend import start_keras
from onnx import TensorProto, helper, numpy_helper

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import networks  # noqa: E402
from edgecnn_training.export import dense, quantize  # noqa: E402
from edgecnn_training.export.candidates import Candidate, Workshop  # noqa: E402
from edgecnn_training.export.container import Identity  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.quantize import Scheme  # noqa: E402
from edgecnn_training.pictures import Normalization, Pictures  # noqa: E402

from edgecnn import Classifier, plugins, prescan  # noqa: E402
from edgecnn.card import InputSpec  # noqa: E402

FLOOR = Path(sys.prefix) / "onnxruntime-floor"
SHAPE = (20, 20, 1)


def unpacked(packed: np.ndarray, scales: np.ndarray, inputs: int, bits: int) -> np.ndarray:
    """The weights again, float32 ``(N, K)``, as the operator's documentation says."""
    levels = packed if bits == 8 else np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:2], -1)
    blocks = (levels.astype(np.float32) - (1 << (bits - 1))) * scales.reshape(*packed.shape[:2], 1)
    return blocks.reshape(len(packed), -1)[:, :inputs]


def test_sixteen_levels_of_a_half_are_packed_two_to_a_byte_without_loss() -> None:
    packed, scales = dense.pack(np.arange(-8, 8, dtype=np.float32)[np.newaxis] / 2, 4)
    assert packed.tolist() == [[[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]]]
    assert scales.tolist() == [0.5]


@pytest.mark.parametrize(("bits", "share"), [(8, 1 / 254), (4, 1 / 10)])
def test_weights_are_kept_within_half_a_step_and_blocks_of_zeros_stay_zeros(bits: int, share: float) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 300)).astype(np.float32)
    rows[2] = 0
    packed, scales = dense.pack(rows, bits)
    assert packed.shape == (6, 2, 256 * bits // 8)
    again = unpacked(packed, scales, 300, bits)
    largest = np.abs(rows).max(1, keepdims=True)
    assert (np.abs(again - rows) <= share * largest * 1.001).mean() > 0.99  # a few large ones are cut at 4 bits
    assert not again[2].any()
    assert np.linalg.norm(again - rows) < {8: 0.01, 4: 0.13}[bits] * np.linalg.norm(rows)


def one_layer(transposed: bool, biased: bool, rows: np.ndarray) -> onnx.ModelProto:
    """A dense layer as tf2onnx and ONNX Runtime's fusion leave it."""
    weights = [numpy_helper.from_array(rows if transposed else np.ascontiguousarray(rows.T), "w")]
    names = ["x", "w"]
    if biased:
        weights.append(numpy_helper.from_array(np.arange(len(rows), dtype=np.float32), "b"))
        names.append("b")
    options = {"transB": 1} if transposed else {}
    node = helper.make_node("Gemm" if biased or transposed else "MatMul", names, ["y"], "dense", **options)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])
        for name, width in zip("xy", rows.shape[::-1], strict=True)
    )
    graph = helper.make_graph([node], "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("bits", dense.BITS)
@pytest.mark.parametrize(("transposed", "biased"), [(False, False), (False, True), (True, True), (True, False)])
def test_a_gemm_and_a_matmul_become_a_product_of_few_bits_that_is_near(
    transposed: bool, biased: bool, bits: int
) -> None:
    rng = np.random.default_rng(1)
    rows, x = rng.normal(size=(40, 70)).astype(np.float32), rng.normal(size=(5, 70)).astype(np.float32)
    model = dense.few_bits(one_layer(transposed, biased, rows), ["dense"], bits)
    assert [node.op_type for node in model.graph.node] == ["MatMulNBits"] + ["Add"] * biased
    assert "w" not in {tensor.name for tensor in model.graph.initializer}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    packed, scales = dense.pack(rows, bits)
    wanted = x @ unpacked(packed, scales, 70, bits).T + (np.arange(40) if biased else 0)
    assert abs(session.run(None, {"x": x})[0] - wanted).max() < 0.02 * abs(wanted).max()  # the inputs have 8 bits too


@pytest.mark.parametrize(
    ("shape", "names"),
    [((100, 100), ("dense",)), ((99, 101), ()), ((20, 1_000), ("dense",))],  # at least 10,000 weights
)
def test_layers_of_ten_thousand_weights_are_worth_it(shape: tuple[int, int], names: tuple[str, ...]) -> None:
    model = one_layer(True, True, np.ones(shape, np.float32))
    assert dense.large(model.graph) == names
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((60, 600), np.float32), "convolutions"))
    assert dense.large(model.graph) == (names if shape[1] == 1_000 else ())  # and 30 % of all


def test_a_scaled_product_is_left_alone() -> None:
    model = one_layer(True, True, np.ones((100, 100), np.float32))
    model.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.5))
    assert dense.large(model.graph) == ()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Candidate]:
    """An untrained lecture-a in float32, and with its dense layer in 8 and in 4 bits."""
    keras.utils.set_random_seed(0)
    model = plugins.load(networks.ARCHITECTURES, "lecture-a").build(SHAPE, 4)
    images = np.random.default_rng(0).integers(0, 256, (64, *SHAPE), np.uint8)
    pictures = Pictures(images, np.arange(64), np.arange(64) % 4)
    folder = tmp_path_factory.mktemp("dense")
    identity = Identity("net", ("a", "b", "c", "d"), InputSpec(*SHAPE))
    workshop = Workshop(folder, identity, pictures, pictures)
    exact = workshop.exact(to_onnx(model, InputSpec(*SHAPE), Normalization((120.0,), (70.0,))))
    nodes = dense.large(quantize.load(folder / "folded.onnx").graph)
    assert len(nodes) == 1
    schemes = [Scheme(f"int8 dense {bits}", dense_nodes=nodes, dense_bits=bits) for bits in dense.BITS]
    return [exact, *map(workshop.quantized, schemes)]


def test_such_files_pass_the_scan_and_name_their_operator_set(made: list[Candidate]) -> None:
    exact, *others = made
    for candidate in others:
        data = candidate.path.read_bytes()
        prescan.check(data)
        outline = prescan.outline(data)
        assert outline.opsets == {"ai.onnx": 17, "com.microsoft": 1}
        assert outline.operators["com.microsoft.MatMulNBits"] == 1
        assert abs(candidate.validation - exact.validation).max() < 0.15
        assert candidate.precision == "int8"
    assert others[1].size_bytes < 0.6 * others[0].size_bytes
    assert prescan.outline(exact.path.read_bytes()).opsets == {"ai.onnx": 17}


def test_such_files_give_the_same_scores_with_the_oldest_supported_onnx_runtime(
    made: list[Candidate], tmp_path: Path
) -> None:
    if not FLOOR.is_dir():
        pytest.skip(f"needs the oldest ONNX Runtime in {FLOOR}; scripts/test puts it there")
    images = np.random.default_rng(2).integers(0, 256, (20, *SHAPE), np.uint8)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy as np\nfrom edgecnn import Classifier\nimages = np.load(sys.argv[1])\n"
        "for path in sys.argv[2:]:\n    np.save(path + '.npy', Classifier(path).scores(images))\n"
        "import onnxruntime; print(onnxruntime.__version__)\n"
    )
    paths = [str(candidate.path) for candidate in made]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "images.npy"), *paths],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(FLOOR), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.24")
    for path in paths:
        assert abs(Classifier(path).scores(images) - np.load(f"{path}.npy")).max() <= 1e-5
