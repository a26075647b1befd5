"""The operators that a model may have: those for which a rule says how large their outputs get.

One table is both: what is not in it, nobody has looked at. Left out on purpose are control flow (If, Loop, Scan), which
need not end, whatever keeps state, draws random numbers or handles texts, sequences and optional values, outputs whose
size depends on the picture (NonZero, Compress, Unique, NonMaxSuppression), and all domains but two: ONNX's own, and of
ONNX Runtime's what `MICROSOFT` names. What remains is more than `edgecnn export` writes today (see docs/security.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from edgecnn.scan import layers, layout, pointwise
from edgecnn.scan.call import Call
from edgecnn.scan.contents import Node, Shape, Tensor

MICROSOFT = ("com.microsoft.MatMulNBits",)
"""Operators of ONNX Runtime's own that `edgecnn export` may write: dense layers with weights of 4 bits."""

OPSETS = range(13, 22)
"""Versions of ONNX's operator set whose rules are these."""

Rule: TypeAlias = Callable[[Call], list[Shape]]

_SAME = (
    *("Abs", "Ceil", "Celu", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "IsInf", "IsNaN"),
    *("LeakyRelu", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softsign"),
    *("Identity", "Sqrt", "Tanh", "ThresholdedRelu"),
)
_SLOW = (*("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Mish", "Sinh", "Softplus", "Tan"),)
_STRETCHED = (
    *("Add", "And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mul", "Or"),
    *("Pow", "Sub", "Sum", "Where", "Xor"),
)
_REDUCING = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSum", "ReduceSumSquare"),
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME, pointwise.same),
    **dict.fromkeys(_SLOW, pointwise.slow),
    **dict.fromkeys(_STRETCHED, pointwise.stretched),
    **dict.fromkeys(_REDUCING, layers.reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), layers.arg_reduce),
    **dict.fromkeys(("AveragePool", "MaxPool"), layers.pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), layers.global_pool),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), pointwise.quantize),
    **dict.fromkeys(("LogSoftmax", "LpNormalization", "Softmax"), pointwise.along_axis),
    "BatchNormalization": pointwise.batch_normalization,
    "Cast": pointwise.cast,
    "Clip": pointwise.clip,
    "Concat": layout.concat,
    "Constant": layout.constant,
    "ConstantOfShape": layout.constant_of_shape,
    "Conv": layers.convolution,
    "ConvTranspose": layers.transposed_convolution,
    "DepthToSpace": layout.depth_to_space,
    "Div": pointwise.divide,
    "Dropout": pointwise.dropout,
    "Einsum": layers.einsum,
    "Expand": layout.expand,
    "Flatten": layout.flatten,
    "Gather": layout.gather,
    "Gemm": layers.gemm,
    "InstanceNormalization": pointwise.instance_normalization,
    "LayerNormalization": pointwise.layer_normalization,
    "LRN": pointwise.local_response,
    "MatMul": layers.matmul,
    "MatMulInteger": layers.matmul_integer,
    "OneHot": layout.one_hot,
    "PRelu": pointwise.leaky_by_channel,
    "Pad": layout.pad,
    "Range": layout.range_,
    "Reshape": layout.reshape,
    "Resize": layout.resize,
    "Shape": layout.shape_,
    "Size": layout.scalar,
    "Slice": layout.slice_,
    "SpaceToDepth": layout.space_to_depth,
    "Split": layout.split,
    "Squeeze": layout.squeeze,
    "Tile": layout.tile,
    "TopK": layout.top_k,
    "Transpose": layout.transpose,
    "Unsqueeze": layout.unsqueeze,
    **dict.fromkeys(MICROSOFT, layers.matmul_few_bits),
}
"""Operator, with its domain unless that is ONNX's own → the shapes of its outputs, and its work."""

_FLOAT32, _UINT8, _INT32, _INT64, _BOOL = 1, 2, 6, 7, 9
FLOATING = frozenset({1, 10, 11, 16})
"""TensorProto.DataType of numbers that may be divided by zero: float32, float16, float64, bfloat16."""

_TRUTHS = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"})
_COUNTS = frozenset({"ArgMax", "ArgMin", "Shape", "Size"})


def output_type(node: Node, inputs: Sequence[int]) -> int:
    """TensorProto.DataType of a node's first output; 0 where the node does not say.

    Only what is certain to be a floating-point number matters: it may be divided by anything.
    """
    operator, value = node.operator, node.attributes.get("value")
    if operator in _TRUTHS:
        return _BOOL
    if operator in _COUNTS:
        return _INT64
    if operator in ("Constant", "ConstantOfShape"):
        other = _FLOAT32 if operator == "ConstantOfShape" and value is None else 0
        return value.dtype if isinstance(value, Tensor) else other
    if operator == "Cast":
        to = node.attributes.get("to")
        return to if isinstance(to, int) else 0
    if operator == "MatMulInteger":
        return _INT32
    if operator == "QuantizeLinear":
        return _UINT8  # or another type of few bits
    place = {"DequantizeLinear": 1, "Where": 1, "OneHot": 2}.get(operator, 0)
    return inputs[place] if place < len(inputs) else 0
