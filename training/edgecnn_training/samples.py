"""Pictures of a data set as files in class folders, to be looked at: ``edgecnn datasets glyphs --save letters``."""

from __future__ import annotations

import io
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from edgecnn.decode import decode
from edgecnn.errors import EdgecnnError, ImageError, SinkError, UsageError
from edgecnn_training import screen
from edgecnn_training.dataset import Record, read, survey
from edgecnn_training.examples import SPLIT_ALIASES, SPLITS, Example


def save(location: str, folder: Path, *, split: str | None, each: int | None) -> None:
    """Write pictures of a data set as ``FOLDER/LABEL/NAME.png``, and say how many.

    The pixels are those that training sees before it brings them to the network's size: upright, RGB or grey.

    Args:
        location: Location or name of a data set.
        folder: The folder to make; it must not exist.
        split: Only pictures of this split; for data that brings its own splits.
        each: So many of each class, as good as at random, always the same ones; None takes all.

    Raises:
        UsageError: The folder exists, an unknown split, or `each` below 1.
        SourceError: There is nothing at `location`.
        DataError: It is no data set.
        SinkError: The folder cannot be written; what was written of it is removed.
    """
    if folder.exists():
        raise UsageError(f"--save must name a new folder; {folder} exists: name another")
    if each is not None and each < 1:
        raise UsageError(f"--each must be 1 or more; received {each}")
    wanted = SPLIT_ALIASES.get(split.lower()) if split is not None else None
    if split is not None and wanted is None:
        raise UsageError(f"--split must be one of {', '.join(SPLITS)}; received {split!r}")
    names = _chosen(survey(location).records, wanted, each)
    if not names:
        where = f" in the split {wanted}" if wanted else ""
        raise UsageError(f"there must be pictures to save; {location} has none{where}: leave out --split")
    try:
        counts = _write(location, folder, names)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, EdgecnnError):
            message = f"pictures must be written to {folder}: {error}; free some space or name another"
            raise SinkError(message) from error
        raise
    total = sum(counts.values())
    record = {"type": "samples", "data": location, "folder": str(folder), "pictures": total, "labels": dict(counts)}
    screen.emit(record, f"{folder}  {total:,} pictures in {len(counts):,} class folders")


def _chosen(records: Sequence[Record], split: str | None, each: int | None) -> set[str]:
    """Names of the pictures to save: of each class the first ones by content hash, which is as good as at random."""
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if split is None or record.split == split:
            by_label[record.label].append(record)
    ordered = (sorted(those, key=lambda record: record.content_hash) for those in by_label.values())
    return {record.name for those in ordered for record in those[:each]}


def _write(location: str, folder: Path, names: Collection[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for item in read(location):
        if not isinstance(item, Example) or item.name not in names:
            continue
        try:
            image = decode(item.image) if isinstance(item.image, bytes) else item.image
        except ImageError:
            continue  # `edgecnn train` lists what cannot be read
        path = _free(folder / _file_name(item.label), _file_name(Path(item.name).stem))
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        PILImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
        counts[item.label] += 1
    return counts


def _file_name(text: str) -> str:
    """A label or a name as one part of a path: what would lead elsewhere is replaced."""
    return re.sub(r"[/\\\0]", "_", text).lstrip(".") or "_"


def _free(folder: Path, stem: str) -> Path:
    candidates = (folder / (f"{stem}.png" if i == 1 else f"{stem}-{i}.png") for i in range(1, 10**9))
    return next(path for path in candidates if not path.exists())
