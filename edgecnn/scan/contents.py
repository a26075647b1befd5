"""An ONNX file as Python objects, without the ``onnx`` package: nodes, attributes, shapes of weights.

Whatever the bytes are, reading ends after a bounded time, with a `Contents` or a ModelError. What no classifier needs
and what other readers might understand otherwise is refused here: weights outside the file, sparse ones, local
functions, training graphs, numbers that are not there. Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from edgecnn.card import METADATA_PROPS
from edgecnn.errors import ModelError
from edgecnn.protobuf import Budget, Message

MAX_FIELDS = 250_000  # NASNetMobile, which has the most nodes among the mobile networks of Keras, has 18,000
MAX_NODES = 5_000  # EfficientNetV2L in int8 has some 4,000; ONNX Runtime 1.24 takes 8 s to load 5,000, 146 s for 20,000
MAX_TENSORS = 20_000
MAX_INPUTS = 100
MAX_METADATA_BYTES = 1 << 20
MAX_STRUCTURE_BYTES = 8 << 20
MAX_DEPTH = 32  # graphs within graphs; classifiers have one
MAX_RANK = 8
MAX_LIST = 65_536  # numbers in one attribute

_SHORT = 100  # bytes of a text that is an attribute; those with a meaning are words
_AGAIN = "export it again with `edgecnn export`"

_TYPED = frozenset({4, 5, 7, 10, 11})  # TensorProto.float_data, int32_data and so on

# TensorProto.DataType → bits of an element, for what a weight may consist of; 16 is bfloat16, 21 and 22 have 4 bits
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64} | {9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 21: 4, 22: 4}
# TensorProto.DataType → the name NumPy has for it
_TYPES = (
    *("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32"),
    *("int64", "string", "bool", "float16", "float64", "uint32", "uint64"),
)

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a graph.

    Attributes:
        name: Its name in the graph.
        dtype: ``"uint8"``, ``"float32"`` …
        shape: One entry per axis; a name where the length is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Tensor(NamedTuple):
    """A weight or a constant; its numbers stay where they are in the file.

    Attributes:
        name: Its name in the graph.
        dtype: TensorProto.DataType.
        shape: Its shape.
        message: Where to read the numbers, see `edgecnn.scan.values.of_tensor`.
    """

    name: str
    dtype: int
    shape: Shape
    message: Message


Attribute: TypeAlias = "int | float | str | tuple[int, ...] | tuple[float, ...] | Tensor | None"
"""A node's attribute; None where it is of a kind that no known operator has."""


class Node(NamedTuple):
    """One operation.

    Attributes:
        operator: ``"Conv"``, or with the domain, ``"com.microsoft.MatMulNBits"``.
        name: Its own name, often empty.
        inputs: Names of tensors; empty where an optional one is left out.
        outputs: Likewise.
        attributes: By name.
        graphs: The graphs in its attributes, which only control flow has.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    graphs: tuple[Graph, ...]


class Graph(NamedTuple):
    """Nodes in their order, and what they are fed with.

    Attributes:
        nodes: The operations.
        weights: The initializers.
        inputs: Inputs, without those that have a weight to begin with.
        outputs: Outputs.
    """

    nodes: tuple[Node, ...]
    weights: tuple[Tensor, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def all_nodes(self) -> Iterator[Node]:
        """The nodes, those of inner graphs too."""
        for node in self.nodes:
            yield node
            for graph in node.graphs:
                yield from graph.all_nodes()


class Contents(NamedTuple):
    """A whole file.

    Attributes:
        ir_version: Version of the file format.
        producer: The program that wrote it.
        opsets: Operator-set version by domain; the standard one is ``"ai.onnx"``.
        graph: What is computed.
    """

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    graph: Graph


def read(model: bytes) -> Contents:
    """Read a file.

    Raises:
        ModelError: Not an ONNX file, a damaged one, or one beyond the limits; the message says which and what to do.
    """
    if not model:
        raise ModelError("not an ONNX file: it is empty (0 bytes); copy it again")
    reader = _Reader(model)
    top = Message(model, reader.budget)
    if not (1 in top and 7 in top and 8 in top):
        raise ModelError("not an ONNX file: it holds no graph; name the file that `edgecnn export` wrote")
    _limit(top.size(METADATA_PROPS), MAX_METADATA_BYTES, "bytes of metadata")
    for number, what in ((20, "training graphs"), (25, "local functions")):
        if number in top:
            raise ModelError(f"a model must be one graph; it has {what} too: {_AGAIN}")
    graph = top.message(7)
    assert graph is not None, "asked for above"
    contents = Contents(top.integer(1), top.text(2), _opsets(top), reader.graph(graph, 1))
    _limit(len(model) - reader.raw_bytes, MAX_STRUCTURE_BYTES, "bytes beside its weights")
    return contents


def _opsets(top: Message) -> dict[str, int]:
    opsets: dict[str, int] = {}
    for entry in top.messages(8):
        domain = entry.text(1) or "ai.onnx"
        if domain in opsets:
            raise ModelError(f"damaged ONNX file (it imports the operators of {domain!r} twice): {_AGAIN}")
        opsets[domain] = entry.integer(2)
    return opsets


class _Reader:
    """Reads one file, and counts what it has met."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.budget = Budget(MAX_FIELDS)
        self.raw_bytes = 0
        self._nodes = self._tensors = 0

    def graph(self, message: Message, depth: int) -> Graph:
        if depth > MAX_DEPTH:
            raise ModelError(f"graphs may lie {MAX_DEPTH} deep in each other at most: {_AGAIN}")
        if 15 in message:
            raise ModelError(f"weights must be dense; the graph has sparse ones: {_AGAIN}")
        weights = tuple([self.tensor(part) for part in message.messages(5)])
        known = {weight.name for weight in weights}
        inputs = tuple([tensor for part in message.messages(11) if (tensor := _tensor_info(part)).name not in known])
        outputs = tuple([_tensor_info(part) for part in message.messages(12)])
        _limit(len(inputs) + len(outputs), MAX_INPUTS, "inputs and outputs")
        return Graph(tuple([self.node(part, depth) for part in message.messages(1)]), weights, inputs, outputs)

    def node(self, message: Message, depth: int) -> Node:
        self._nodes += 1
        _limit(self._nodes, MAX_NODES, "nodes")
        domain = message.text(7)
        graphs: list[Graph] = []
        attributes: dict[str, Attribute] = {}
        for part in message.messages(5):
            name = part.text(1)
            if name in attributes:
                raise ModelError(f"damaged ONNX file (a node has the attribute {name!r} twice): {_AGAIN}")
            attributes[name] = self.attribute(part)
            graphs += [self.graph(inner, depth + 1) for number in (6, 11) for inner in part.messages(number)]
        operator = message.text(4) if domain in ("", "ai.onnx") else f"{domain}.{message.text(4)}"
        return Node(operator, message.text(3), message.texts(1), message.texts(2), attributes, tuple(graphs))

    def attribute(self, part: Message) -> Attribute:
        if 22 in part or 23 in part:
            raise ModelError(f"constants must be dense; the graph has sparse ones: {_AGAIN}")
        tensors = [self.tensor(inner) for number in (5, 10) for inner in part.messages(number)]
        match part.integer(20):
            case 1:
                return part.real(2)
            case 2:
                return part.integer(3)
            case 3:
                start, end = part.span(4) or (0, 0)
                return self.model[start : min(end, start + _SHORT)].decode(errors="replace")
            case 4 if len(tensors) == 1 and 5 in part:
                return tensors[0]
            case 6:
                return part.reals(7, MAX_LIST)
            case 7:
                return part.integers(8, MAX_LIST)
        return None

    def tensor(self, message: Message) -> Tensor:
        self._tensors += 1
        _limit(self._tensors, MAX_TENSORS, "weights and constants")
        name = message.text(8)
        if message.integer(14) != 0 or 13 in message:
            raise ModelError(f"a model must be one file; the weights {name[:100]!r} lie in another one: {_AGAIN}")
        shape = message.integers(1, MAX_RANK)
        _check_numbers(name, message, shape)
        self.raw_bytes += message.size(9)
        return Tensor(name, message.integer(2), shape, message)


def _check_numbers(name: str, message: Message, shape: Shape) -> None:
    """Refuse a tensor that declares numbers which are not there.

    ``raw_data`` must be as long as type and shape say; the typed fields, whose numbers have no fixed length, must have
    a byte at least for each. They count as structure, which has a limit, since they grow when they are read.
    """
    bits, elements = BITS.get(message.integer(2), 0), math.prod(shape)
    if not bits or min(shape, default=0) < 0:
        what = f"shape {shape}" if bits else f"type {message.integer(2)}"
        raise ModelError(f"weights must be numbers of a known type and shape; {name[:100]!r} has {what}: {_AGAIN}")
    raw, typed = message.span(9), 0
    if message.has_any(_TYPED):
        typed = message.size(4) // 4 + message.size(10) // 8 + sum(message.size(number) for number in (5, 7, 11))
    if raw is None:
        whole = elements <= typed * max(1, 8 // bits)
    else:
        whole = not typed and raw[1] - raw[0] == (elements * bits + 7) // 8
    if not whole or 3 in message:
        there = f"{typed:,} numbers" if raw is None else f"{raw[1] - raw[0]:,} bytes"
        raise ModelError(
            f"weights must be whole; {name[:100]!r} should have {elements:,} numbers of {bits} bits and has {there}: "
            f"{_AGAIN}"
        )


def _tensor_info(message: Message) -> TensorInfo:
    """ValueInfoProto → name, type.tensor_type.elem_type, type.tensor_type.shape.dim[]."""
    dtype, shape = 0, list[int | str]()
    kind = message.message(2)
    tensor = None if kind is None else kind.message(1)
    if tensor is not None:
        dtype = tensor.integer(1)
        axes = tensor.message(2)
        shape = [] if axes is None else [_axis(axis) for axis in axes.messages(1)]
    known = _TYPES[dtype] if 0 <= dtype < len(_TYPES) else f"type {dtype}"
    return TensorInfo(message.text(1), known, tuple(shape))


def _axis(axis: Message) -> int | str:
    if 1 not in axis:
        return axis.text(2) or "?"
    if 2 in axis or axis.integer(1) < 0:
        raise ModelError(f"damaged ONNX file (an axis has the length {axis.integer(1)} {axis.text(2)}): {_AGAIN}")
    return axis.integer(1)


def _limit(count: int, at_most: int, what: str) -> None:
    if count > at_most:
        raise ModelError(f"a model may have at most {at_most:,} {what}; it has {count:,}: {_AGAIN}")
