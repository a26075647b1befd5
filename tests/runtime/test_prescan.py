from __future__ import annotations

import numpy as np
import onnx_bytes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_bytes import nested, number

from edgecnn import prescan
from edgecnn.card import KEY
from edgecnn.errors import ModelError
from edgecnn.prescan import TensorInfo

MODEL = onnx_bytes.color_model()
GRAPH = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))
# TensorProto: name "w", external_data {"location": "weights.bin"}, data_location EXTERNAL
EXTERNAL = nested(8, "w") + nested(13, nested(1, "location") + nested(2, "weights.bin")) + number(14, 1)


def read_all(data: bytes) -> None:
    prescan.check(data)
    prescan.read_metadata(data)
    prescan.outline(data)


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\1" * 50, b"hello world", b"PK\3\4" + b"\0" * 60]
)
def test_a_foreign_file_is_refused_with_the_remedy(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"not an ONNX file.*(edgecnn export|copy it again)"):
        prescan.check(data)


def test_an_empty_file_is_told_as_empty() -> None:
    with pytest.raises(ModelError, match=r"it is empty \(0 bytes\); copy it again"):
        prescan.check(b"")


def test_a_protobuf_message_without_a_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="it holds no graph"):
        prescan.check(number(1, 8))


def test_a_model_that_was_cut_off_anywhere_is_refused_or_has_lost_its_card() -> None:
    for length in range(len(MODEL)):
        try:
            prescan.check(MODEL[:length])
        except ModelError:
            continue
        assert KEY not in prescan.read_metadata(MODEL[:length]), length


@pytest.mark.parametrize(
    "graph",
    [
        nested(5, EXTERNAL),  # an initializer
        nested(15, nested(1, EXTERNAL)),  # the values of a sparse initializer
        nested(1, nested(4, "Constant") + nested(5, nested(1, "value") + nested(5, EXTERNAL))),  # an attribute
        nested(1, nested(4, "If") + nested(5, nested(6, nested(5, EXTERNAL)))),  # a graph in an attribute
        nested(5, nested(8, "w") + number(14, 1)),  # without saying where
    ],
)
def test_weights_outside_the_file_are_refused_wherever_they_hide(graph: bytes) -> None:
    with pytest.raises(ModelError, match=r"one file.*'w'|one file.*''"):
        prescan.check(onnx_bytes.model(graph))


def test_weights_outside_the_file_are_refused_in_functions_too() -> None:
    node = nested(7, nested(4, "Constant") + nested(5, nested(5, EXTERNAL)))
    with pytest.raises(ModelError, match="a model must be one file"):
        prescan.check(onnx_bytes.model(GRAPH) + nested(25, node))


def test_metadata_above_one_mebibyte_is_refused() -> None:
    prescan.check(onnx_bytes.model(GRAPH, {"notes": "x" * 1_000_000}))
    with pytest.raises(ModelError, match="metadata must be at most 1048576 bytes"):
        prescan.check(onnx_bytes.model(GRAPH, {"notes": "x" * 1_048_576}))


def test_graphs_within_graphs_have_a_limit() -> None:
    graph = GRAPH
    for _ in range(50):
        graph = nested(1, nested(4, "If") + nested(5, nested(6, graph)))
    with pytest.raises(ModelError, match="32 deep"):
        prescan.check(onnx_bytes.model(graph))


def test_metadata_is_read_as_written() -> None:
    metadata = {"a": "1", "ü": "x" * 500, "empty": ""}
    assert prescan.read_metadata(onnx_bytes.model(GRAPH, metadata)) == metadata


def test_metadata_that_is_not_utf8_is_damage() -> None:
    with pytest.raises(ModelError, match="not UTF-8"):
        prescan.read_metadata(nested(14, nested(1, b"\xff\xfe")))


def test_the_outline_tells_inputs_outputs_and_operators() -> None:
    outline = prescan.outline(MODEL)
    assert outline.inputs == (TensorInfo("image", "uint8", ("N", 8, 8, 3)),)
    assert outline.outputs == (TensorInfo("scores", "float32", ("N", 3)),)
    assert outline.operators == dict.fromkeys(["Cast", "Div", "MatMul", "ReduceMean", "Reshape", "Softmax"], 1)
    assert (outline.ir_version, dict(outline.opsets), outline.producer) == (8, {"ai.onnx": 17}, "edgecnn tests")


def test_weights_listed_as_inputs_are_not_told_as_inputs() -> None:
    graph = GRAPH + onnx_bytes.value_info(11, "weights", onnx_bytes.FLOAT, (3, 3))
    assert [tensor.name for tensor in prescan.outline(onnx_bytes.model(graph)).inputs] == ["image"]


def test_the_onnx_package_reads_the_same() -> None:
    onnx = pytest.importorskip("onnx", reason="the second method needs the onnx package, which the runtime does not")
    model = onnx.load_from_string(MODEL)
    onnx.checker.check_model(model, full_check=True)
    assert prescan.read_metadata(MODEL) == {entry.key: entry.value for entry in model.metadata_props}
    assert set(prescan.outline(MODEL).operators) == {node.op_type for node in model.graph.node}


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(MODEL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_model_is_read_or_refused_and_nothing_else(changes: list[tuple[int, int]]) -> None:
    data = bytearray(MODEL)
    for position, value in changes:
        data[position] = value
    try:
        read_all(bytes(data))
    except ModelError:
        return


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        prescan.check(data)


def test_a_large_weight_is_passed_over_without_being_copied() -> None:
    large = onnx_bytes.weight("large", np.zeros((500, 1000), np.float32))
    assert prescan.outline(onnx_bytes.model(GRAPH + large)).inputs[0].name == "image"
