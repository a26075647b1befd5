"""Tiny ONNX models, written byte by byte: the runtime's tests need no ``onnx`` package.

Field numbers are those of ``onnx.proto``; the wire format is protobuf's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.card import KEY, graph_hash

UINT8, FLOAT, INT64 = 2, 1, 7
KINDS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11}


def varint(value: int) -> bytes:
    out, value = bytearray(), value % (1 << 64)
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def nested(field: int, payload: bytes | str) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(data)) + data


def node(op: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    """NodeProto, as a field of a graph."""
    body = b"".join(nested(1, name) for name in inputs) + nested(2, output) + nested(4, op)
    return nested(1, body + attributes)


def int_attribute(name: str, value: int) -> bytes:
    return nested(5, nested(1, name) + number(3, value) + number(20, 2))


def attribute(name: str, value: int | float | str | Sequence[int] | npt.NDArray[np.generic]) -> bytes:
    """AttributeProto, as a field of a node."""
    match value:
        case int():
            body = number(3, value) + number(20, 2)
        case float():
            body = varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
        case str():
            body = nested(4, value) + number(20, 3)
        case np.ndarray():
            body = nested(5, tensor("", value)) + number(20, 4)
        case _:
            body = b"".join(number(8, item) for item in value) + number(20, 7)
    return nested(5, nested(1, name) + body)


def tensor(name: str, values: npt.NDArray[np.generic]) -> bytes:
    """TensorProto."""
    dims = b"".join(number(1, length) for length in values.shape)
    return dims + number(2, KINDS[values.dtype.name]) + nested(8, name) + nested(9, values.tobytes())


def weight(name: str, values: npt.NDArray[np.generic]) -> bytes:
    """TensorProto, as an initializer of a graph."""
    return nested(5, tensor(name, values))


def value_info(field: int, name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """ValueInfoProto: 11 is an input, 12 an output of a graph."""
    axes = b"".join(nested(1, number(1, n) if isinstance(n, int) else nested(2, n)) for n in shape)
    return nested(field, nested(1, name) + nested(2, nested(1, number(1, kind) + nested(2, axes))))


def model(graph: bytes, metadata: dict[str, str] | None = None, *, opset: int = 17) -> bytes:
    """ModelProto: IR 8, one opset, a graph and metadata."""
    head = number(1, 8) + nested(2, "edgecnn tests") + nested(8, nested(1, "") + number(2, opset))
    return head + nested(7, graph) + metadata_props(metadata or {})


def metadata_props(metadata: dict[str, str]) -> bytes:
    return b"".join(nested(14, nested(1, key) + nested(2, text)) for key, text in metadata.items())


def linear_graph(
    weights: npt.NDArray[np.float32],
    size: tuple[int | str, int | str, int],
    *,
    names: tuple[str, str] = ("image", "scores"),
) -> bytes:
    """softmax(mean over pixels of image / 255 @ weights): ``image`` (N, H, W, C) uint8 → ``scores`` (N, classes).

    Args:
        weights: float32 ``(C, classes)``.
        size: ``(H, W, C)``; a name where a side is free.
        names: Names of the input and the output.
    """
    inside, out = names
    classes = weights.shape[1]
    return (
        node("Cast", [inside], "pixels", int_attribute("to", FLOAT))
        + node("Div", ["pixels", "full"], "unit")
        + node(
            "ReduceMean", ["unit"], "mean", nested(5, nested(1, "axes") + number(8, 1) + number(8, 2) + number(20, 7))
        )
        + node("Reshape", ["mean", "flat"], "channels")
        + node("MatMul", ["channels", "weights"], "logits")
        + node("Softmax", ["logits"], out, int_attribute("axis", 1))
        + nested(2, "linear")
        + weight("full", np.array(255.0, np.float32))
        + weight("flat", np.array([-1, size[2]], np.int64))
        + weight("weights", weights)
        + value_info(11, inside, UINT8, ("N", *size))
        + value_info(12, out, FLOAT, ("N", classes))
    )


COLORS = 10 * np.eye(3, dtype=np.float32)
"""Weights of a network that tells red, green and blue apart by the mean colour."""


def with_card(graph: bytes, *, labels: Sequence[str] = ("red", "green", "blue"), **changes: object) -> bytes:
    """A model file around `graph` whose card is right but for `changes`."""
    card: dict[str, object] = {
        "schema": 1,
        "task": "classification",
        "name": "colors",
        "labels": list(labels),
        "input": {"height": 8, "width": 8, "channels": 3, "fit": "crop", "filter": "bilinear", "sizes": "fixed"},
        "precision": "float32",
        "graph_sha256": graph_hash(model(graph)),
    }
    return model(graph, {KEY: json.dumps(card | changes)})


def color_model(**changes: object) -> bytes:
    """A whole model of 8×8 RGB that says ``red``, ``green`` or ``blue``."""
    return with_card(linear_graph(COLORS, (8, 8, 3)), labels=("red", "green", "blue"), **changes)


def card_text(data: bytes) -> str:
    """The JSON text of a model's card."""
    from edgecnn.prescan import read_metadata

    return read_metadata(data)[KEY]
