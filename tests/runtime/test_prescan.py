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
from edgecnn.scan.contents import TensorInfo

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
        nested(1, nested(4, "Constant") + nested(5, nested(1, "value") + nested(5, EXTERNAL))),  # an attribute
        nested(1, nested(4, "Constant") + nested(5, nested(1, "value") + nested(10, EXTERNAL))),  # one of several
        nested(1, nested(4, "If") + nested(5, nested(6, nested(5, EXTERNAL)))),  # a graph in an attribute
        nested(5, nested(8, "w") + number(14, 1)),  # without saying where
        nested(5, nested(8, "w") + number(14, 2**32 + 1)),  # a reader of 32 bits takes that for 1
    ],
)
def test_weights_outside_the_file_are_refused_wherever_they_hide(graph: bytes) -> None:
    with pytest.raises(ModelError, match=r"one file.*'w'|one file.*''"):
        prescan.check(onnx_bytes.model(graph), allow_any_op=True)


def test_sparse_weights_functions_and_training_graphs_are_refused() -> None:
    sparse = nested(15, nested(1, EXTERNAL))
    with pytest.raises(ModelError, match=r"weights must be dense; .* export it again with `edgecnn export`"):
        prescan.check(onnx_bytes.model(GRAPH + sparse), allow_any_op=True)
    attribute = nested(5, nested(1, "sparse_value") + nested(22, nested(1, EXTERNAL)))
    with pytest.raises(ModelError, match="constants must be dense"):
        prescan.check(onnx_bytes.model(nested(1, nested(4, "Constant") + attribute)), allow_any_op=True)
    for field, what in ((25, "local functions"), (20, "training graphs")):
        with pytest.raises(ModelError, match=f"a model must be one graph; it has {what} too"):
            prescan.check(onnx_bytes.model(GRAPH) + nested(field, nested(1, "f")), allow_any_op=True)


def test_metadata_above_one_mebibyte_is_refused() -> None:
    prescan.check(onnx_bytes.model(GRAPH, {"notes": "x" * 1_000_000}))
    with pytest.raises(ModelError, match="at most 1,048,576 bytes of metadata; it has 1,048,587"):
        prescan.check(onnx_bytes.model(GRAPH, {"notes": "x" * 1_048_576}))


def test_graphs_within_graphs_have_a_limit() -> None:
    graph = GRAPH
    for _ in range(50):
        graph = nested(1, nested(4, "If") + nested(5, nested(6, graph)))
    with pytest.raises(ModelError, match="32 deep"):
        prescan.check(onnx_bytes.model(graph))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nested(1, nested(4, "Relu")) * 5_001, "at most 5,000 nodes; it has 5,001"),
        (onnx_bytes.weight("w", np.zeros(1, np.float32)) * 20_001, "at most 20,000 weights and constants"),
        (onnx_bytes.value_info(11, "x", 1, (1,)) * 101, "at most 100 inputs and outputs; it has 101"),
        (nested(1, nested(1, "") * 250_000), "at most 250,000 fields, it has more"),
        (
            nested(1, (nested(5, nested(1, "x") + nested(8, bytes(60_000)) + number(20, 7)))) * 5,
            "at most 250,000 fields",
        ),
        (
            nested(1, (nested(5, nested(1, "x") + nested(7, bytes(240_000)) + number(20, 6)))) * 5,
            "at most 250,000 fields",
        ),
        (nested(10, "x" * 8_400_000), "at most 8,388,608 bytes beside its weights; it has 8,400,"),
        (nested(1, nested(4, "x" * 4097)), "a name may have at most 4,096 bytes; the one at byte .* has 4,097"),
        (nested(1, nested(4, "Relu") + onnx_bytes.attribute("a", (1,) * 65_537)), "at most 65,536 here"),
        (nested(5, number(1, 1) * 9 + number(2, 1)), "at most 8 here"),
    ],
)
def test_numbers_of_parts_have_limits(graph: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        prescan.check(onnx_bytes.model(graph))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (number(1, 10**12) + number(2, 1) + nested(9, b"1234"), "1,000,000,000,000 numbers of 32 bits and has 4 bytes"),
        (number(1, 2**40) * 8 + number(2, 1) + nested(9, b""), "weights must be whole"),  # 2^320 numbers
        (number(1, 3) + number(2, 1) + nested(9, bytes(16)), "should have 3 numbers of 32 bits and has 16 bytes"),
        (number(1, 3) + number(2, 7) + nested(7, b"\1\2"), "should have 3 numbers of 64 bits and has 2 numbers"),
        (number(1, 3) + number(2, 1) + nested(4, bytes(8)), "should have 3 numbers of 32 bits and has 2 numbers"),
        (number(1, 1) + number(2, 1) + nested(4, bytes(4)) + nested(9, bytes(4)), "weights must be whole"),
        (number(1, -1) + number(2, 1), r"a known type and shape; '' has shape \(-1,\)"),
        (number(1, 1) + number(2, 8) + nested(6, "text"), "has type 8"),
        (number(1, 1) + number(2, 2**32 + 1) + nested(9, bytes(4)), "has type 4294967297"),
    ],
)
def test_weights_must_be_there_in_the_length_they_declare(tensor: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        prescan.check(onnx_bytes.model(GRAPH + nested(5, tensor)), allow_any_op=True)


@pytest.mark.parametrize(
    "tensor",
    [
        number(1, 2) + number(2, 1) + nested(4, bytes(8)),
        number(1, 2) + number(2, 7) + number(7, 1) * 2,  # not packed
        nested(1, b"\2\1") + number(2, 1) + nested(9, bytes(8)),  # a packed shape
        number(1, 0) + number(2, 1),
        number(2, 10) + number(5, 0x3C00),
        number(1, 3) + number(2, 22) + nested(9, bytes(2)),  # two numbers a byte
    ],
)
def test_weights_may_be_stored_as_the_format_allows(tensor: bytes) -> None:
    prescan.check(onnx_bytes.model(GRAPH + nested(5, nested(8, "other") + tensor)))


LOOP = nested(1, nested(1, "logits") + nested(2, "x") + nested(4, "Loop"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # the last one of two counts for ONNX Runtime, the first one for a reader that stops there
        (onnx_bytes.model(GRAPH + nested(1, nested(4, "Relu") + nested(4, "Loop"))), "field 4 .* is there twice"),
        (onnx_bytes.model(GRAPH) + nested(7, LOOP), "field 7 .* is there twice"),
        (onnx_bytes.model(GRAPH + nested(1, onnx_bytes.int_attribute("a", 1) * 2)), "the attribute 'a' twice"),
        (onnx_bytes.model(GRAPH) + nested(8, number(2, 17)), "imports the operators of 'ai.onnx' twice"),
        (onnx_bytes.model(GRAPH + onnx_bytes.weight("full", np.zeros(1, np.float32))), "tensor 'full' is there twice"),
        # a reader of 32 bits takes this tag for field 7
        (onnx_bytes.model(GRAPH) + onnx_bytes.varint(2**32 + (7 << 3 | 2)) + b"\0", "not an ONNX file .tag 4294967354"),
        (onnx_bytes.model(GRAPH) + b"\2\0", "not an ONNX file .tag 2 "),  # field 0
        (onnx_bytes.model(GRAPH) + b"\x7b\x7c", "not an ONNX file .tag 123 "),  # a group
        (onnx_bytes.model(GRAPH + nested(1, number(4, 1))), "is there twice or of another type"),
    ],
)
def test_what_two_readers_might_understand_otherwise_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        prescan.check(data, allow_any_op=True)


def test_operators_that_are_not_known_are_refused_by_name_with_the_way_round() -> None:
    foreign = nested(1, nested(4, "Scaler") + nested(7, "ai.onnx.ml"))
    with pytest.raises(
        ModelError,
        match=r"operators must be among the \d+ that edgecnn knows; received Loop, ai\.onnx\.ml\.Scaler: export the "
        r"model again with edgecnn, or add --allow-any-op \(in Python allow_any_op=True\) if you trust it",
    ):
        prescan.check(onnx_bytes.model(GRAPH + LOOP + foreign))
    inner = nested(1, nested(4, "Relu") + nested(5, nested(1, "body") + nested(6, LOOP) + number(20, 5)))
    with pytest.raises(ModelError, match="received Loop:"):
        prescan.check(onnx_bytes.model(GRAPH + inner))
    many = b"".join(nested(1, nested(4, f"Op{place:02}")) for place in range(15))
    with pytest.raises(ModelError, match=r"received Op00, .*, Op09 and 5 more:"):
        prescan.check(onnx_bytes.model(GRAPH + many))


def test_an_operator_set_that_is_not_known_is_refused_with_the_way_round() -> None:
    for opset in (12, 22):
        with pytest.raises(ModelError, match=f"operator set {opset} .13 to 21 are known.: .*--allow-any-op"):
            prescan.check(onnx_bytes.model(GRAPH, opset=opset))
        with pytest.warns(UserWarning, match=f"operator set {opset}"):
            prescan.check(onnx_bytes.model(GRAPH, opset=opset), allow_any_op=True)


def test_any_operator_may_be_allowed_with_a_warning_and_all_other_limits() -> None:
    with pytest.warns(UserWarning, match="operators that edgecnn does not know, Loop: nothing limits their time"):
        prescan.check(onnx_bytes.model(GRAPH + LOOP), allow_any_op=True)
    after = onnx_bytes.node("Relu", ["x"], "y")  # of what Loop gives, nobody knows the size
    with pytest.warns(UserWarning, match="Loop"):
        prescan.check(onnx_bytes.model(GRAPH + LOOP + after), allow_any_op=True)
    large = onnx_bytes.node("Expand", ["logits", "sides"], "y") + onnx_bytes.weight(
        "sides", np.array([10**6, 10**6, 1])
    )
    with pytest.raises(ModelError, match="numbers at a time"):
        prescan.check(onnx_bytes.model(GRAPH + LOOP + large), allow_any_op=True)


def test_without_such_operators_allowing_them_changes_nothing() -> None:
    prescan.check(MODEL, allow_any_op=True)  # a warning would be an error here
    with pytest.raises(ModelError, match="must read what the graph gives before it; it reads 'nothing'"):
        prescan.check(onnx_bytes.model(GRAPH + onnx_bytes.node("Relu", ["nothing"], "y")), allow_any_op=True)


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
