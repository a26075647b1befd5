"""The model card: everything a runtime must know about a model, carried inside the ``.onnx`` file as JSON.

ONNX Runtime reads it without the ``onnx`` package, from the metadata key ``edgecnn.card``. The file is identified by
`graph_hash`: the SHA-256 of its bytes without that metadata, so that a card can hold the hash of the graph beside it.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from edgecnn import protobuf
from edgecnn.errors import ModelError

KEY = "edgecnn.card"
SCHEMA = 1
MAX_CARD_BYTES = 64 * 1024
_REST_BYTES = 8 * 1024  # what a card holds beside the labels takes a third of this
_MOST_DIGITS = 20  # of a whole number: 64 bits
PRECISIONS = ("float32", "float16", "int8")

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

METADATA_PROPS = 14  # ModelProto.metadata_props in onnx.proto
_MANDATORY = ("schema", "task", "name", "labels", "input", "precision", "graph_sha256")
_FITS = ("crop", "stretch", "pad")
_SIZES = ("fixed", "any")
MAX_SIDE = 4096
"""Of the pictures a network takes, in pixels."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the network takes: uint8 ``(N, height, width, channels)``.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
        channels: 3 for RGB, 1 for grey.
        fit: How other sizes are brought to this one, see `edgecnn.preprocess.fit_image`.
        filter: The resampling filter; ``"bilinear"`` is Pillow's, which antialiases.
        sizes: ``"fixed"``: the graph takes this size only. ``"any"``: uint8 ``(N, H, W, C)`` of any height and width,
            grey or RGB; the graph brings it to this size itself.
    """

    height: int
    width: int
    channels: int
    fit: str = "crop"
    filter: str = "bilinear"
    sizes: Literal["fixed", "any"] = "fixed"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The card, schema 1. Keys that this version does not know are kept in `more`.

    Attributes:
        name: What the model is called, in records and on the screen.
        labels: One per output, unique, NFC-normalised, printable.
        input: What the network takes.
        precision: ``"float32"``, ``"float16"`` (as which the weights are kept) or ``"int8"``.
        graph_sha256: `graph_hash` of the file the card is in.
        more: All other keys (``accuracy``, ``parameters``, ``macs``, ``min_onnxruntime``, ``provenance`` …) as JSON.
    """

    name: str
    labels: tuple[str, ...]
    input: InputSpec
    precision: str
    graph_sha256: str
    more: Mapping[str, Json] = field(default_factory=dict)

    @property
    def unknown_below(self) -> float:
        """A picture whose highest score is below this is unknown; 0, never, where the card has no threshold."""
        unknown = self.more.get("unknown")
        limit = unknown.get("threshold") if isinstance(unknown, dict) else None
        return float(limit) if isinstance(limit, (int, float)) else 0.0

    def to_json(self) -> str:
        """The card as JSON text; `from_json` gives an equal card back.

        Raises:
            ModelError: The text is larger than 64 KiB.
        """
        known: dict[str, Json] = {
            "schema": SCHEMA,
            "task": "classification",
            "name": self.name,
            "labels": list(self.labels),
            "input": {name: getattr(self.input, name) for name in InputSpec.__slots__},
            "precision": self.precision,
            "graph_sha256": self.graph_sha256,
        }
        text = json.dumps(known | dict(self.more), ensure_ascii=False)
        if len(text.encode()) > MAX_CARD_BYTES:
            raise ModelError(
                f"a card must be at most {MAX_CARD_BYTES} bytes; it has {len(text.encode())}: shorten the labels"
            )
        return text

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        Raises:
            ModelError: Not a card of schema 1, or a field without meaning; the message names the field.
        """
        if len(text.encode()) > MAX_CARD_BYTES:
            raise ModelError(f"a card must be at most {MAX_CARD_BYTES} bytes; received {len(text.encode())}")
        try:
            values = json.loads(
                text, object_pairs_hook=_without_doubles, parse_int=_number_of, parse_constant=_no_number
            )
            json.dumps(values, ensure_ascii=False, allow_nan=False).encode()  # no half of a surrogate pair
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the model's card must be JSON ({error}); export the model again") from error
        _check(isinstance(values, dict), "the card", "a JSON object", values)
        schema = values.get("schema")
        _check(isinstance(schema, int) and not isinstance(schema, bool), "schema", "an integer", schema)
        if schema > SCHEMA:
            raise ModelError(f"the model's card has schema {schema}, this edgecnn reads {SCHEMA}: upgrade edgecnn")
        missing = [key for key in _MANDATORY if key not in values]
        if missing:
            raise ModelError(f"the model's card lacks {', '.join(missing)}; export the model again")
        _check(values["task"] == "classification", "task", "'classification'", values["task"])
        _check(_is_text(values["name"]), "name", "printable text", values["name"])
        _check(values["precision"] in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", values["precision"])
        sha = values["graph_sha256"]
        _check(isinstance(sha, str) and len(sha) == 64, "graph_sha256", "64 hexadecimal digits", sha)
        _check_unknown(values.get("unknown"))
        return cls(
            name=values["name"],
            labels=checked_labels(values["labels"]),
            input=read_input(values["input"]),
            precision=values["precision"],
            graph_sha256=sha,
            more={key: value for key, value in values.items() if key not in _MANDATORY},
        )


def _without_doubles(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:50]!r} is there twice")
    return found


def _number_of(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _no_number(text: str) -> Json:
    raise ValueError(f"{text} is no number")


def checked_labels(labels: object) -> tuple[str, ...]:
    """Labels as a card may carry them.

    Raises:
        ModelError: Fewer than two, not unique, not NFC, or not printable.
    """
    _check(isinstance(labels, (list, tuple)) and len(labels) >= 2, "labels", "a list of two or more", labels)
    texts = cast("list[object]", labels)
    for label in texts:
        _check(_is_text(label), "each label", "printable text of at most 200 letters in Unicode's NFC form", label)
    _check(len(set(texts)) == len(texts), "labels", "unique", labels)
    return tuple(cast("list[str]", texts))


def check_room(labels: tuple[str, ...]) -> None:
    """Tell before any work whether a card has room for the labels.

    Raises:
        ModelError: It has not.
    """
    size, limit = len(json.dumps(labels, ensure_ascii=False).encode()), MAX_CARD_BYTES - _REST_BYTES
    if size > limit:
        raise ModelError(
            f"the labels must fit a model's card, {limit:,} bytes; {len(labels):,} labels have {size:,}: shorten them"
        )


def graph_hash(model: bytes) -> str:
    """SHA-256, in hex, of an ONNX file's bytes without its metadata.

    Raises:
        ModelError: The bytes are not a protobuf message.
    """
    digest = hashlib.sha256()
    for part in protobuf.fields(model):
        if part.number != METADATA_PROPS:
            digest.update(model[part.start : part.end])
    return digest.hexdigest()


def read_input(values: object) -> InputSpec:
    """What a network takes, from the JSON of a card.

    Raises:
        ModelError: A field without meaning; the message names it.
    """
    _check(isinstance(values, dict), "input", "an object", values)
    fields = cast("dict[str, object]", values)
    for name in ("height", "width"):
        side = fields.get(name)
        _check(type(side) is int and 1 <= side <= MAX_SIDE, f"input.{name}", f"1 to {MAX_SIDE}", side)
    channels, fit = fields.get("channels"), fields.get("fit")
    _check(type(channels) is int and channels in (1, 3), "input.channels", "1 or 3", channels)
    _check(fit in _FITS, "input.fit", f"one of {', '.join(_FITS)}", fit)
    _check(fields.get("filter") == "bilinear", "input.filter", "'bilinear'", fields.get("filter"))
    sizes = fields.get("sizes")
    _check(sizes in _SIZES, "input.sizes", f"one of {', '.join(_SIZES)} (upgrade edgecnn for others)", sizes)
    return InputSpec(
        height=cast(int, fields["height"]),
        width=cast(int, fields["width"]),
        channels=cast(int, channels),
        fit=cast(str, fit),
        sizes=cast('Literal["fixed", "any"]', sizes),
    )


def _check_unknown(values: object) -> None:
    if values is None:
        return
    _check(isinstance(values, dict), "unknown", "an object", values)
    limit = cast("dict[str, object]", values).get("threshold")
    _check(type(limit) in (int, float) and 0 <= cast(float, limit) <= 1, "unknown.threshold", "0 to 1", limit)


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value or len(value) > 200:
        return False
    return value.isprintable() and unicodedata.is_normalized("NFC", value)


def _check(holds: bool, what: str, rule: str, received: object) -> None:
    if not holds:
        raise ModelError(f"the model's card: {what} must be {rule}; received {str(received)[:100]!r}")
