"""Walk a protobuf message without a schema and without a package: what `card` and `prescan` read ONNX files with.

The wire format is a sequence of fields, each a tag (field number and wire type) and a payload
(protobuf.dev/programming-guides/encoding). Groups, which ONNX never uses, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from edgecnn.errors import ModelError

VARINT, BYTES = 0, 2
_FIXED = {1: 8, 5: 4}  # wire type → bytes


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: The field's number in the schema.
        kind: Wire type: `VARINT`, `BYTES` or one of the two of fixed length.
        value: The number where `kind` is `VARINT`, otherwise 0.
        start: Position of the tag's first byte.
        payload: Position of the payload's first byte.
        end: Position after the payload.
    """

    number: int
    kind: int
    value: int
    start: int
    payload: int
    end: int


def fields(message: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the message that lies in ``message[start:end]``, in order; nothing is copied.

    Raises:
        ModelError: The bytes are not a protobuf message, or not a whole one.
    """
    limit = len(message) if end is None else end
    position = start
    while position < limit:
        first = position
        tag, position = _varint(message, position, limit)
        kind, value, payload = tag & 7, 0, position
        if kind == VARINT:
            value, position = _varint(message, position, limit)
        elif kind == BYTES:
            length, payload = _varint(message, position, limit)
            position = payload + length
        elif kind in _FIXED:
            position += _FIXED[kind]
        else:
            raise ModelError(
                f"not an ONNX file (wire type {kind} at byte {first}); name a file that `edgecnn export` wrote"
            )
        if position > limit:
            raise _truncated(message)
        yield Field(tag >> 3, kind, value, first, payload, position)


def _varint(message: bytes, position: int, limit: int) -> tuple[int, int]:
    value = shift = 0
    while position < limit and shift < 64:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise _truncated(message)


def _truncated(message: bytes) -> ModelError:
    return ModelError(f"not an ONNX file, or a truncated one ({len(message)} bytes); copy it again")
