"""Damaged and hostile models, drawn from a seed: bytes that are changed, and ONNX's own parts put to other use.

`mutated` takes a graph apart by the schema of ``onnx.proto``, changes some of its parts, and puts it together again
with right lengths, so that what comes out is a protobuf message still and gets past a reader that looks no further.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from onnx_bytes import attribute, metadata_props, model, nested, tensor, varint

from edgecnn.card import KEY, graph_hash
from edgecnn.errors import ModelError
from edgecnn.protobuf import BYTES, VARINT, fields
from edgecnn.scan.operators import RULES

# Which fields hold messages, by the kind of message they are in.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph"},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "axis"},
}
_NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 63, 64, 127, 128, 255, 256, 1000, 4096, 65_535, 65_536, 10**6, 2**24, 2**31 - 1),
    *(2**31, 2**32, 2**32 + 1, 2**40, 2**62, 2**63 - 1, 2**63, -1, -2, -3, -4, -(2**31), -(2**62)),
)
_OPERATORS = (
    *sorted(RULES),
    *("Loop", "If", "Scan", "RandomNormal", "NonZero", "Unique", "StringNormalizer", "SequenceAt", "EPContext"),
)
_ATTRIBUTES = (
    *("axis", "axes", "to", "perm", "pads", "strides", "dilations", "kernel_shape", "group", "auto_pad", "keepdims"),
    *("value", "mode", "blocksize", "size", "start", "end", "output_shape", "output_padding", "ceil_mode", "transA"),
    *("transB", "alpha", "beta", "allowzero", "num_outputs", "coordinate_transformation_mode", "training_mode"),
    *("count_include_pad", "storage_order", "epsilon", "equation", "largest", "sorted", "K", "N", "bits", "block_size"),
    *("nearest_mode", "antialias", "exclude_outside", "noop_with_empty_axes", "value_ints", "value_int", "saturate"),
)
_WORDS = (
    "SAME_UPPER",
    "VALID",
    "reflect",
    "edge",
    "linear",
    "cubic",
    "nearest",
    "floor",
    "asymmetric",
    "ab,bc->ac",
    "",
)


@dataclass
class Part:
    """One field of a message: a number, bytes, or the parts of a message inside."""

    number: int
    wire: int
    value: int | bytes
    kind: str = ""
    parts: list[Part] = field(default_factory=list)

    def encoded(self) -> bytes:
        tag = varint(self.number << 3 | self.wire)
        if self.wire == VARINT and isinstance(self.value, int):
            return tag + varint(self.value)
        body = joined(self.parts) if self.kind else self.value
        assert isinstance(body, bytes), "only numbers are none"
        return tag + (varint(len(body)) if self.wire == BYTES else b"") + body

    def walk(self) -> Iterator[Part]:
        yield self
        for part in self.parts:
            yield from part.walk()


def joined(parts: list[Part]) -> bytes:
    """The bytes of a message."""
    return b"".join([part.encoded() for part in parts])


def taken_apart(data: bytes, kind: str) -> list[Part]:
    """The parts of a message, those inside of it too."""
    found = []
    for number, wire, value, _, payload, end in fields(data):
        inner = _INSIDE.get(kind, {}).get(number, "") if wire == BYTES else ""
        parts = taken_apart(data[payload:end], inner) if inner else []
        found.append(Part(number, wire, value if wire == VARINT else data[payload:end], inner, parts))
    return found


def mutated(graph: bytes, card: str, seed: int) -> bytes:
    """A changed model file, always the same for a seed.

    Args:
        graph: GraphProto; see `onnx_networks`.
        card: The text of a card; its hash is set right, so that the change is not noticed by it.
        seed: Which change.
    """
    draw = random.Random(seed)
    data = model(graph)
    if draw.random() < 0.85:
        data = _structure(data, draw)
    if draw.random() < 0.25:
        data = _bytes(data, draw)
    sealed = _sealed(data, card)
    return _bytes(sealed, draw) if draw.random() < 0.03 else sealed


def _sealed(data: bytes, card: str) -> bytes:
    """The model with a card that bears its hash, as far as it has one."""
    values = json.loads(card)
    try:
        values["graph_sha256"] = graph_hash(data)
    except ModelError:
        return data
    return data + metadata_props({KEY: json.dumps(values)})


def _structure(data: bytes, draw: random.Random) -> bytes:
    root = Part(0, BYTES, b"", "model", taken_apart(data, "model"))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        parts = list(root.walk())
        draw.choice(_CHANGES)(parts, draw)
    return joined(root.parts)


def _bytes(data: bytes, draw: random.Random) -> bytes:
    """Bytes changed without regard to what they mean."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        start = draw.randrange(len(changed) + 1)
        end = min(len(changed), start + draw.choice((1, 1, 2, 4, 16, 100)))
        match draw.randrange(6):
            case 0:
                changed[start:end] = draw.randbytes(end - start)
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end]
            case 3:
                changed[start:start] = varint(draw.choice(_NUMBERS))
            case 4 if start < len(changed):
                changed[start] ^= 1 << draw.randrange(8)
            case 5 if draw.random() < 0.3:
                del changed[start:]
    return bytes(changed)


def _messages(parts: list[Part], kind: str) -> list[Part]:
    return [part for part in parts if part.kind == kind]


def _graph(parts: list[Part], draw: random.Random) -> Part:
    return draw.choice(_messages(parts, "graph") or parts[:1])


def _names(parts: list[Part]) -> list[bytes]:
    """Names of tensors: what nodes read and write, and weights."""
    texts = [p.value for node in _messages(parts, "node") for p in node.parts if p.number in (1, 2) and p.wire == BYTES]
    return [text for text in texts if isinstance(text, bytes)] or [b""]


def _change_number(parts: list[Part], draw: random.Random) -> None:
    numbers = [part for part in parts if part.wire == VARINT]
    if numbers:
        draw.choice(numbers).value = draw.choice(_NUMBERS)


def _change_text(parts: list[Part], draw: random.Random) -> None:
    texts = [part for part in parts if part.wire == BYTES and not part.kind]
    if texts:
        draw.choice(texts).value = draw.choice((*_names(parts), draw.choice(_OPERATORS).encode(), b"", b"x" * 5000))


def _change_operator(parts: list[Part], draw: random.Random) -> None:
    operators = [part for node in _messages(parts, "node") for part in node.parts if part.number == 4]
    if operators:
        draw.choice(operators).value = draw.choice(_OPERATORS).rpartition(".")[2].encode()


def _rewire(parts: list[Part], draw: random.Random) -> None:
    ends = [part for node in _messages(parts, "node") for part in node.parts if part.number in (1, 2)]
    if ends:
        draw.choice(ends).value = draw.choice(_names(parts))


def _double_drop_or_swap(parts: list[Part], draw: random.Random) -> None:
    inner = draw.choice([part for part in parts if part.parts] or parts[:1]).parts
    if not inner:
        return
    first, second = draw.randrange(len(inner)), draw.randrange(len(inner))
    match draw.randrange(3):
        case 0:
            inner.insert(first, inner[second])
        case 1:
            del inner[first]
        case 2:
            inner[first], inner[second] = inner[second], inner[first]


def _change_numbers_of_weight(parts: list[Part], draw: random.Random) -> None:
    weights = [part for part in _messages(parts, "tensor") if any(p.number == 9 for p in part.parts)]
    if not weights:
        return
    raw = next(part for part in draw.choice(weights).parts if part.number == 9)
    if isinstance(raw.value, bytes) and raw.value:
        width = draw.choice((1, 4, 8))
        place = draw.randrange(max(1, len(raw.value) // width)) * width
        number = draw.choice((draw.choice(_NUMBERS), draw.randrange(12))) % (1 << 8 * width)
        raw.value = raw.value[:place] + number.to_bytes(width, "little") + raw.value[place + width :]
        raw.value = raw.value if draw.random() < 0.9 else raw.value[: draw.randrange(len(raw.value))]


def _change_shape_of_weight(parts: list[Part], draw: random.Random) -> None:
    """The same numbers in another shape, or other ones of a new length."""
    weights = _messages(parts, "tensor")
    if not weights:
        return
    chosen = draw.choice(weights)
    shape = [draw.choice((0, 1, 1, 2, 3, 4, 8)) for _ in range(draw.randrange(5))]
    kind = draw.choice(("float32", "int64", "int32", "uint8", "int8", "bool", "float16", "float64"))
    numbers = np.array([draw.choice(_NUMBERS) % 128 for _ in range(int(np.prod(shape)))]).reshape(shape).astype(kind)
    names = [part.value for part in chosen.parts if part.number == 8 and isinstance(part.value, bytes)]
    name = names[0].decode(errors="replace") if names else ""
    chosen.parts = taken_apart(tensor(name, numbers), "tensor")


def _add_attribute(parts: list[Part], draw: random.Random) -> None:
    nodes = _messages(parts, "node")
    if nodes:
        added = attribute(draw.choice(_ATTRIBUTES), _value(draw))
        draw.choice(nodes).parts += taken_apart(added, "node")


def _value(draw: random.Random) -> int | float | str | list[int] | np.ndarray:
    numbers = [draw.choice(_NUMBERS) for _ in range(draw.choice((1, 1, 2, 2, 3, 4, 8)))]
    small = [draw.randrange(-2, 5) for _ in numbers]
    values = (numbers[0], small[0], float(numbers[0]), draw.choice(_WORDS), numbers, small, small, np.array(small))
    return draw.choice(values)


def _add_outside_data(parts: list[Part], draw: random.Random) -> None:
    weights = _messages(parts, "tensor")
    if weights:
        where = draw.choice(("weights.bin", "../../etc/passwd", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"))
        entry = nested(13, nested(1, "location") + nested(2, where))
        draw.choice(weights).parts += [*taken_apart(entry, "tensor"), Part(14, VARINT, draw.choice((0, 1, 2)))]


def _add_node(parts: list[Part], draw: random.Random) -> None:
    """A node between two others: it reads a tensor and one or two weights, and its readers read it instead."""
    graph, names = _graph(parts, draw), _names(parts)
    source, made = draw.choice(names), f"made{draw.randrange(1000)}"
    weights, inputs = b"", b""
    for index in range(draw.choice((0, 1, 1, 2, 3))):
        numbers = [draw.choice((draw.randrange(5), draw.randrange(5), draw.choice(_NUMBERS))) for _ in range(4)]
        kind = draw.choice((np.int64, np.int64, np.float32))
        shaped = np.array([n - (n >> 63 << 64) if n >= 2**63 else n for n in numbers[: draw.choice((1, 2, 4))]], kind)
        weights += nested(5, tensor(f"{made}-{index}", shaped if draw.random() < 0.8 else shaped[0].reshape(())))
        inputs += nested(1, f"{made}-{index}")
    operator = draw.choice(_OPERATORS)
    body = nested(1, source) + inputs + nested(2, made) + nested(4, operator.rpartition(".")[2])
    if draw.random() < 0.5:
        body += attribute(draw.choice(_ATTRIBUTES), _value(draw))
    nodes = [place for place, part in enumerate(graph.parts) if part.kind == "node"]
    place = draw.choice(nodes) if nodes else 0
    for node in graph.parts[place:]:
        for end in node.parts if node.kind == "node" else ():
            if end.number == 1 and end.value == source and draw.random() < 0.9:
                end.value = made.encode()
    graph.parts[place:place] = taken_apart(nested(1, body) + weights, "graph")


def _change_wire(parts: list[Part], draw: random.Random) -> None:
    chosen = draw.choice(parts)
    chosen.number = draw.choice((chosen.number, draw.randrange(1, 30), 2**29 - 1))
    if not chosen.kind and chosen.wire == BYTES:
        chosen.wire, chosen.value = draw.choice(((5, b"\0\1\2\3"), (1, b"\0" * 8), (VARINT, draw.choice(_NUMBERS))))


_Change = Callable[[list[Part], random.Random], None]
_CHANGES: tuple[_Change, ...] = (
    *(_change_number, _change_text, _change_operator, _rewire, _double_drop_or_swap, _change_numbers_of_weight),
    *(_change_numbers_of_weight, _change_shape_of_weight, _add_attribute, _add_attribute, _add_outside_data),
    *(_add_node, _add_node, _add_node, _add_node, _change_wire, _change_number),
)
