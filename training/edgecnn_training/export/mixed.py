"""Layers in float32 among others in int8, in a way that ONNX Runtime lets them be so and fast.

The graph changes to int8 behind a layer's activation, and behind a pooling that follows it.
ONNX Runtime lifts a QuantizeLinear over the MaxPool before it. Behind a convolution in float32 that leaves an 8-bit
MaxPool whose channels do not lie together: 90 µs where the float one takes 7 (32 channels, 28×28). It does not lift
over an activation, and drops that later, where the quantisation cuts off the same values. So the activation moves
behind the pooling, which gives the same numbers: the largest value stays the largest.

A Max takes the place of a Relu behind a dense layer in int8 whose reader is not: ONNX Runtime takes dense layer and
Relu (or Clip) for one, misses the int8 behind them, and dequantises all weights for each picture (600 µs, not 60).

That ONNX Runtime quantises layers by itself, and how it is kept from it, is in `edgecnn_training.export.islands`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.errors import needs

if TYPE_CHECKING:
    import onnx

_ACTIVATIONS = ("Clip", "Relu")
_ZERO = "zero"


def in_float(model: onnx.ModelProto, layers: Sequence[str]) -> tuple[onnx.ModelProto, list[str]]:
    """Prepare a float32 model for the quantisation of all but some layers.

    Args:
        model: Convolutions and dense layers, each with its activation as a node behind it.
        layers: Names of those that stay in float32.

    Returns:
        A model that computes the same, and the names of all nodes that must stay in float32 with them.
    """
    onnx_ = needs("onnx", "train", "to export")
    result: onnx.ModelProto = onnx_.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for output in graph.output:
        readers[output.name].append(onnx_.NodeProto())  # whoever calls reads it
    names = list(layers)
    for layer in [node for node in graph.node if node.name in layers]:
        activation = _only(readers[layer.output[0]], _ACTIVATIONS)
        if activation is None:
            continue
        names.append(activation.name)
        pool = _only(readers[activation.output[0]], ("MaxPool",))
        if pool is not None and len(pool.output) == 1:
            names.append(pool.name)
            _exchange(graph, activation, pool)
    return result, names


def keep_in_8_bits(model: onnx.ModelProto, layers: Sequence[str]) -> None:
    """Have ONNX Runtime compute dense layers in int8 whose reader is not int8.

    Args:
        model: As the quantiser wrote it; changed in place.
        layers: Names of the layers that stayed in float32, if only for now.
    """
    onnx_ = needs("onnx", "train", "to export")
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    for layer in [node for node in graph.node if node.name in layers]:
        before = makers.get(layer.input[0])
        if before is None or before.op_type != "Relu":
            continue
        if _is_quantized_dense(makers.get(before.input[0]), makers):
            before.op_type = "Max"
            before.input.append(_ZERO)
            if _ZERO not in {tensor.name for tensor in graph.initializer}:
                graph.initializer.append(onnx_.numpy_helper.from_array(np.array(0, np.float32), _ZERO))


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    result = type(node)()
    result.CopyFrom(node)
    return result


def _is_quantized_dense(node: onnx.NodeProto | None, makers: Mapping[str, onnx.NodeProto]) -> bool:
    if node is None or node.op_type not in ("Gemm", "MatMul"):
        return False
    weights = makers.get(node.input[1])
    return weights is not None and weights.op_type == "DequantizeLinear"


def _only(readers: Sequence[onnx.NodeProto], operators: Sequence[str]) -> onnx.NodeProto | None:
    """The one node that reads a tensor, where it is one of these."""
    return readers[0] if len(readers) == 1 and readers[0].op_type in operators else None


def _exchange(graph: onnx.GraphProto, first: onnx.NodeProto, second: onnx.NodeProto) -> None:
    """Two nodes after one another change places; what comes before and behind them stays as it is."""
    before, between, behind = first.input[0], first.output[0], second.output[0]
    second.input[0], second.output[0] = before, between
    first.input[0], first.output[0] = between, behind
    places = [index for index, node in enumerate(graph.node) if node.name in (first.name, second.name)]
    kept = [graph.node[index] for index in places]
    copies = [_copy(node) for node in reversed(kept)]
    for index, copy in zip(places, copies, strict=True):
        graph.node[index].CopyFrom(copy)
    shapes = [value for value in graph.value_info if value.name != between]  # it is smaller now
    del graph.value_info[:]
    graph.value_info.extend(shapes)
