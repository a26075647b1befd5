"""The data of a run that exists: the pictures it was trained on, and the split of each."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Set

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError, SourceError
from edgecnn_training import locations, screen, splits
from edgecnn_training.examples import SPLITS
from edgecnn_training.loading import Dataset, load_dataset
from edgecnn_training.pictures import Pictures
from edgecnn_training.run import Run

_ANEW = "delete that file; edgecnn train --run RUN --resume writes it anew"

Codes = npt.NDArray[np.uint8]
"""uint8 ``(N,)``: each picture's split, as an index into `SPLITS`."""


def load_data_of(run: Run, location: str | None) -> Dataset:
    """The data a run was trained on.

    Args:
        run: The run.
        location: Where it lies now; None is where it lay.

    Raises:
        SourceError: It is gone from there.
        DataError: It holds other pictures or labels than the run was trained on.
    """
    spec = run.info.input
    where = location or run.info.data_location
    if location is None and os.path.isabs(where) and not os.path.exists(locations.place(where)):
        raise SourceError(
            f"a run's data must be where it lay; {run.path} was trained on {where}, which is gone: name where it lies "
            "now, as DATA of `edgecnn train --resume`, or as --data of `edgecnn export`"
        )
    with screen.counter("reading") as seen:
        data = load_dataset(where, size=(spec.height, spec.width), channels=spec.channels, fit=spec.fit, progress=seen)
    if data.survey.data_hash != run.info.data_hash:
        raise DataError(
            f"{run.path} was trained on other data than {where} holds now, {_difference(run, data)} (hash "
            f"{run.info.data_hash[:12]}, now {data.survey.data_hash[:12]}): name the data it was trained on, or train "
            "a new run"
        )
    if data.labels != run.info.labels:
        raise DataError(
            f"{run.path / 'run.json'} must have the labels of its data, in their order ({_few(data.labels)}); it has "
            f"{_few(run.info.labels)}: put the file back as it was, or train again into a new --run"
        )
    return data


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(map(repr, labels[:5])) + (" …" if len(labels) > 5 else "")


def _difference(run: Run, data: Dataset) -> str:
    """In how far the pictures are others: ``3 of 180 pictures gone, 1 new``."""
    then = Counter(splits.read_labels(run.splits))
    now = Counter((record.content_hash, record.label) for record in data.records)
    gone, new = then - now, now - then
    moved = Counter(digest for digest, _ in gone.elements()) & Counter(digest for digest, _ in new.elements())
    counts = {
        f"of {then.total():,} pictures gone": gone.total() - moved.total(),
        "new": new.total() - moved.total(),
        "under another label": moved.total(),
    }
    told = [f"{count:,} {what}" for what, count in counts.items() if count]
    return ", ".join(told) or "the same pictures with other given splits or groups"


def codes_of(run: Run, data: Dataset) -> Codes:
    """The split of each record of a run's own data, as ``splits.csv`` has it.

    The file knows pictures by their content, so that files may be renamed. Where splits that the data gives hold one
    content twice, each record keeps the split that it gives.

    Raises:
        DataError: ``splits.csv`` is missing or lacks a picture.
    """
    known = splits.read_sides(run.splits)
    try:
        found = [_code(known[record.content_hash], record.split) for record in data.records]
    except KeyError as error:
        raise DataError(f"{run.splits} must list every picture of the data: train again into a new --run") from error
    return np.array(found, np.uint8)


def _code(sides: Set[str], given: str | None) -> int:
    return SPLITS.index(given) if given in sides else min(map(SPLITS.index, sides))


def confidence_of(run: Run) -> tuple[float, float | None]:
    """Temperature and threshold of a run that is done: 1 and None where its ``result.json`` has none.

    Raises:
        DataError: The file is damaged.
    """
    path = run.path / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        result = None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} must be JSON ({error}): {_ANEW}") from error
    return _number(run, result, "calibration", "temperature") or 1.0, _number(run, result, "unknown", "threshold")


def _number(run: Run, result: object, part: str, key: str) -> float | None:
    """A number of ``result.json``; None where there is none, or 0."""
    inner = result.get(part) if isinstance(result, dict) else None
    value = inner.get(key) if isinstance(inner, dict) else None
    if not value:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
        raise DataError(
            f"{part}.{key} of {run.path / 'result.json'} must be a positive number; received {str(value)[:50]!r}: "
            f"{_ANEW}"
        )
    return float(value)


def pictures(data: Dataset, codes: Codes, split: str) -> Pictures:
    """The pictures of one split."""
    chosen = codes == SPLITS.index(split)
    return Pictures(data.images, data.rows[chosen], data.class_index[chosen])


def names(data: Dataset, codes: Codes, split: str) -> list[str]:
    """Name of each picture of one split within the data."""
    return [data.records[int(i)].name for i in np.flatnonzero(codes == SPLITS.index(split))]


def hashes(data: Dataset, codes: Codes, split: str) -> frozenset[bytes]:
    """The content hashes of a split's pictures."""
    wanted = SPLITS.index(split)
    return frozenset(record.content_hash for record, code in zip(data.records, codes, strict=True) if code == wanted)


def held_out(data: Dataset, codes: Codes) -> tuple[str, Pictures]:
    """The split that a run's accuracy is reported on: test, or validation where the data gives no test split."""
    for split in ("test", "validation"):
        chosen = pictures(data, codes, split)
        if len(chosen):
            return split, chosen
    raise DataError("a run must hold out some pictures; its data is too small for a test or validation split: add more")
