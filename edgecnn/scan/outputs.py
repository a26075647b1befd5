"""A model without one of its outputs: the bytes to load where nobody asks for it.

ONNX Runtime computes every node of a graph whichever outputs are asked for, with and without its option
``only_execute_path_to_fetches`` (seen with 1.24.1 and 1.32.0). So what must cost nothing must not be loaded.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.protobuf import BYTES, Field, fields

_GRAPH = 7  # ModelProto.graph
_NODE, _OUTPUT = 1, 12  # GraphProto.node, .output
_INPUTS, _OUTPUTS, _ATTRIBUTE = 1, 2, 5  # NodeProto.input, .output, .attribute
_GRAPHS = (6, 11)  # AttributeProto.g, .graphs


def without(model: bytes, output: str) -> bytes:
    """Leave out an output of a graph, and the nodes that only it needs.

    Weights that nobody reads then are left out by ONNX Runtime. A model with graphs inside of its nodes, which may read
    any tensor, is given back as it is.

    Args:
        model: The whole file, as `edgecnn.scan.contents.read` has passed it.
        output: The output's name.

    Returns:
        The file anew; `model` itself where nothing is to be left out.
    """
    (graph,) = [field for field in fields(model) if field.number == _GRAPH]
    parts = list(fields(model, graph.payload, graph.end))
    outputs = [part for part in parts if part.number == _OUTPUT]
    dropped = [part for part in outputs if _texts(model, part, 1) == [output.encode()]]
    if not dropped or any(_holds_a_graph(model, part) for part in parts if part.number == _NODE):
        return model
    needed = {name for part in outputs if part not in dropped for name in _texts(model, part, 1)}
    for node in [part for part in reversed(parts) if part.number == _NODE]:
        if needed.isdisjoint(_texts(model, node, _OUTPUTS)):
            dropped.append(node)
        else:
            needed.update(_texts(model, node, _INPUTS))
    starts = {part.start for part in dropped}
    kept = b"".join([model[part.start : part.end] for part in parts if part.start not in starts])
    tag = _varint(_GRAPH << 3 | BYTES)
    return b"".join([model[: graph.start], tag, _varint(len(kept)), kept, model[graph.end :]])


def _texts(model: bytes, part: Field, number: int) -> list[bytes]:
    inner = fields(model, part.payload, part.end)
    return [model[field.payload : field.end] for field in inner if field.number == number and field.kind == BYTES]


def _holds_a_graph(model: bytes, node: Field) -> bool:
    return any(part.number in _GRAPHS for attribute in _attributes(model, node) for part in attribute)


def _attributes(model: bytes, node: Field) -> Iterator[Iterator[Field]]:
    for field in fields(model, node.payload, node.end):
        if field.number == _ATTRIBUTE:
            yield fields(model, field.payload, field.end)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
