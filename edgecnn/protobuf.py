"""Walk a protobuf message without a schema and without a package: what `card` and `prescan` read ONNX files with.

The wire format is a sequence of fields, each a tag (field number and wire type) and a payload
(protobuf.dev/programming-guides/encoding). Groups, which ONNX never uses, are refused, and so is what other readers of
the same bytes may understand otherwise: tags beyond 32 bits, and a second value of a field that has one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from edgecnn.errors import ModelError

VARINT, BYTES = 0, 2
_FIXED = {1: 8, 5: 4}  # wire type → bytes
_FLOAT = 5  # the wire type of a float
_WORD = (1 << 64) - 1
_MAX_TAG = (1 << 32) - 1  # Google's reader drops what is above: another field for it than for us
MAX_TEXT_BYTES = 4096


_Plain: TypeAlias = tuple[int, int, int, int, int, int]


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
    return map(Field._make, _scan(message, start, len(message) if end is None else end))


def _scan(message: bytes, start: int, limit: int) -> Iterator[_Plain]:
    """`fields` without their names, which take as long as all the rest."""
    position = start
    while position < limit:
        first = position
        tag, position = message[position], position + 1
        if tag >= 0x80:
            tag, position = _varint(message, first, limit)
        kind, value, payload = tag & 7, 0, position
        if kind == BYTES:
            length, payload = _varint(message, position, limit)
            position = payload + length
        elif kind == VARINT:
            value, position = _varint(message, position, limit)
        else:
            position += _FIXED.get(kind, 0)
        if not 8 <= tag <= _MAX_TAG or kind in (3, 4, 6, 7):
            raise ModelError(f"not an ONNX file (tag {tag} at byte {first}); name a file that `edgecnn export` wrote")
        if position > limit:
            raise _truncated(message)
        yield tag >> 3, kind, value, first, payload, position


class Budget:
    """How many fields of a file, and numbers in its lists, may still be read; shared by all its messages.

    Ten million empty fields take 20 MB of a file, some seconds here, and gigabytes where each becomes an object.
    """

    __slots__ = ("_limit", "left")

    def __init__(self, limit: int) -> None:
        self.left = self._limit = limit

    def refusal(self) -> ModelError:
        """The error for a file that has more."""
        return ModelError(f"a model may have at most {self._limit:,} fields, it has more: export the model again")


class Message:
    """A message whose fields can be asked for by their number in the schema.

    Raises:
        ModelError: Damaged bytes, more fields than `budget` has left; and on asking, a field of another wire type, a
            second value where there may be one, or a text that is not UTF-8 or has more than 4,096 bytes.
    """

    __slots__ = ("_budget", "_fields", "data")

    def __init__(self, data: bytes, budget: Budget, start: int = 0, end: int | None = None) -> None:
        self.data, self._budget = data, budget
        self._fields: dict[int, list[_Plain]] = {}
        by_number = self._fields
        left = budget.left
        for field in _scan(data, start, len(data) if end is None else end):
            left -= 1
            if left < 0:
                raise budget.refusal()
            if field[0] in by_number:
                by_number[field[0]].append(field)
            else:
                by_number[field[0]] = [field]
        budget.left = left

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def has_any(self, numbers: frozenset[int]) -> bool:
        """Whether one of these fields is there."""
        return not numbers.isdisjoint(self._fields)

    def integer(self, number: int, default: int = 0) -> int:
        """An int64, or `default` where there is none."""
        if number not in self._fields:
            return default
        return _signed(self._one(number, VARINT)[2])

    def real(self, number: int) -> float:
        """A float32, or 0 where there is none."""
        if number not in self._fields:
            return 0.0
        return _floats(self.data, *self._one(number, _FLOAT)[4:])[0]

    def text(self, number: int) -> str:
        """A text, or an empty one where there is none."""
        found = self._fields.get(number)
        return self._text(self._one(number, BYTES)) if found else ""

    def texts(self, number: int) -> tuple[str, ...]:
        """All texts of a repeated field."""
        return tuple([self._text(field) for field in self._all(number, BYTES)])

    def span(self, number: int) -> tuple[int, int] | None:
        """Where the bytes of a field begin and end, or None where there is none."""
        return self._one(number, BYTES)[4:] if number in self._fields else None

    def spans(self, number: int) -> list[tuple[int, int]]:
        """Where the bytes of each value of a repeated field begin and end."""
        return [field[4:] for field in self._all(number, BYTES)]

    def message(self, number: int) -> Message | None:
        """A message inside of this one, or None."""
        span = self.span(number)
        return None if span is None else Message(self.data, self._budget, *span)

    def messages(self, number: int) -> Iterator[Message]:
        """All messages of a repeated field, each read when its turn comes."""
        return (Message(self.data, self._budget, *span) for span in self.spans(number))

    def integers(self, number: int, at_most: int) -> tuple[int, ...]:
        """A repeated int64, packed or not.

        Raises:
            ModelError: There are more than `at_most`.
        """
        found: list[int] = []
        for field in self._fields.get(number, ()):
            _, kind, value, _, position, end = field
            if kind == VARINT:
                found.append(_signed(value))
            elif kind != BYTES:
                raise self._damaged(field)
            while kind == BYTES and position < end and len(found) <= at_most:
                value, position = _varint(self.data, position, end)
                found.append(_signed(value))
                self._budget.left -= 1
            if len(found) > at_most:
                raise self._too_many(at_most)
        if self._budget.left < 0:
            raise self._budget.refusal()
        return tuple(found)

    def reals(self, number: int, at_most: int) -> tuple[float, ...]:
        """A repeated float32, packed or not; see `integers`."""
        found: list[float] = []
        for field in self._fields.get(number, ()):
            _, kind, _, _, payload, end = field
            if kind not in (BYTES, _FLOAT) or (end - payload) % 4:
                raise self._damaged(field)
            if len(found) + (end - payload) // 4 > at_most:
                raise self._too_many(at_most)
            found += _floats(self.data, payload, end)
            self._budget.left -= (end - payload) // 4
        if self._budget.left < 0:
            raise self._budget.refusal()
        return tuple(found)

    def size(self, number: int) -> int:
        """Bytes of all payloads of a field, or 0."""
        return sum([field[5] - field[4] for field in self._fields.get(number, ())])

    def _all(self, number: int, kind: int) -> list[_Plain]:
        found = self._fields.get(number, [])
        for field in found:
            if field[1] != kind:
                raise self._damaged(field)
        return found

    def _one(self, number: int, kind: int) -> _Plain:
        found = self._fields[number]
        if len(found) > 1 or found[0][1] != kind:
            raise self._damaged(found[-1])
        return found[0]

    def _text(self, field: _Plain) -> str:
        *_, payload, end = field
        if end - payload > MAX_TEXT_BYTES:
            raise ModelError(
                f"a name may have at most {MAX_TEXT_BYTES:,} bytes; the one at byte {payload} has {end - payload:,}: "
                "export the model again"
            )
        try:
            return self.data[payload:end].decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"damaged ONNX file (text at byte {payload} is not UTF-8); copy it again") from error

    def _damaged(self, field: _Plain) -> ModelError:
        number, _, _, start, _, _ = field
        return ModelError(
            f"damaged ONNX file (field {number} at byte {start} is there twice or of another type); copy it again"
        )

    def _too_many(self, at_most: int) -> ModelError:
        return ModelError(f"a list of numbers may have at most {at_most:,} here, it has more; export the model again")


def _varint(message: bytes, position: int, limit: int) -> tuple[int, int]:
    if position < limit and message[position] < 0x80:
        return message[position], position + 1
    value = shift = 0
    while position < limit and shift < 64:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value & _WORD, position
    raise _truncated(message)


def _signed(value: int) -> int:
    """Two's complement of 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def _floats(data: bytes, start: int, end: int) -> tuple[float, ...]:
    return struct.unpack_from(f"<{(end - start) // 4}f", data, start)


def _truncated(message: bytes) -> ModelError:
    return ModelError(f"not an ONNX file, or a truncated one ({len(message)} bytes); copy it again")
