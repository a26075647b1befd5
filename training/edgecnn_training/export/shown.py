"""What ``edgecnn export`` shows of the candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecnn_training import screen
from edgecnn_training.export import gate
from edgecnn_training.export.candidates import Candidate
from edgecnn_training.pictures import Indices


def table(candidates: Sequence[Candidate], truth: Indices, chosen: Candidate, verdicts: Mapping[str, str]) -> str:
    """All candidates, float32 first: size, accuracy and agreement on validation, time, and what became of each.

    Args:
        candidates: What was measured.
        truth: The validation pictures' classes.
        chosen: The one that is written.
        verdicts: What became of each, by name.
    """
    exact = candidates[0]
    rows = [["", "size", "validation", "as float32", "one image", ""]]
    for candidate in candidates:
        mark = "✓ " if candidate is chosen else "  "
        right = candidate.validation.argmax(1) == truth
        same = "–"
        if candidate is not exact and len(truth):
            same = screen.percent(gate.agreement(exact.validation, candidate.validation))
        rows.append(
            [
                mark + candidate.name,
                f"{candidate.size_bytes / 1000:,.0f} KB",
                screen.percent(float(right.mean())) if len(truth) else "–",
                same,
                f"{candidate.milliseconds:.2f} ms",
                verdicts.get(candidate.name, ""),
            ]
        )
    return screen.table(rows, indent="  ", words_last=True)


def short_of_pictures(split: str, there: int, max_drop: float, rungs: int) -> str:
    """Why nothing is proven: there are so many pictures of a split, and so many candidates might have been tried."""
    least = gate.pictures_needed(max_drop, rungs)
    if there >= least:
        return f"note: --prove is not met by any of them on {there:,} {split} pictures"
    return (
        f"note: to prove --max-drop {max_drop:g} takes {least:,} {split} pictures even without a single "
        f"difference; there are {there:,}: hold out more, or raise --max-drop"
    )
