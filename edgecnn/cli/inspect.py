"""``edgecnn inspect``: what a model file says of itself; needs no ONNX Runtime and runs nothing."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli.options import AllowAnyOp
from edgecnn.errors import ModelError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgecnn.card import Json, ModelCard
    from edgecnn.prescan import Outline
    from edgecnn.scan.contents import TensorInfo

_LONGEST_NAME = 20  # of a row; longer ones come from elsewhere


def inspect(
    model: Annotated[
        str,
        typer.Argument(help="Any .onnx file, also one without a card, or a name of `edgecnn models`.", metavar="MODEL"),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the whole card, also on a terminal.")
    ] = False,
    allow_any_op: AllowAnyOp = False,
) -> None:
    """Show a model's card, inputs, outputs and operators."""
    from edgecnn import bundled, prescan
    from edgecnn.card import KEY, ModelCard, graph_hash

    path = bundled.find(model)
    try:
        data = prescan.read_file(path)
        prescan.check(data, allow_any_op=allow_any_op)
        outline = prescan.outline(data)
        text = prescan.read_metadata(data).get(KEY)
        card = ModelCard.from_json(text) if text is not None else None
    except ModelError as error:
        raise ModelError(f"{model}: {error}") from error
    digest = graph_hash(data)
    if as_json or sys.stdout is None or not sys.stdout.isatty():
        record: dict[str, Json] = {"file": model, "size_bytes": len(data), "graph_sha256": digest}
        record |= {"card": json.loads(card.to_json()) if card else None} | dataclasses.asdict(outline)
        print(json.dumps(record, ensure_ascii=False, indent=2 if as_json else None))  # noqa: T201
        return
    rows = [("file", f"{model}, {size(len(data))}"), *_card_rows(card, digest), *_outline_rows(outline)]
    print_rows(rows)


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Two columns, the second one wrapped to the terminal's width."""
    indent = 2 + max(len(printable(name)) for name, _ in rows if len(name) <= _LONGEST_NAME)
    columns = max(40, shutil.get_terminal_size().columns)
    for name, value in rows:
        first = f"{printable(name):<{indent - 1}} "
        lines = textwrap.wrap(
            printable(value),
            columns,
            initial_indent=first,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        print("\n".join(lines or [first.rstrip()]))  # noqa: T201


def size(count: int) -> str:
    """Bytes for people: ``900 bytes``, ``92 KB``, ``3.1 MB``."""
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1e3:.0f} KB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def _card_rows(card: ModelCard | None, digest: str) -> list[tuple[str, str]]:
    """The card's fields in words; of those that only newer programs know, the JSON."""
    if card is None:
        return [("card", "none: not exported by edgecnn; `edgecnn predict` refuses it"), ("graph", digest)]
    spec = card.input
    shape = f"{spec.height}×{spec.width} {'RGB' if spec.channels == 3 else 'grey'}"
    taken = shape if spec.sizes == "fixed" else f"any size may be fed, grey or RGB; the graph brings it to {shape}"
    matches = "matches the card" if digest == card.graph_sha256 else "DIFFERS from the card: changed after the export"
    rows = [
        ("name", card.name),
        ("labels", f"{len(card.labels)}: {', '.join(card.labels)}"),
        ("pictures", f"{taken}, fit {spec.fit}, filter {spec.filter}"),
        ("precision", card.precision),
        ("graph", f"{digest[:16]}…, {matches}"),
    ]
    more = dict(card.more)
    for name, tell in _SENTENCES.items():
        sentence = tell(more.get(name))
        if sentence:
            rows.append((name, sentence))
            del more[name]
    return rows + [(name, _words(value)) for name, value in more.items() if name != "provenance"] + _origin(more)


def accuracy(claims: Json) -> str:
    """The card's accuracy in a sentence; empty where it is not what `edgecnn export` writes."""
    match claims:
        case {"top1": float(top1), "n": int(n), "interval": [float(low), float(high)], "split": str(split), **others}:
            text = f"top-1 {share(top1)} of {n:,} {split} pictures, 95 % interval {share(low)} to {share(high)}"
            before, leaked = others.get("float_top1"), others.get("leaked")
            text += f"; {share(before)} before quantisation" if isinstance(before, float) else ""
            return text + (f"; flattered by {leaked:,} it knew" if isinstance(leaked, int) and leaked else "")
    return ""


def _calibration(claims: Json) -> str:
    match claims:
        case {"temperature": float(hot), "ece_before": float(before), "ece": float(after), "n": int(n)}:
            told = f"scores are off by {after * 100:.1f} points on average"
            how = "as trained" if hot == 1 else f"{before * 100:.1f} before temperature {hot:.2f}"
            return f"{told}, {how}; n {n:,}"
    return ""


def _unknown(claims: Json) -> str:
    match claims:
        case {"threshold": 0.0}:
            return "nothing: there were too few validation pictures to say what is"
        case {"threshold": float(limit), "coverage": float(kept), "error": float(wrong), "n": int(n)}:
            return (
                f"below a score of {limit:.2f}, where {(1 - kept) * 100:.1f} % of {n:,} pictures of known classes are; "
                f"{share(wrong)} of the others are wrong"
            )
    return ""


def _self_test(claims: Json) -> str:
    match claims:
        case {"seeds": list(seeds), "expected": list(_), "tolerance": float(tolerance)}:
            return f"{len(seeds)} generated pictures, scores within {tolerance:g}"
    return ""


def _macs(claims: Json) -> str:
    match claims:
        case int(count) if not isinstance(count, bool) and count >= 100_000:
            return f"{count / 1e6:,.1f} million a picture"
    return ""


def _any_size(claims: Json) -> str:
    match claims:
        case {"n": int(n), "sizes": int(sizes), "levels": int(levels), "difference": float() | int() as apart}:
            same = "to the same pixels" if not levels else f"within {levels} of 255 in a pixel, {apart:.1g} in a score,"
            return f"{n:,} pictures of {sizes:,} sizes are brought {same} as by edgecnn before an ordinary file"
    return ""


def _recipe(values: Json) -> str:
    """What tells one training from another at a glance; ``--json`` has all of it."""
    match values:
        case {"arch": str(arch), "epochs": int(epochs), "seed": int(seed), **others}:
            told = others.get("description")
            first = f"{told}; " if isinstance(told, str) and told else ""
            return f"{first}arch {arch}, {epochs} epochs, seed {seed} (the rest: --json)"
    return ""


def share(part: float) -> str:
    """A share of 1 in percent."""
    return f"{part * 100:.2f} %"


_SENTENCES: dict[str, Callable[[Json], str]] = {
    "accuracy": accuracy,
    "calibration": _calibration,
    "unknown": _unknown,
    "self_test": _self_test,
    "macs": _macs,
    "any_size": _any_size,
}


def _origin(more: Mapping[str, Json]) -> list[tuple[str, str]]:
    """The card's provenance, an object on a line."""
    provenance = more.get("provenance")
    if not isinstance(provenance, dict):
        return []
    return [(name, (_recipe(value) if name == "recipe" else "") or _words(value)) for name, value in provenance.items()]


def _outline_rows(outline: Outline) -> list[tuple[str, str]]:
    opsets = ", ".join(f"{domain} {version}" for domain, version in outline.opsets.items())
    operators = ", ".join(f"{name} {count}" for name, count in outline.operators.items())
    return [
        *(("input", _tensor(tensor)) for tensor in outline.inputs),
        *(("output", _tensor(tensor)) for tensor in outline.outputs),
        ("operators", f"{sum(outline.operators.values())}: {operators}"),
        ("format", f"ONNX IR {outline.ir_version}, opset {opsets}, written by {outline.producer or 'unknown'}"),
    ]


def _tensor(tensor: TensorInfo) -> str:
    return f"{tensor.name}: {tensor.dtype} ({', '.join(map(str, tensor.shape))})"


def _words(value: Json) -> str:
    """A value of the card: numbers and text as they are, an object as ``name value, name value``."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items() if part not in ("", {}))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
