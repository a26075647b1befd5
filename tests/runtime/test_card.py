from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx_bytes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.card import KEY, MAX_CARD_BYTES, InputSpec, ModelCard, checked_labels, graph_hash
from edgecnn.errors import ModelError

GOOD: dict[str, object] = {
    "schema": 1,
    "task": "classification",
    "name": "signs",
    "labels": ["one", "two"],
    "input": {"height": 32, "width": 48, "channels": 3, "fit": "pad", "filter": "bilinear", "sizes": "fixed"},
    "precision": "int8",
    "graph_sha256": "0" * 64,
}
labels = st.lists(st.sampled_from(["a", "b", "ünï", "数字", "two words", "𝄞"]), min_size=2, unique=True)


def spec(**changes: object) -> dict[str, object]:
    return {"input": {**GOOD["input"], **changes}}  # type: ignore[dict-item]


@given(labels, st.sampled_from(["crop", "pad", "stretch"]), st.integers(1, 4096), st.sampled_from([1, 3]))
def test_a_card_survives_json(names: list[str], fit: str, height: int, channels: int) -> None:
    card = ModelCard("n", tuple(names), InputSpec(height, 7, channels, fit), "float32", "a" * 64, {"macs": 12})
    assert ModelCard.from_json(card.to_json()) == card


def test_every_field_arrives_where_it_belongs() -> None:
    card = ModelCard.from_json(json.dumps(GOOD))
    assert (card.name, card.labels, card.precision) == ("signs", ("one", "two"), "int8")
    assert card.input == InputSpec(height=32, width=48, channels=3, fit="pad")


def test_keys_that_are_not_known_are_kept() -> None:
    later = {"accuracy": {"top1": 0.98, "n": 163}, "from_the_future": [1, {"x": None}]}
    card = ModelCard.from_json(json.dumps(GOOD | later))
    assert card.more == later
    assert json.loads(card.to_json()) == GOOD | later


def test_a_newer_schema_says_upgrade() -> None:
    with pytest.raises(ModelError, match="schema 2, this edgecnn reads 1: upgrade edgecnn"):
        ModelCard.from_json(json.dumps(GOOD | {"schema": 2}))


@pytest.mark.parametrize("key", [key for key in GOOD if key != "schema"])
def test_a_missing_field_is_named(key: str) -> None:
    with pytest.raises(ModelError, match=f"lacks {key}; export the model again"):
        ModelCard.from_json(json.dumps({name: value for name, value in GOOD.items() if name != key}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "1"}, "schema must be an integer"),
        ({"schema": True}, "schema must be an integer"),
        ({"task": "detection"}, "task must be 'classification'; received 'detection'"),
        ({"name": ""}, "name must be printable text"),
        ({"name": "a\x1b[2J"}, "name must be printable text"),
        ({"precision": "int4"}, "precision must be one of float32, float16, int8; received 'int4'"),
        ({"graph_sha256": "abc"}, "graph_sha256 must be 64 hexadecimal digits"),
        ({"labels": "ab"}, "labels must be a list of two or more"),
        ({"labels": ["one"]}, "labels must be a list of two or more"),
        ({"labels": ["one", "one"]}, "labels must be unique"),
        ({"labels": ["one", 2]}, "each label must be printable text"),
        ({"labels": ["one", "u\u0308"]}, "each label must be .* NFC"),
        ({"labels": ["one", "a\nb"]}, "each label must be printable text"),
        ({"input": []}, "input must be an object"),
        (spec(height=0), "input.height must be 1 to 4096; received '0'"),
        (spec(width=True), "input.width must be 1 to 4096"),
        (spec(channels=4), "input.channels must be 1 or 3; received '4'"),
        (spec(fit="zoom"), "input.fit must be one of crop, stretch, pad"),
        (spec(filter="nearest"), "input.filter must be 'bilinear'"),
        (spec(sizes="most"), "input.sizes must be one of fixed, any .*upgrade edgecnn"),
    ],
)
def test_a_wrong_field_is_named_with_its_rule(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelCard.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", "3"])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="card"):
        ModelCard.from_json(text)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('"labels": ["x", "y"]', "the key 'labels' is there twice"),
        ('"macs": 1' + "0" * 400, "a number of 401 digits"),
        ('"extra": NaN', "NaN is no number"),
        ('"extra": -Infinity', "Infinity is no number"),
        ('"extra": 1e999', "not JSON compliant"),
        ('"extra": "\\ud800"', "surrogates not allowed"),
    ],
)
def test_what_strict_json_does_not_know_is_refused(entry: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"card must be JSON .*{message}"):
        ModelCard.from_json(json.dumps(GOOD)[:-1] + f", {entry}}}")


def test_an_oversized_card_is_refused_on_both_ways() -> None:
    with pytest.raises(ModelError, match="at most 65536 bytes"):
        ModelCard.from_json(" " * (MAX_CARD_BYTES + 1))
    card = ModelCard.from_json(json.dumps(GOOD | {"note": "x" * (MAX_CARD_BYTES - 500)}))
    large = ModelCard(card.name, card.labels, card.input, card.precision, "0" * 64, {"note": "x" * MAX_CARD_BYTES})
    with pytest.raises(ModelError, match="at most 65536 bytes"):
        large.to_json()


def test_labels_are_checked_by_the_same_rules_before_an_export() -> None:
    assert checked_labels(["a", "b"]) == ("a", "b")
    with pytest.raises(ModelError, match="unique"):
        checked_labels(["a", "a"])


def test_the_hash_is_that_of_the_file_without_its_metadata() -> None:
    graph = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))
    plain = onnx_bytes.model(graph)
    metadata = onnx_bytes.metadata_props({KEY: "{}", "author": "x" * 300})
    expected = hashlib.sha256(plain).hexdigest()
    assert graph_hash(plain) == graph_hash(plain + metadata) == graph_hash(metadata + plain) == expected


def test_the_hash_changes_with_a_weight_and_with_the_opset() -> None:
    graph = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))
    other = onnx_bytes.linear_graph(onnx_bytes.COLORS + np.float32(0.001), (8, 8, 3))
    files = [onnx_bytes.model(graph), onnx_bytes.model(other), onnx_bytes.model(graph, opset=18)]
    assert len({graph_hash(file) for file in files}) == 3


@pytest.mark.parametrize(
    "unknown", [3, {"coverage": 0.9}, {"threshold": "0.5"}, {"threshold": 1.5}, {"threshold": True}]
)
def test_a_threshold_without_meaning_is_refused(unknown: object) -> None:
    with pytest.raises(ModelError, match=r"unknown(\.threshold)? must be"):
        ModelCard.from_json(json.dumps(GOOD | {"unknown": unknown}))
