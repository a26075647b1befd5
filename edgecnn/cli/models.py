"""``edgecnn models``: the models that come with edgecnn; needs no ONNX Runtime and runs nothing."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn import bundled
from edgecnn.cli.inspect import accuracy, print_rows, share, size
from edgecnn.cli.streams import tell
from edgecnn.errors import ModelError

if TYPE_CHECKING:
    from edgecnn.bundled import Making
    from edgecnn.card import ModelCard


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, also on a terminal.")] = False,
) -> None:
    """List the models that come with edgecnn: what each tells apart, how well, and what it is not good for."""
    found = [(name, bundled.making(name), *_read(name)) for name in bundled.names()]
    lines = as_json or sys.stdout is None or not sys.stdout.isatty()
    if lines:
        for model in found:
            print(json.dumps(_record(*model), ensure_ascii=False), flush=True)  # noqa: T201
    else:
        print_rows([row for model in found for row in _rows(*model)])
    tell(f"next:  edgecnn predict {found[0][0]} photo.png")


def _read(name: str) -> tuple[ModelCard, int]:
    """A model's card, and its size in bytes."""
    from edgecnn import prescan
    from edgecnn.card import KEY, ModelCard

    path = bundled.file(name)
    try:
        model = prescan.read_file(path)
        return ModelCard.from_json(prescan.read_metadata(model)[KEY]), len(model)
    except (KeyError, ModelError) as error:
        raise ModelError(f"{path}: this file of edgecnn is damaged ({error}): install edgecnn again") from error


def _record(name: str, making: Making, card: ModelCard, size_bytes: int) -> dict[str, object]:
    return {
        "type": "model",
        "name": name,
        "network": _network(card),
        "precision": card.precision,
        "size_bytes": size_bytes,
        "labels": card.labels,
        "accuracy": card.more["accuracy"],
        **dataclasses.asdict(making),
    }


def _rows(name: str, making: Making, card: ModelCard, size_bytes: int) -> list[tuple[str, str]]:
    """What a person wants to know of a model, the name on the first row."""
    pictures = f"{card.input.height}×{card.input.width} {'RGB' if card.input.channels == 3 else 'grey'}"
    return [
        (name, making.description),
        ("", f"{_network(card)}, {card.precision}, {size(size_bytes)}, sees {pictures}"),
        ("", accuracy(card.more["accuracy"])),
        *(
            ("", f"{share(own['correct'] / own['n'])} of {own['n']:,}: {what}")
            for what, own in making.elsewhere.items()
        ),
        ("", making.limits),
        ("", f"learned from {making.source}; licence of the file: {making.licence}"),
    ]


def _network(card: ModelCard) -> str:
    match card.more.get("provenance"):
        case {"recipe": {"arch": str(arch)}}:
            return arch
    return "unknown"
