"""From a location to pictures ready for training: survey, size, cache, and the classes checked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn_training.cache import open_cache
from edgecnn_training.dataset import Progress, Record, Survey, check_classes, choose_size, survey
from edgecnn_training.examples import Rejected


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures in one size, with their classes.

    Attributes:
        survey: What the first pass found.
        images: uint8 ``(M, H, W, C)``, memory-mapped; one row for each different content.
        rows: int64 ``(N,)``: which row each record's picture is.
        class_index: int64 ``(N,)``: index of each record's label in `labels`.
        labels: All classes in natural order.
        records: The pictures that could be decoded; N of them.
        rejected: Everything left out, by either pass.
        notes: Lines the user should see.
    """

    survey: Survey
    images: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    class_index: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    records: Sequence[Record]
    rejected: list[Rejected]
    notes: list[str]


def load_dataset(
    location: str,
    *,
    size: tuple[int, int] | None,
    channels: int | None,
    fit: str = "crop",
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set, decoding it unless that has been done before.

    Args:
        location: A folder, an archive, a manifest, or the name of a known set.
        size: (height, width) of all pictures; None chooses as `choose_size` does.
        channels: 1 or 3; None takes 1 if all pictures are grey, else 3.
        fit: How a picture is brought to the size: ``"crop"``, ``"stretch"`` or ``"pad"``.
        progress: Told how many pictures are read, first by one pass, then by the other.

    Raises:
        SourceError: There is nothing at `location`.
        DataError: It cannot be trained on, or the cache cannot be written.
    """
    found = survey(location, progress=progress)
    height, width = choose_size(found) if size is None else size
    depth = channels if channels is not None else 1 if found.grey else 3
    cache = open_cache(found, height=height, width=width, channels=depth, fit=fit, progress=progress)
    rows = cache.rows(found.records)
    records = [record for record, row in zip(found.records, rows, strict=True) if row >= 0]
    rejected = [*found.rejected, *cache.rejected]
    labels = check_classes(found.location, found.labels, Counter(record.label for record in records), rejected)
    index = {label: i for i, label in enumerate(labels)}
    return Dataset(
        survey=found,
        images=cache.images,
        rows=rows[rows >= 0],
        class_index=np.fromiter((index[record.label] for record in records), np.int64, len(records)),
        labels=labels,
        records=records,
        rejected=rejected,
        notes=[*found.notes, *cache.notes],
    )
