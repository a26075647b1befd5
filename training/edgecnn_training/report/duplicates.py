"""What was found to be there twice, as files of a run: ``health.json``, ``duplicates.csv``, ``duplicates.png``."""

from __future__ import annotations

from pathlib import Path

from edgecnn_training.dataset import write_csv
from edgecnn_training.health import FILE, Health
from edgecnn_training.pictures import Images
from edgecnn_training.report import figures
from edgecnn_training.run import write_json

_HEADER = ("kind", "likeness", "name", "split", "label", "other_name", "other_split", "other_label")


def write(folder: Path, health: Health, images: Images) -> None:
    """Write the files; the list and the contact sheet only where there is a pair.

    Args:
        folder: The run's.
        health: What was found.
        images: The cache that it was found in.
    """
    write_json(folder / FILE, health.to_record())
    if not health.pairs:
        return
    rows = (
        (p.kind, f"{p.likeness:.4f}", *(text for s in (p.first, p.second) for text in (s.name, s.split, s.label)))
        for p in health.pairs
    )
    write_csv(folder / "duplicates.csv", _HEADER, rows)
    shown = {
        f"{kind}: {len(pairs):,} of {health.found[kind]:,}" if len(pairs) < health.found[kind] else kind: pairs
        for kind, pairs in health.examples().items()
    }
    figures.duplicates(folder / "duplicates.png", images, shown)
