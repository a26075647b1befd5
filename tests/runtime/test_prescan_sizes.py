"""Small files that ask for much memory or time: what a graph needs is worked out before ONNX Runtime gets it."""

from __future__ import annotations

import itertools
import re

import numpy as np
import onnx_bytes
import pytest
from onnx_bytes import attribute, node, weight

from edgecnn import prescan
from edgecnn.errors import ModelError
from edgecnn.scan import contents, sizes

GRAPH = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))
TOO_LARGE = (
    r"a model may need at most 134,217,728 numbers at a time for one picture; with the node '\w+' \(\w+\) it needs"
)


def check(nodes: bytes) -> None:
    prescan.check(onnx_bytes.model(GRAPH + nodes))


def ints(name: str, *numbers: int) -> bytes:
    return weight(name, np.array(numbers, np.int64))


def single(name: str, number: object) -> bytes:
    return weight(name, np.array(number, np.float32))


LARGE = {
    "Expand": node("Expand", ["logits", "n"], "y") + ints("n", 100_000_000, 3),
    "Tile": node("Tile", ["logits", "n"], "y") + ints("n", 50_000, 50_000),
    "ConstantOfShape": node("ConstantOfShape", ["n"], "y") + ints("n", 2**40),
    "Pad": node("Pad", ["logits", "n"], "y") + ints("n", 0, 2**31, 0, 0),
    "Resize": node("Resize", ["unit", "", "n"], "y") + weight("n", np.array([1, 2000, 2000, 1], np.float32)),
    "Resize to": node("Resize", ["unit", "", "", "n"], "y") + ints("n", 1, 1, 2**30, 1),
    "Range": node("Range", ["from", "to", "by"], "y") + single("from", 0) + single("to", 1e9) + single("by", 1),
    "OneHot": node("OneHot", ["image", "n", "v"], "y") + ints("n", 10**7) + weight("v", np.zeros(2, np.float32)),
    "Gather": node("Gather", ["t", "i"], "y") + weight("t", np.zeros((2, 20_000), np.int8)) + ints("i", *[0] * 10_000),
    "MatMul": node("MatMul", ["column", "row"], "y")
    + weight("column", np.ones((20_000, 1), np.float32))
    + weight("row", np.ones((1, 20_000), np.float32)),
    "Add": node("Add", ["column", "row"], "y")
    + weight("column", np.ones((20_000, 1), np.float32))
    + weight("row", np.ones((1, 20_000), np.float32)),
    "Einsum": node("Einsum", ["l", "l"], "y", attribute("equation", "a,b->ab"))
    + weight("l", np.ones(20_000, np.float32)),
    "Conv": node("Conv", ["c", "k"], "y", attribute("pads", (60_000,) * 4))
    + weight("k", np.zeros((1, 3, 1, 1), np.float32)),
    "ConvTranspose": node("ConvTranspose", ["c", "k"], "y", attribute("strides", (60_000, 60_000)))
    + weight("k", np.zeros((3, 1, 1, 1), np.float32)),
}


@pytest.mark.parametrize("nodes", LARGE.values(), ids=LARGE)
def test_one_operator_may_not_make_a_large_tensor_of_a_small_one(nodes: bytes) -> None:
    with pytest.raises(ModelError, match=TOO_LARGE):
        check(node("Transpose", ["unit"], "c", attribute("perm", (0, 3, 1, 2))) + nodes)


def test_a_tensor_may_not_grow_by_doubling_itself() -> None:
    names = ["logits", *[f"y{place}" for place in range(40)]]
    doubled = [node("Concat", [a, a], b, attribute("axis", 1)) for a, b in itertools.pairwise(names)]
    check(b"".join(doubled[:20]))
    with pytest.raises(ModelError, match=TOO_LARGE):
        check(b"".join(doubled))


def chain(count: int, *, read_by_all: bool) -> bytes:
    """Tensors of 16 million numbers one after the other; each is needed once, or all of them at the end."""
    names = ["start", *[f"y{place}" for place in range(count)]]
    nodes = node("Expand", ["logits", "n"], "start") + ints("n", 16_000_000 // 3, 3)
    nodes += b"".join(node("Relu", [a], b) for a, b in itertools.pairwise(names))
    return nodes + (node("Sum", names, "all") if read_by_all else b"")


def test_tensors_count_while_they_are_needed() -> None:
    check(chain(20, read_by_all=False))
    with pytest.raises(ModelError, match=TOO_LARGE):
        check(chain(20, read_by_all=True))


def test_what_is_computed_from_weights_alone_counts_for_ever() -> None:
    def made(place: int, source: str) -> bytes:
        return node("Expand", [source, "n"], f"large{place}") + node("Add", [f"large{place}", "logits"], f"y{place}")

    one = weight("one", np.ones((1, 3), np.float32)) + ints("n", 16_000_000 // 3, 3)
    check(one + b"".join(made(place, "logits") for place in range(12)))
    with pytest.raises(ModelError, match=TOO_LARGE):
        check(one + b"".join(made(place, "one") for place in range(12)))


def test_work_has_a_limit() -> None:
    square = node("Expand", ["one", "n"], "s0") + weight("one", np.ones((1, 1), np.float32)) + ints("n", 4000, 4000)
    products = [node("MatMul", [f"s{place}", f"s{place}"], f"s{place + 1}") for place in range(3)]
    check(square + products[0])  # 64 · 10^9 multiply-adds
    with pytest.raises(ModelError, match=r"at most 137,438,953,472 multiply-adds for one picture; .*'s3' \(MatMul\)"):
        check(square + b"".join(products))


def test_a_large_picture_counts_itself() -> None:
    def graph(side: int) -> bytes:
        return onnx_bytes.value_info(11, "x", onnx_bytes.UINT8, ("N", side, side, 3)) + node("Identity", ["x"], "y")

    prescan.check(onnx_bytes.model(graph(4000)))
    with pytest.raises(ModelError, match=TOO_LARGE):
        prescan.check(onnx_bytes.model(graph(5000)))  # 75 million numbers, twice


def test_free_sides_are_taken_for_a_thousand_pixels_and_the_batch_for_one() -> None:
    graph = onnx_bytes.linear_graph(onnx_bytes.COLORS, ("H", "W", 3))
    shapes = sizes.check(contents.read(onnx_bytes.model(graph)).graph)
    assert (shapes["image"], shapes["scores"]) == ((1, 1024, 1024, 3), (1, 3))


NODES = {
    "must read what the graph gives before it; it reads 'nothing'": node("Relu", ["nothing"], "y"),
    # found by scripts/fuzz: with numbers that are known it was computed, and ended in a ValueError
    "must have 2 inputs of one type": node("Div", ["n"], "y") + single("n", [1, 2]),
    "must have one input; it has 0": node("Relu", [], "y"),
    "lacks its input 1": node("MatMul", ["logits"], "y"),
    # ONNX Runtime 1.24 joins Clip with the operator before it, and reads a limit that is not there
    "must read numbers; one of its inputs is empty": node("Clip", ["logits", "n"], "y") + weight("n", np.zeros((0, 4))),
    "must have an input 1 of the shape (); it has (1,)": node("Clip", ["logits", "n"], "y") + single("n", [0]),
    "must have an input 2 of the shape (4,); it has (5,)": node("Conv", ["image", "k", "n"], "y")
    + weight("k", np.zeros((4, 8, 1, 1), np.float32))
    + single("n", [0] * 5),
    "must have one scale, or one for each of 3 channels": node("QuantizeLinear", ["logits", "n"], "y")
    + single("n", [1, 2]),
    "must have slopes that fit (1, 3)": node("PRelu", ["logits", "n"], "y") + single("n", [[1]] * 4),
    "must turn numbers into numbers; it gives type 8": node("Cast", ["logits"], "y", attribute("to", 8)),
    "must have an integer blocksize": node("DepthToSpace", ["image"], "y"),
    "must have an integer axis": node("Concat", ["logits"], "y", attribute("axis", "x")),
    "must have a list of integers perm": node("Transpose", ["logits"], "y", attribute("perm", 1)),
    "must name each axis of": node("Transpose", ["logits"], "y", attribute("perm", (0, 0))),
    "must have an axis of -2 to 1, it has 2": node("Concat", ["logits"], "y", attribute("axis", 2)),
    "must not name an axis twice": node("ReduceMax", ["logits"], "y", attribute("axes", (1, -1))),
    "inputs whose shapes do not go together": node("Add", ["logits", "n"], "y") + weight("n", np.zeros(4, np.float32)),
    "sizes that depend on the picture": node("Reshape", ["logits", "logits"], "y"),
    "must keep all numbers": node("Reshape", ["logits", "n"], "y") + ints("n", 7),
    "must give numbers; it gives": node("Slice", ["logits", "n", "n"], "y") + ints("n", 0, 0),
    "must have a mode of constant, reflect, edge": node("Pad", ["logits", "n"], "y", attribute("mode", "wrap"))
    + ints("n", 0, 0, 0, 0),
    "must reflect less than a whole side": node("Pad", ["logits", "n"], "y", attribute("mode", "reflect"))
    + ints("n", 0, 3, 0, 0),
    "must not be in training mode": node("BatchNormalization", ["logits"], "y", attribute("training_mode", 1)),
    "must have one input; it has 2": node("Relu", ["logits", "logits"], "y"),
    "must give shapes of at most 8 axes": node("Unsqueeze", ["logits", "n"], "y") + ints("n", *range(8)),
    # the time for it would grow with the square
    "must name at most 8 axes, it has 60,000": node(
        "Unsqueeze", ["logits"], "y", attribute("axes", tuple(range(60_000)))
    ),
    "must be known and give fewer outputs than 2": onnx_bytes.nested(
        1, onnx_bytes.nested(1, "logits") + onnx_bytes.nested(2, "y") * 2 + onnx_bytes.nested(4, "Flatten")
    ),
}


@pytest.mark.parametrize(("message", "nodes"), NODES.items(), ids=NODES)
def test_a_node_that_contradicts_itself_is_refused_by_name_and_operator(message: str, nodes: bytes) -> None:
    name = r"the node '\w*' \(\w+\) .*"
    with pytest.raises(ModelError, match=name + re.escape(message) + ".*: export it again with `edgecnn export`"):
        check(nodes)
