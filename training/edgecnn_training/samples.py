"""Pictures of a data set as files in class folders, to be looked at: ``edgecnn datasets glyphs --save letters``."""

from __future__ import annotations

import io
import os
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from edgecnn.decode import decode
from edgecnn.errors import DataError, EdgecnnError, ImageError, SinkError, UsageError
from edgecnn_training import locations, screen
from edgecnn_training.dataset import Record, read, reasons, survey
from edgecnn_training.disk import is_full
from edgecnn_training.examples import SPLIT_ALIASES, SPLITS, Example, Rejected


def save(location: str, folder: Path, *, split: str | None, each: int | None) -> None:
    """Write pictures of a data set as ``FOLDER/LABEL/NAME.png``, and say how many.

    The pixels are those that training sees before it brings them to the network's size: upright, RGB or grey. The
    folder is there when it is complete.

    Args:
        location: Location or name of a data set.
        folder: The folder to make; it must not exist.
        split: Only pictures of this split; for data that brings its own splits.
        each: So many of each class, as good as at random, always the same ones; None takes all.

    Raises:
        UsageError: A folder that exists or lies in the data, an unknown split, or `each` below 1.
        SourceError: There is nothing at `location`.
        DataError: It is no data set, or none of its pictures can be read.
        SinkError: The folder cannot be written; what was written of it is removed.
    """
    wanted = _check(location, folder, split, each)
    found = survey(location)
    for line in found.notes:
        screen.say(f"note: {line}")
    names = _chosen(found.records, wanted, each)
    if not names:
        where = f" in the split {wanted}" if wanted else ""
        raise UsageError(f"there must be pictures to save; {location} has none{where}: leave out --split")
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir()
        counts, unread = _write(location, partial, names)
        if counts:
            partial.rename(folder)
    except OSError as error:
        if isinstance(error, EdgecnnError):
            raise
        remedy = "free some space or name another" if is_full(error) else "name another"
        raise SinkError(f"pictures must be written to {folder}: {error.strerror}; {remedy}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for line in reasons(unread):
        screen.say(f"note: {line}")
    if not counts:
        raise DataError(
            f"there must be pictures that can be read; none of {len(unread):,} can, in {location}: copy anew"
        )
    total = sum(counts.values())
    record = {"type": "samples", "data": location, "folder": str(folder), "pictures": total, "labels": dict(counts)}
    screen.emit(record, f"{folder}  {total:,} pictures in {len(counts):,} class folders")


def _check(location: str, folder: Path, split: str | None, each: int | None) -> str | None:
    """The split that is meant, if the request has a meaning."""
    if os.path.lexists(folder):
        raise UsageError(f"--save must name a new folder; {folder} exists: name another")
    if not folder.absolute().parent.is_dir():
        raise UsageError(f"--save must name a folder in one that exists; make {folder.absolute().parent} first")
    if locations.holds(location, folder):
        raise UsageError(f"--save must name a folder outside of the data; {folder} lies in {location}: name another")
    if each is not None and each < 1:
        raise UsageError(f"--each must be 1 or more; received {each}")
    wanted = SPLIT_ALIASES.get(split.lower()) if split is not None else None
    if split is not None and wanted is None:
        raise UsageError(f"--split must be one of {', '.join(SPLITS)}; received {split!r}")
    return wanted


def _chosen(records: Sequence[Record], split: str | None, each: int | None) -> set[str]:
    """Names of the pictures to save: of each class the first ones by content hash, which is as good as at random."""
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if split is None or record.split == split:
            by_label[record.label].append(record)
    ordered = (sorted(those, key=lambda record: record.content_hash) for those in by_label.values())
    return {record.name for those in ordered for record in those[:each]}


def _write(location: str, folder: Path, names: set[str]) -> tuple[Counter[str], list[Rejected]]:
    """Write the pictures of these names; count them by label, and list what cannot be read."""
    counts: Counter[str] = Counter()
    unread = []
    for item in read(location):
        if not isinstance(item, Example) or item.name not in names:
            continue
        names.discard(item.name)  # where a name comes again, only the first one counts
        try:
            image = decode(item.image) if isinstance(item.image, bytes) else item.image
        except ImageError as error:
            unread.append(Rejected(item.name, str(error)))
            continue
        label = unicodedata.normalize("NFC", item.label)
        path = _free(folder / _file_name(label), _file_name(Path(item.name).stem))
        path.parent.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        PILImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
        counts[label] += 1
    return counts, unread


def _file_name(text: str) -> str:
    """A label or a name as one part of a path, another for each; what would lead elsewhere is escaped as in URLs."""
    text = re.sub(r"[%/\\\0]", lambda found: f"%{ord(found[0]):02X}", text)
    return f"%2E{text[1:]}" if text.startswith(".") else text


def _free(folder: Path, stem: str) -> Path:
    candidates = (folder / (f"{stem}.png" if i == 1 else f"{stem}-{i}.png") for i in range(1, 10**9))
    return next(path for path in candidates if not path.exists())
