"""``metrics.jsonl`` of a run: a line of JSON for each epoch, read with care, since people open it and processes die."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecnn.errors import DataError

_COUNTS = ("epoch", "step")
_REMEDY = (
    "put the file back as it was, or delete it: a training then goes on without these epochs in its curves, and "
    "stops early by those to come only"
)


def read(path: Path, up_to_step: int | None = None) -> list[dict[str, float]]:
    """The epochs' lines in their order.

    A last line that is no JSON is one that a killed process has half written: it is left out, as are lines that follow
    a given step, whatever these hold.

    Args:
        path: The file; none is no line.
        up_to_step: Lines of later steps are left out; None takes all.

    Raises:
        DataError: A line is not as a training writes it; the message names it.
    """
    if up_to_step == 0 or not path.exists():
        return []
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path} must be readable; {error.strerror or error}: {_REMEDY}") from error
    lines: list[dict[str, float]] = []
    for number, text in enumerate(texts, 1):
        try:
            values = _checked(json.loads(text), lines)
        except (ValueError, RecursionError) as error:
            if number == len(texts) and isinstance(error, json.JSONDecodeError):
                break
            raise DataError(
                f"each line of {path} must be an epoch that a training wrote; line {number}: {error}: {_REMEDY}"
            ) from error
        if up_to_step is not None and values["step"] > up_to_step:
            break
        lines.append(values)
        if values["step"] == up_to_step:
            break
    return lines


def stopped_early(metrics: Sequence[Mapping[str, float]], patience: int, *, since: int = 0) -> bool:
    """Whether the last `patience` epochs were no better on validation than one before them.

    A function of what ``metrics.jsonl`` holds, so that a resumed run stops where the uninterrupted one does.

    Args:
        metrics: A line per epoch.
        patience: 0 never stops.
        since: Step after which epochs count: no run ends before its last phase.
    """
    found = [line["validation_top1"] for line in metrics if "validation_top1" in line and line["step"] > since]
    return 0 < patience < len(found) and max(found[-patience:]) <= max(found[:-patience])


def _checked(values: object, before: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """A line's numbers by their names.

    Raises:
        ValueError: It holds something else, or does not follow the lines before it.
    """
    if not isinstance(values, dict):
        raise ValueError(f"it is no JSON object but {str(values)[:40]!r}")
    for name in _COUNTS:
        count = values.get(name)
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} must be a whole number above 0; received {str(count)[:40]!r}")
        if before and count <= before[-1][name]:
            raise ValueError(f"{name} must be above that of the line before, {before[-1][name]}; received {count}")
    for name, value in values.items():
        if type(value) not in (int, float) or not _finite(value):
            raise ValueError(f"{name} must be a finite number; received {str(value)[:40]!r}")
    return values


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
