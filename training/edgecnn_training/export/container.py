"""An ONNX graph and its card → one file, complete or not there at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.card import KEY, InputSpec, Json, ModelCard, graph_hash

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class Identity:
    """What a card says before anything is measured.

    Attributes:
        name: What the model is called.
        labels: One per output.
        input: What the network takes.
    """

    name: str
    labels: tuple[str, ...]
    input: InputSpec


def write(
    path: Path, graph: onnx.ModelProto, identity: Identity, precision: str, more: Mapping[str, Json]
) -> ModelCard:
    """Write a graph with its card.

    Args:
        path: The file; overwritten.
        graph: The graph; its metadata is replaced.
        identity: Name, labels, input.
        precision: ``"float32"``, ``"float16"`` or ``"int8"``.
        more: The other keys of the card.

    Returns:
        The card, with the hash of the very bytes that were written.
    """
    del graph.metadata_props[:]
    card = ModelCard(
        name=identity.name,
        labels=identity.labels,
        input=identity.input,
        precision=precision,
        graph_sha256=graph_hash(graph.SerializeToString()),
        more=more,
    )
    entry = graph.metadata_props.add()
    entry.key, entry.value = KEY, card.to_json()
    model = graph.SerializeToString()
    assert graph_hash(model) == card.graph_sha256, "a card must not change the hash of its graph"
    path.write_bytes(model)
    return card
