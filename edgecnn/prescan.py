"""What is refused before ONNX Runtime sees a byte, and what a file says of itself without it.

ONNX Runtime promises nothing about time or memory for hostile files, and reads weights from other files where a model
names them. So the bytes are walked first, in pure Python (about a millisecond for a small network): a foreign or
truncated file, weights outside the file and oversized metadata never reach it. The field numbers are those of
``onnx.proto``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgecnn.card import METADATA_PROPS
from edgecnn.errors import ModelError
from edgecnn.protobuf import BYTES, VARINT, Field, fields

MAX_METADATA_BYTES = 1024 * 1024
_MAX_DEPTH = 32  # graphs within graphs; ONNX files of classifiers have 1

_IR_VERSION, _PRODUCER, _GRAPH, _OPSET_IMPORT = 1, 2, 7, 8
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION, _TENSOR_NAME = 13, 14, 8
# Which fields hold messages that may hold a tensor or a node, by the kind of the message they are in.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {_GRAPH: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
# TensorProto.DataType → the name NumPy has for it
_TYPES = (
    *("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32"),
    *("int64", "string", "bool", "float16", "float64", "uint32", "uint64"),
)


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


@dataclass(frozen=True, slots=True)
class Outline:
    """What an ONNX file says of itself.

    Attributes:
        ir_version: Version of the file format.
        opsets: Operator-set version by domain; the standard one is ``"ai.onnx"``.
        producer: The program that wrote it.
        inputs: Inputs of the graph, without the weights.
        outputs: Outputs of the graph.
        operators: How many nodes there are of each operator, most frequent first.
    """

    ir_version: int
    opsets: Mapping[str, int]
    producer: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: Mapping[str, int]


def check(model: bytes) -> None:
    """Refuse what must not reach ONNX Runtime.

    Args:
        model: The whole file.

    Raises:
        ModelError: Not an ONNX file, truncated, weights outside the file, or too much metadata.
    """
    if not model:
        raise ModelError("not an ONNX file: it is empty (0 bytes); copy it again")
    top = list(fields(model))
    has = {(field.number, field.kind) for field in top}
    if not {(_IR_VERSION, VARINT), (_GRAPH, BYTES), (_OPSET_IMPORT, BYTES)} <= has:
        raise ModelError("not an ONNX file: it holds no graph; name the file that `edgecnn export` wrote")
    metadata_bytes = sum(field.end - field.start for field in top if field.number == METADATA_PROPS)
    if metadata_bytes > MAX_METADATA_BYTES:
        raise ModelError(
            f"a model's metadata must be at most {MAX_METADATA_BYTES} bytes; it has {metadata_bytes}; "
            "export the model again"
        )
    for kind, field in _walk(model):
        if kind == "tensor":
            _refuse_external(model, field)


def read_metadata(model: bytes) -> dict[str, str]:
    """The file's metadata (``metadata_props``): what ONNX Runtime calls the custom metadata map.

    Raises:
        ModelError: Not a protobuf message, or text that is not UTF-8.
    """
    entries: dict[str, str] = {}
    for field in fields(model):
        if field.number == METADATA_PROPS and field.kind == BYTES:
            texts = {part.number: _text(model, part) for part in fields(model, field.payload, field.end)}
            entries[texts.get(1, "")] = texts.get(2, "")
    return entries


def outline(model: bytes) -> Outline:
    """Inputs, outputs and operators of an ONNX file that `check` has passed.

    Raises:
        ModelError: The file is damaged.
    """
    top = list(fields(model))
    graph = [part for field in top if _is(field, _GRAPH) for part in fields(model, field.payload, field.end)]
    weights = {_first_text(model, part, _TENSOR_NAME) for part in graph if _is(part, 5)}
    inputs = [_tensor_info(model, part) for part in graph if _is(part, 11)]
    operators = Counter(_first_text(model, field, 4) for kind, field in _walk(model) if kind == "node")
    return Outline(
        ir_version=next((field.value for field in top if field.number == _IR_VERSION), 0),
        opsets=dict(_opset(model, field) for field in top if _is(field, _OPSET_IMPORT)),
        producer=next((_text(model, field) for field in top if _is(field, _PRODUCER)), ""),
        inputs=tuple(tensor for tensor in inputs if tensor.name not in weights),
        outputs=tuple(_tensor_info(model, part) for part in graph if _is(part, 12)),
        operators=dict(sorted(operators.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def _walk(model: bytes) -> Iterator[tuple[str, Field]]:
    """Every node, tensor, attribute and graph of the file with its kind, graphs within graphs included."""
    waiting = [("model", field, 0) for field in fields(model)]
    while waiting:
        parent, field, depth = waiting.pop()
        kind = _INSIDE[parent].get(field.number)
        if kind is None or field.kind != BYTES:
            continue
        if depth > _MAX_DEPTH:
            raise ModelError(f"graphs may lie {_MAX_DEPTH} deep in each other at most; export the model again")
        yield kind, field
        if _INSIDE[kind]:
            deeper = depth + (kind == "graph")
            waiting.extend((kind, part, deeper) for part in fields(model, field.payload, field.end))


def _refuse_external(model: bytes, tensor: Field) -> None:
    for part in fields(model, tensor.payload, tensor.end):
        outside = part.number == _TENSOR_DATA_LOCATION and part.kind == VARINT and part.value != 0
        if outside or _is(part, _TENSOR_EXTERNAL_DATA):
            name = _first_text(model, tensor, _TENSOR_NAME)
            raise ModelError(
                f"a model must be one file; the weights {name!r} lie in another one: "
                "export it again with `edgecnn export`"
            )


def _is(field: Field, number: int) -> bool:
    return field.number == number and field.kind == BYTES


def _text(model: bytes, field: Field) -> str:
    try:
        return model[field.payload : field.end].decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"damaged ONNX file (text at byte {field.payload} is not UTF-8); copy it again") from error


def _first_text(model: bytes, message: Field, number: int) -> str:
    parts = fields(model, message.payload, message.end)
    return next((_text(model, part) for part in parts if _is(part, number)), "")


def _opset(model: bytes, message: Field) -> tuple[str, int]:
    parts = list(fields(model, message.payload, message.end))
    domain = next((_text(model, part) for part in parts if _is(part, 1)), "")
    return domain or "ai.onnx", next((part.value for part in parts if part.number == 2), 0)


def _tensor_info(model: bytes, message: Field) -> TensorInfo:
    """ValueInfoProto → name, type.tensor_type.elem_type, type.tensor_type.shape.dim[]."""
    dtype, shape = 0, list[int | str]()
    for type_proto in _children(model, message, 2):
        for tensor_type in _children(model, type_proto, 1):
            for part in fields(model, tensor_type.payload, tensor_type.end):
                if part.number == 1:
                    dtype = part.value
                elif _is(part, 2):
                    shape = [_axis(model, axis) for axis in _children(model, part, 1)]
    known = _TYPES[dtype] if dtype < len(_TYPES) else f"type {dtype}"
    return TensorInfo(_first_text(model, message, 1), known, tuple(shape))


def _axis(model: bytes, message: Field) -> int | str:
    for part in fields(model, message.payload, message.end):
        if part.number == 1 and part.kind == VARINT:
            return part.value
        if _is(part, 2):
            return _text(model, part)
    return "?"


def _children(model: bytes, message: Field, number: int) -> Iterator[Field]:
    return (part for part in fields(model, message.payload, message.end) if _is(part, number))
