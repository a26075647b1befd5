"""The size that a rule foretells is the one ONNX Runtime gives, for every operator that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_bytes
import onnxruntime
import pytest
from onnx_bytes import attribute, nested, number, value_info, weight

from edgecnn.errors import ModelError
from edgecnn.scan import contents, operators, sizes, values

Array = npt.NDArray[np.generic]


def floats(*shape: int) -> Array:
    """Numbers from 0.1 to 0.9, which every operator takes."""
    return np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float32)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def bytes_(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@dataclass(frozen=True)
class Case:
    """One node: its first input is fed, the others are weights; None is left out."""

    operator: str
    inputs: Sequence[Array | None]
    attributes: Mapping[str, int | float | str | Sequence[int] | Array] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 17

    def __str__(self) -> str:
        return f"{self.operator} {dict(self.attributes)} {[None if i is None else i.shape for i in self.inputs]}"[:80]

    def model(self) -> bytes:
        names = ["" if given is None else f"i{index}" for index, given in enumerate(self.inputs)]
        domain, _, operator = self.operator.rpartition(".")
        body = b"".join(nested(1, name) for name in names)
        body += b"".join(nested(2, f"o{index}") for index in range(self.outputs)) + nested(4, operator)
        body += b"".join(attribute(name, value) for name, value in self.attributes.items()) + nested(7, domain)
        graph = nested(1, body) + nested(2, "one node")
        for name, given in zip(names, self.inputs, strict=True):
            if name == "i0" and given is not None:
                graph += value_info(11, name, onnx_bytes.KINDS[given.dtype.name], given.shape)
            elif given is not None:
                graph += weight(name, given)
        graph += b"".join(nested(12, nested(1, f"o{index}")) for index in range(self.outputs))
        imports = nested(8, nested(1, "com.microsoft") + number(2, 1)) if domain else b""
        return onnx_bytes.model(graph, opset=self.opset) + imports


def foretold(model: bytes, count: int) -> list[tuple[int, ...]]:
    shapes = sizes.check(contents.read(model).graph)
    return [shapes[f"o{index}"] for index in range(count)]


def computed(model: bytes, first: Array | None) -> list[tuple[int, ...]]:
    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [found.shape for found in session.run(None, {} if first is None else {"i0": first})]


PICTURE = floats(1, 4, 7, 9)
WINDOW = {"kernel_shape": (3, 2)}
PADDED = {"pads": (1, 0, 2, 1)}
ONE = [
    *[
        Case(name, [PICTURE])
        for name in ("Abs", "Acos", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh")
    ],
    *[Case(name, [PICTURE]) for name in ("Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "IsInf", "IsNaN")],
    *[Case(name, [PICTURE]) for name in ("LeakyRelu", "Log", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid")],
    *[Case(name, [PICTURE]) for name in ("Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh")],
    *[Case(name, [PICTURE]) for name in ("ThresholdedRelu", "Identity", "Softmax", "LogSoftmax", "LpNormalization")],
    *[Case(name, [PICTURE]) for name in ("GlobalAveragePool", "GlobalMaxPool", "ArgMax", "ArgMin", "Flatten", "Shape")],
    *[Case(name, [PICTURE]) for name in ("Size", "Transpose", "Clip", "Dropout", "Squeeze", *operators._REDUCING)],
    *[Case(name, [PICTURE + 1]) for name in ("Acosh",)],
    *[Case(name, [PICTURE], opset=20) for name in ("Gelu", "Mish")],
    Case("Not", [PICTURE > 0.5]),
    Case("Cast", [PICTURE], {"to": 7}),
    Case("Dropout", [PICTURE], outputs=2),
    Case("QuantizeLinear", [PICTURE, np.float32(0.1), np.uint8(3)]),
    Case("DequantizeLinear", [PICTURE.astype(np.uint8), np.float32(0.1), np.uint8(3)]),
    Case("DequantizeLinear", [ints(1, 2, 3).astype(np.int32), floats(1), np.int32(0)]),  # a bias, as it is quantised
    Case("DequantizeLinear", [PICTURE.astype(np.uint8), floats(4), np.zeros(4, np.uint8)]),
    Case("QuantizeLinear", [PICTURE, floats(9)], {"axis": -1}),
    Case("InstanceNormalization", [PICTURE, floats(4), floats(4)]),
    Case("BatchNormalization", [PICTURE, floats(4), floats(4), floats(4), floats(4)]),
    Case("LayerNormalization", [PICTURE, floats(9), floats(9)], outputs=2),
    Case("LayerNormalization", [PICTURE, floats(7, 9)], {"axis": 2}, outputs=3),
    Case("LRN", [PICTURE], {"size": 3}),
]
TWO = [
    *[
        Case(name, [PICTURE, floats(4, 1, 9)])
        for name in (
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Pow",
            "Max",
            "Min",
            "Mean",
            "Sum",
            "Equal",
            "Greater",
            "Less",
            "PRelu",
        )
    ],
    *[Case(name, [PICTURE, floats(4, 1, 1)]) for name in ("GreaterOrEqual", "LessOrEqual")],
    *[Case(name, [PICTURE > 0.5, floats(9) > 0.5]) for name in ("And", "Or", "Xor")],
    Case("Add", [floats(7, 1), floats(3, 1, 5)]),
    Case("Max", [floats(7, 1), floats(5), floats(2, 1, 1)]),
    Case("Where", [PICTURE > 0.5, floats(9), floats(2, 1, 1, 1)]),
    Case("Div", [ints(7, 8, 9), ints(2)]),
    Case("Gemm", [floats(3, 4), floats(4, 5), floats(5)]),
    Case("Gemm", [floats(4, 3), floats(5, 4)], {"transA": 1, "transB": 1}),
    Case("MatMul", [floats(2, 1, 3, 4), floats(5, 4, 6)]),
    Case("MatMul", [floats(4), floats(4, 6)]),
    Case("MatMul", [floats(3, 4), floats(4)]),
    Case("MatMul", [floats(4), floats(4)]),
    Case("MatMulInteger", [bytes_(2, 1, 3, 4), bytes_(5, 4, 6)]),
    Case("MatMulInteger", [bytes_(3, 4), bytes_(2, 4, 6)]),
    Case("MatMulInteger", [bytes_(2, 3, 4), bytes_(4, 6), np.uint8(3), np.uint8(1)]),
    Case("Einsum", [floats(3, 4, 5), floats(5, 2)], {"equation": "abc,cd->abd"}),
    Case("Einsum", [floats(3, 4, 5)], {"equation": "abc->a"}),
    Case(
        "com.microsoft.MatMulNBits",
        [floats(2, 64), np.zeros((8, 2, 16), np.uint8), floats(16)],
        {"K": 64, "N": 8, "bits": 4, "block_size": 32},
    ),
]
WINDOWS = [
    Case("Conv", [PICTURE, floats(6, 4, 3, 2)]),
    Case("Conv", [PICTURE, floats(6, 2, 3, 2), floats(6)], {"group": 2, "strides": (2, 3), **PADDED}),
    Case("Conv", [PICTURE, floats(6, 4, 3, 2)], {"dilations": (2, 3), **WINDOW}),
    *[
        Case("Conv", [PICTURE, floats(6, 4, 3, 2)], {"auto_pad": padding, "strides": (2, 2)})
        for padding in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ],
    Case("Conv", [floats(1, 4, 9), floats(5, 4, 3)], {"strides": (2,)}),
    Case("Conv", [floats(1, 2, 5, 6, 7), floats(3, 2, 2, 2, 2)]),
    Case("ConvTranspose", [PICTURE, floats(4, 6, 3, 2)]),
    Case("ConvTranspose", [PICTURE, floats(4, 3, 3, 2)], {"group": 2, "strides": (2, 3), **PADDED}),
    Case("ConvTranspose", [PICTURE, floats(4, 6, 3, 2)], {"strides": (3, 2), "output_padding": (1, 1)}),
    Case("ConvTranspose", [PICTURE, floats(4, 6, 3, 2)], {"strides": (2, 2), "output_shape": (14, 18)}),
    Case("ConvTranspose", [PICTURE, floats(4, 6, 3, 3)], {"strides": (2, 2), "auto_pad": "SAME_UPPER"}),
    Case("ConvTranspose", [PICTURE, floats(4, 6, 3, 2)], {"dilations": (2, 2)}),
    *[Case(name, [PICTURE], WINDOW) for name in ("MaxPool", "AveragePool")],
    *[Case(name, [PICTURE], {**WINDOW, "strides": (2, 2), "ceil_mode": 1}) for name in ("MaxPool", "AveragePool")],
    Case("MaxPool", [PICTURE], {**WINDOW, **PADDED, "strides": (3, 2)}, outputs=2),
    Case("MaxPool", [PICTURE], {**WINDOW, "auto_pad": "SAME_LOWER", "strides": (2, 2)}),
    Case("MaxPool", [PICTURE], {**WINDOW, "dilations": (2, 2)}),
    Case("MaxPool", [floats(1, 2, 9)], {"kernel_shape": (3,), "strides": (2,), "ceil_mode": 1}),
]
LAYOUT = [
    Case("Reshape", [PICTURE, ints(0, -1, 3)]),
    Case("Reshape", [PICTURE, ints(2, 126)]),
    Case("Flatten", [PICTURE], {"axis": 2}),
    Case("Flatten", [PICTURE], {"axis": -1}),
    Case("Flatten", [PICTURE], {"axis": 0}),
    Case("Squeeze", [floats(1, 3, 1, 2), ints(-2)]),
    Case("Unsqueeze", [PICTURE, ints(0, -1)]),
    Case("Transpose", [PICTURE], {"perm": (0, 2, 3, 1)}),
    Case("Concat", [PICTURE, floats(1, 2, 7, 9)], {"axis": -3}),
    Case("Split", [PICTURE, ints(1, 3)], {"axis": 1}, outputs=2),
    Case("Split", [PICTURE], {"axis": 1}, outputs=2),
    Case("Split", [PICTURE], {"axis": 3, "num_outputs": 2}, outputs=2, opset=18),
    Case("Slice", [PICTURE, ints(1), ints(2**63 - 1), ints(2)]),
    Case("Slice", [PICTURE, ints(-1, 1), ints(-(2**63), -1), ints(3, 2), ints(-2, 2)]),
    Case("Slice", [PICTURE, ints(0, 2), ints(1, -1)]),
    Case("Slice", [PICTURE, ints(5), ints(-100), ints(3), ints(-3)]),
    Case("Gather", [PICTURE, np.array([[0, 1, 2], [-1, 0, 0]], np.int64)], {"axis": 2}),
    Case("Gather", [PICTURE, np.int64(1)], {"axis": -1}),
    Case("Pad", [PICTURE, ints(0, 0, 1, 2, 0, 1, 3, 0), np.float32(1)]),
    Case("Pad", [PICTURE, ints(0, 0, 3, 2, 0, 0, 1, 1)], {"mode": "reflect"}),
    Case("Pad", [PICTURE, ints(3, 2, 1, 1), None, ints(-1, 1)], {"mode": "edge"}, opset=18),
    Case("Expand", [floats(3, 1), ints(2, 1, 6)]),
    Case("Tile", [PICTURE, ints(1, 2, 3, 1)]),
    Case("Tile", [floats(2), ints(5)]),
    Case("Resize", [PICTURE, None, np.array([1, 1, 1.5, 0.4], np.float32)], {"mode": "linear"}),
    Case("Resize", [PICTURE, None, None, ints(1, 4, 20, 3)], {"mode": "nearest"}),
    Case("Resize", [PICTURE, None, None, ints(20, 3)], {"mode": "linear", "antialias": 1, "axes": (2, 3)}, opset=18),
    Case(
        "Resize", [PICTURE, None, np.array([1, 1, 2, 2], np.float32)], {"coordinate_transformation_mode": "asymmetric"}
    ),
    Case("Shape", [PICTURE], {"start": 1, "end": -1}),
    Case("DepthToSpace", [PICTURE], {"blocksize": 2}),
    Case("SpaceToDepth", [floats(1, 2, 6, 9)], {"blocksize": 3}),
    Case("OneHot", [ints(1, 0, 2), ints(5), floats(2)], {"axis": 0}),
    Case("TopK", [PICTURE, ints(3)], {"axis": 2}, outputs=2),
    Case("ReduceMean", [PICTURE], {"axes": (2, -1), "keepdims": 0}),
    Case("ReduceMean", [PICTURE, ints(2, -1)], {"keepdims": 0}, opset=18),
    Case("ReduceSum", [PICTURE, ints(1)]),
    Case("ArgMax", [PICTURE], {"axis": -1, "keepdims": 0}),
]
CASES = [*ONE, *TWO, *WINDOWS, *LAYOUT]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_foretold_sizes_are_those_onnx_runtime_gives(case: Case) -> None:
    model = case.model()
    assert foretold(model, case.outputs) == computed(model, case.inputs[0])


VALUES = [
    ("Add", [ints(1, 2), ints(3, 4)], {}),
    ("Sub", [ints(9, 8), ints(3)], {}),
    ("Mul", [ints(2, 3), ints(3)], {}),
    ("Div", [ints(9, -9, 10), ints(4, -4, 3)], {}),
    ("Max", [ints(1, 5), ints(3)], {}),
    ("Min", [ints(1, 5), ints(3)], {}),
    ("Cast", [np.array([2.9, 3.1], np.float32)], {"to": 7}),
    ("Concat", [ints(1), ints(2, 3)], {"axis": 0}),
    ("Constant", [], {"value": ints(3, 2)}),
    ("Constant", [], {"value_ints": (3, 4)}),
    ("ConstantOfShape", [ints(2)], {"value": ints(4)}),
    ("Expand", [ints(3), ints(2)], {}),
    ("Gather", [ints(3, 4, 5), ints(-1, 0)], {}),
    ("Identity", [ints(3, 4)], {}),
    ("Range", [np.int64(7), np.int64(0), np.int64(-3)], {}),
    ("Reshape", [np.array([[3, 4]], np.int64), ints(-1)], {}),
    ("Shape", [floats(2, 3)], {}),
    ("Slice", [ints(3, 4, 5, 6), ints(-1), ints(0), ints(0), ints(-2)], {}),
    ("Squeeze", [np.array([[3, 4]], np.int64), ints(0)], {}),
    ("Where", [np.array([True, False]), ints(3), ints(4, 5)], {}),
]
"""What a shape is computed by: numbers, int64 of one axis."""


@pytest.mark.parametrize(("operator", "inputs", "attributes"), VALUES, ids=lambda part: str(part)[:40])
def test_shapes_are_computed_as_onnx_runtime_computes_them(
    operator: str, inputs: list[Array], attributes: dict[str, int]
) -> None:
    names = [f"w{index}" for index in range(len(inputs))]
    graph = onnx_bytes.node(operator, names, "shape", b"".join(attribute(*item) for item in attributes.items()))
    graph += onnx_bytes.node("ConstantOfShape", ["shape"], "o0") + nested(12, nested(1, "o0")) + nested(2, "two nodes")
    model = onnx_bytes.model(graph + b"".join(map(weight, names, inputs)))
    assert foretold(model, 1) == computed(model, None)


@pytest.mark.parametrize("compare", ["Equal", "Greater"])
def test_single_numbers_become_shapes_too(compare: str) -> None:
    nodes = (
        onnx_bytes.node("Size", ["w"], "count")
        + onnx_bytes.node("ReduceProd", ["w"], "product", attribute("keepdims", 0))
        + onnx_bytes.node(compare, ["product" if compare == "Greater" else "count", "count"], "same")
        + onnx_bytes.node("Where", ["same", "product", "count"], "length")
        + onnx_bytes.node("Unsqueeze", ["length", "zero"], "shape")
        + onnx_bytes.node("ConstantOfShape", ["shape"], "o0")
    )
    graph = nodes + weight("w", ints(2, 3)) + weight("zero", ints(0)) + nested(12, nested(1, "o0")) + nested(2, "g")
    model = onnx_bytes.model(graph)
    assert foretold(model, 1) == computed(model, None) == [(6,)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("operator", "numbers"),
    [("Floor", [2.9, 3]), ("Round", [2.5, 3.5]), ("ReduceMax", [2, 3]), ("ReduceMin", [2, 3]), ("Div", [7, 3])],
)
def test_a_shape_may_be_computed_in_floating_point(operator: str, numbers: list[float], kind: type[np.generic]) -> None:
    graph = (
        onnx_bytes.node(operator, ["w", "w"] if operator == "Div" else ["w"], "a")
        + onnx_bytes.node("Cast", ["a"], "shape", attribute("to", 7))
        + onnx_bytes.node("ConstantOfShape", ["shape"], "o0")
    )
    graph += weight("w", np.array(numbers, kind)) + nested(12, nested(1, "o0")) + nested(2, "g")
    model = onnx_bytes.model(graph)
    assert foretold(model, 1) == computed(model, None)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2.0**63, -(2.0**64)])
def test_a_number_that_processors_turn_into_different_integers_is_no_shape(number: float) -> None:
    graph = onnx_bytes.node("Cast", ["w"], "shape", attribute("to", 7)) + onnx_bytes.node(
        "ConstantOfShape", ["shape"], "o0"
    )
    graph += weight("w", np.array([number], np.float64)) + nested(12, nested(1, "o0")) + nested(2, "g")
    with pytest.raises(ModelError, match="depend on the picture"):
        foretold(onnx_bytes.model(graph), 1)


def test_every_operator_that_is_known_was_compared() -> None:
    compared = {case.operator for case in CASES} | {operator for operator, _, _ in VALUES}
    assert set(operators.RULES) - compared == set()
    others = {"Equal", "Floor", "Greater", "ReduceMax", "ReduceMin", "ReduceProd", "Round", "Size", "Unsqueeze"}
    assert set(values._FOLDS) - {operator for operator, _, _ in VALUES} == others
