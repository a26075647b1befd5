"""Dense layers whose weights have few bits and whose inputs do not: ONNX Runtime's MatMulNBits.

For one picture a large dense layer does nothing but read its weights, so half the bytes take half the time; an 8-bit
matrix product has the same bytes to read whatever its kernel does. Weights are cut into blocks along the inputs, each
with a scale of its own, and stay within ±8 of it (4 bits) or ±127 (8 bits).

Source: ONNX Runtime's docs/ContribOperators.md, com.microsoft.MatMulNBits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn.errors import needs
from edgecnn_training.pictures import Floats

if TYPE_CHECKING:
    import onnx

DOMAIN = "com.microsoft"
OPERATOR = "MatMulNBits"
BITS = (8, 4)
OPERATORS = ("Gemm", "MatMul")

_LARGE = 10_000  # weights of a layer; of a smaller one half a byte each is less than what the operator itself takes
_SHARE = 0.3  # of all weights: where dense layers hold less, the file and its time hardly change
_BLOCK, _SMALLEST_BLOCK = 256, 16  # 4 bits: 48 µs with blocks of 256, 125 with 16, for 3,136 × 1,024 weights
_BYTES_AT_ONCE = 4  # "accuracy_level": the inputs are rounded to 8 bits, block by block; without it 2 to 3 times slower
_DIVISORS = np.arange(7, 12, 0.5)  # what the largest weight of a block becomes; past 8 it is cut for the others' sake


def large(graph: onnx.GraphProto) -> tuple[str, ...]:
    """The dense layers that are worth it, by name; none where all of them hold less than 30 % of the weights."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    total = sum(int(np.prod(shape)) for shape in weights.values())
    own = {node.name: int(np.prod(weights[node.input[1]])) for node in _dense(graph)}
    chosen = {name: count for name, count in own.items() if count >= _LARGE}
    return tuple(chosen) if sum(chosen.values()) >= _SHARE * total else ()


def few_bits(model: onnx.ModelProto, nodes: Sequence[str], bits: int) -> onnx.ModelProto:
    """The same model with some dense layers as MatMulNBits, and their bias as an Add.

    ONNX Runtime's own quantiser looks for MatMul only and leaves a Gemm as it is without a word.

    Args:
        model: With these layers in float32.
        nodes: Their names.
        bits: One of `BITS`.
    """
    if not nodes:
        return model
    onnx_ = needs("onnx", "train", "to export")
    result: onnx.ModelProto = onnx_.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    values = {tensor.name: onnx_.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    chosen = [node for node in _dense(graph) if node.name in nodes]
    assert len(chosen) == len(nodes), "each layer must be there, and have weights"
    made: dict[str, list[onnx.NodeProto]] = {}
    for node in chosen:
        made[node.name], tensors = _product(node, values[node.input[1]], bits)
        graph.initializer.extend(tensors)
    ordered = [new for node in graph.node for new in made.get(node.name, [node])]
    del graph.node[:]
    graph.node.extend(ordered)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    result.opset_import.append(onnx_.helper.make_opsetid(DOMAIN, 1))
    return result


def _product(node: onnx.NodeProto, weights: Floats, bits: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """What takes the place of a dense layer: its nodes and their weights."""
    helper, tensors = needs("onnx", "train", "to export").helper, needs("onnx", "train", "to export").numpy_helper
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    rows: Floats = weights if transposed else weights.T
    names = [f"{node.name}_bits", f"{node.name}_scales"]
    biased = len(node.input) > 2
    product = f"{node.output[0]}_product" if biased else node.output[0]
    sizes = {"N": rows.shape[0], "K": rows.shape[1], "bits": bits, "block_size": block_of(rows.shape[1])}
    options = {"domain": DOMAIN, "accuracy_level": _BYTES_AT_ONCE, **sizes}
    nodes = [helper.make_node(OPERATOR, [node.input[0], *names], [product], node.name, **options)]
    if biased:
        nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], f"{node.name}_bias"))
    return nodes, list(map(tensors.from_array, pack(rows, bits), names))


def block_of(inputs: int) -> int:
    """How many weights share a scale: 256, or the next power of two where a layer has fewer inputs."""
    return min(_BLOCK, max(_SMALLEST_BLOCK, 1 << (inputs - 1).bit_length()))


def pack(rows: Floats, bits: int) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Weights in few bits.

    Args:
        rows: float32 ``(N, K)``: an output's weights in each row.
        bits: 4 or 8.

    Returns:
        uint8 ``(N, blocks, block · bits / 8)``, of 4 bits two to a byte and the first one low, with the middle of the
        range for zero; and the scales, float32 ``(N · blocks,)``.
    """
    outputs, inputs = rows.shape
    block = block_of(inputs)
    blocks = -(-inputs // block)
    padded = np.zeros((outputs, blocks * block), np.float32)
    padded[:, :inputs] = rows
    parts = padded.reshape(outputs, blocks, block)
    scales = np.abs(parts).max(2, keepdims=True) / (_best_divisors(parts) if bits == 4 else np.float32(127))
    scales[scales == 0] = 1  # of a block of nothing
    middle = 1 << (bits - 1)
    levels = (_levels(parts, scales, middle) + middle).astype(np.uint8)
    packed = levels if bits == 8 else (levels[..., ::2] | levels[..., 1::2] << 4).astype(np.uint8)
    return packed, scales.reshape(-1)


def _best_divisors(parts: Floats) -> Floats:
    """For each block of float32 ``(N, blocks, block)`` what leaves the least squared error at 4 bits."""
    largest = np.abs(parts).max(2, keepdims=True)
    errors = []
    for divisor in _DIVISORS.astype(np.float32):
        scale = np.maximum(largest / divisor, np.finfo(np.float32).tiny)
        errors.append(np.square(_levels(parts, scale, 8) * scale - parts).sum(2, keepdims=True))
    best: Floats = _DIVISORS.astype(np.float32)[np.argmin(errors, axis=0)]
    return best


def _levels(parts: Floats, scales: Floats, middle: int) -> Floats:
    nearest: Floats = np.clip(np.rint(parts / scales), -middle, middle - 1)
    return nearest


def _dense(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes that multiply by constant weights and nothing else."""
    known = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in OPERATORS and known.get(node.input[1]) == 2:
            plain = {a.name: a for a in node.attribute if a.name in ("alpha", "beta", "transA")}
            if all(a.i == 0 if name == "transA" else a.f == 1 for name, a in plain.items()):
                yield node
