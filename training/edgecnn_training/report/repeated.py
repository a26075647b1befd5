"""What is there twice in the data, as a run's ``health.json`` and ``duplicates.png`` have it."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image as PILImage

from edgecnn_training.advice import near_on_two_sides
from edgecnn_training.examples import SPLITS
from edgecnn_training.report import tiles
from edgecnn_training.report.markup import Html, heading, note, prose, table, text
from edgecnn_training.report.subject import Subject

_ROWS = {
    "identical_within": "identical to another one of their split",
    "identical_across": "identical to one nearer to training",
    "near_within": "nearly the same as an earlier one of their split and label",
    "near_across": "nearly the same as one of their label nearer to training",
}
_LIST = (
    "The pairs that are most alike of each kind, no picture twice; duplicates.csv has all of them, up to 500 of a kind."
)


def repeated(subject: Subject) -> list[Html]:
    """A part of the section on the data; nothing where nobody looked."""
    found = subject.read_json("health.json")
    if not found:
        return []
    rows = [
        [text(what), *(text(f"{_count(found, key, split):,}") for split in SPLITS)]
        for key, what in _ROWS.items()
        if any(_count(found, key, split) for split in SPLITS)
    ]
    lines = [prose(line) for line in (*_told(found), *_near(found, subject.run.info.split))]
    if not rows and not lines:
        return [note("No picture is there twice.")]
    counted = [table(("pictures that are", *SPLITS), rows)] if rows else []
    return [heading("There twice"), *counted, *lines, *_sheet(subject)]


def _told(found: Mapping[str, object]) -> list[str]:
    two_labels, near = found.get("two_labels"), found.get("near_two_labels")
    lines = []
    if two_labels:
        lines.append(
            f"Pictures under two labels: {two_labels}. No network can be right about both: move or delete one."
        )
    if near:
        lines.append(
            f"Pictures that are nearly the same as one of another label: {near}. One of the labels may be wrong."
        )
    if found.get("complete") is False:
        lines.append("The search was not finished, the set is too large or too uniform: there may be more.")
    return lines


def _near(found: Mapping[str, object], split: str) -> list[str]:
    """What the training said of held-out pictures that are nearly the same as others."""
    across, labels, sizes = (_counts(found, key) for key in ("near_across", "near_labels", "sizes"))
    told = near_on_two_sides(across, labels, sizes, found.get("complete") is not False, split)
    return [line[0].upper() + line[1:] + "." for line in told]


def _counts(found: Mapping[str, object], key: str) -> dict[str, int]:
    counts = found.get(key)
    return {k: v for k, v in counts.items() if isinstance(v, int)} if isinstance(counts, dict) else {}


def _count(found: Mapping[str, object], key: str, split: str) -> int:
    return _counts(found, key).get(split, 0)


def _sheet(subject: Subject) -> list[Html]:
    """The contact sheet, where there is one."""
    try:
        with PILImage.open(subject.path / "duplicates.png") as picture:
            return [tiles.sheet(picture, "pairs of pictures that are identical or nearly so"), note(_LIST)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, PILImage.DecompressionBombError) as error:
        return [note(f"duplicates.png cannot be shown: {error}")]
