"""What of a quantised file is computed in float32: kept so where it was asked for, and named where it is.

ONNX Runtime decides when it loads a file. It quantises by itself, to the whole 8 bits and with one scale for all
channels, a Conv or Gemm that a file leaves in float32 between two quantised ones ("WeightBiasQuantization"), in 1.24
with another result than in 1.32: scores of one network were 0.18 apart. And what has no 8-bit kernel it computes in
float32 between two conversions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecnn import session
from edgecnn.errors import needs

if TYPE_CHECKING:
    import onnx

PIXELS = frozenset({"Add", "Cast", "Div", "Mul", "Sub"})
"""What may happen to the pixels before the first layer; it stays in float32."""

_MOVES = frozenset(
    {"Cast", "Concat", "DequantizeLinear", "Flatten", "Gather", "Identity", "MaxPool", "NhwcMaxPool", "Pad", "QGemm"}
    | {"QuantizeLinear", "ReorderInput", "ReorderOutput", "Reshape", "Shape", "Slice", "Squeeze", "Tile", "Transpose"}
    | {"MatMulIntegerToFloat", "Unsqueeze"}
)
"""What computes nothing, or in 8 bits although its name does not begin with QLinear."""


def keep_in_float(graph: onnx.ModelProto, names: Sequence[str]) -> None:
    """Have ONNX Runtime leave some layers in float32: their input gets its one scale written out for each channel.

    The values are the same, and its own quantisation takes inputs of a single scale only.

    Args:
        graph: A quantised model; changed in place.
        names: Nodes that were left in float32.
    """
    values = {tensor.name: tensor for tensor in graph.graph.initializer}
    makers = {name: node for node in graph.graph.node for name in node.output}
    nodes = []
    for node in graph.graph.node:
        alone = node.name in names and node.op_type in ("Conv", "Gemm") and _ends_in_8_bits(node, graph.graph)
        maker = makers.get(node.input[0]) if alone else None
        if maker is not None and maker.op_type == "DequantizeLinear" and node.input[1] in values:
            own, sides = _by_channel(maker, values, _channels(node, values[node.input[1]]))
            graph.graph.initializer.extend(sides)
            node.input[0] = own.output[0]
            nodes.append(own)
        nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _ends_in_8_bits(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    """Whether what a layer gives is quantised, at once or behind a ReLU; only then ONNX Runtime quantises the layer."""
    readers = [other for other in graph.node if node.output[0] in other.input]
    if len(readers) == 1 and readers[0].op_type in ("Clip", "Relu"):
        return _ends_in_8_bits(readers[0], graph)
    return len(readers) == 1 and readers[0].op_type == "QuantizeLinear"


def _channels(node: onnx.NodeProto, weights: onnx.TensorProto) -> int:
    """Along axis 1 of a layer's input."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Conv":
        return int(weights.dims[1] * attributes.get("group", 1))
    return int(weights.dims[1 if attributes.get("transB") else 0])


def _by_channel(
    maker: onnx.NodeProto, values: Mapping[str, onnx.TensorProto], channels: int
) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """The same DequantizeLinear with a scale and a zero point for each channel, and these two."""
    onnx_ = needs("onnx", "train", "to export")
    own, sides = onnx_.NodeProto(), []
    own.CopyFrom(maker)
    own.name = f"{maker.output[0]}_by_channel_{maker.name}"
    for place in (1, 2):
        value = onnx_.numpy_helper.to_array(values[maker.input[place]]).reshape(-1)
        own.input[place] = f"{own.name}_{place}"
        sides.append(onnx_.numpy_helper.from_array(np.repeat(value, channels), own.input[place]))
    own.output[0] = own.name
    own.attribute.append(onnx_.helper.make_attribute("axis", 1))
    return own, sides


def pixel_nodes(graph: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the nodes that scale the pixels: from the input on, until something else comes."""
    reached, names = {tensor.name for tensor in graph.graph.input}, []
    constants = {tensor.name for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        fed = [name for name in node.input if name not in constants]
        if node.op_type in PIXELS and fed and set(fed) <= reached:
            reached.update(node.output)
            names.append(node.name)
    return tuple(names)


def float_operators(file: Path, folder: Path) -> dict[str, int]:
    """Which operators ONNX Runtime computes in float32 here, and how many of each.

    Args:
        file: A model of 8 bits.
        folder: For a temporary file.

    Returns:
        Without the scaling of the pixels and the Softmax at the end, which always are, and without what only moves.
    """
    onnx_ = needs("onnx", "train", "to export")
    ort, path = session.load_onnxruntime(), folder / "as-loaded.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4  # it warns that such a file is for this CPU only
    ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    loaded = onnx_.load(str(path))
    path.unlink()
    pixels, last = set(pixel_nodes(loaded)), {tensor.name for tensor in loaded.graph.output}
    nodes = [node for node in loaded.graph.node if node.name not in pixels and not last & set(node.output)]
    found = Counter(node.op_type for node in nodes if not node.op_type.startswith("QLinear"))
    return {operator: count for operator, count in sorted(found.items()) if operator not in _MOVES}


def told(operators: Mapping[str, int]) -> str:
    """``3 Mul, 3 Sigmoid``."""
    return ", ".join(f"{count} {operator}" for operator, count in operators.items())
