"""A data set seen once: what is in it, what is rejected, and under which hash it is known.

`survey` is the first of two passes. It reads every picture's bytes and header but decodes no pixels, and keeps a few
hundred bytes for each; the second pass is `cache.open_cache`.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import itertools
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from edgecnn import plugins
from edgecnn.decode import Header, read_header
from edgecnn.errors import DataError, ImageError, SourceError, refuse_unknown_options
from edgecnn.files import replacing
from edgecnn_training import locations
from edgecnn_training.datasets import _pickles
from edgecnn_training.examples import SPLITS, Example, Item, Rejected
from edgecnn_training.natural import natural_key

PACKAGE = "edgecnn_training.datasets"
OWN_SIZE_LIMIT_PX = 64
"""Pictures that all have one size of at most this many pixels a side keep it."""

Progress = Callable[[int], None]
"""Called now and then with the number of pictures read so far."""

_ONE_CLASS = "if they are one class, put its pictures into one folder"
_PROGRESS_EVERY = 100
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one picture.

    Attributes:
        name: Its path within the data set.
        label: Its class, NFC-normalised.
        split: The split the data set gives it, or None.
        group: Pictures of one group never fall on two sides of a split, or None.
        content_hash: SHA-256 of the file's bytes, or of shape and pixels where it came as an array; 32 bytes.
        height: Rows, once upright.
        width: Columns, once upright.
        grey: Whether it has one channel.
    """

    name: str
    label: str
    split: str | None
    group: str | None
    content_hash: bytes
    height: int
    width: int
    grey: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """A data set after one pass.

    Attributes:
        location: Absolute path, or the name of a set that is known by name; with the options it was given.
        records: One for each picture, in the data set's order.
        rejected: What is left out, and why.
        notes: Lines the user should see.
        labels: All classes in natural order.
        data_hash: SHA-256 in hex over content, label, given split and group of all pictures: independent of their
            order, their names and the place of the data.
        sizes: How many pictures have which (height, width).
        grey: Whether all pictures are grey.
    """

    location: str
    records: Sequence[Record]
    rejected: list[Rejected]
    notes: list[str]
    labels: tuple[str, ...]
    data_hash: str
    sizes: Mapping[tuple[int, int], int]
    grey: bool

    @property
    def common_size(self) -> tuple[int, int] | None:
        """(height, width) of all pictures; None where they differ."""
        return next(iter(self.sizes)) if len(self.sizes) == 1 else None


def survey(location: str, *, progress: Progress | None = None) -> Survey:
    """Look at every picture of a data set once, without decoding it.

    Args:
        location: A folder, an archive, a manifest, or the name of a known set.
        progress: Told how many pictures are read.

    Raises:
        SourceError: There is nothing at `location`.
        DataError: It is no data set, or none that can be trained on; the message has the remedy.
    """
    notes: list[str] = []
    census = _Census()
    for count, item in enumerate(read(location, note=notes.append), 1):
        census.add(item)
        if progress is not None and count % _PROGRESS_EVERY == 0:
            progress(count)
    if progress is not None:
        progress(len(census.records) + len(census.rejected))
    labels = check_classes(location, census.labels, Counter(r.label for r in census.records), census.rejected)
    return Survey(
        location=locations.absolute(location),
        records=census.records,
        rejected=census.rejected,
        notes=notes + census.label_notes(),
        labels=labels,
        data_hash=_data_hash(census.records),
        sizes=Counter((record.height, record.width) for record in census.records),
        grey=all(record.grey for record in census.records),
    )


def read(location: str, *, note: Callable[[str], None] = lambda line: None) -> Iterable[Item]:
    """All items of a data set, by the one plug-in that accepts its location, which also gets the location's options.

    Raises:
        SourceError: There is nothing at `location`.
        DataError: No plug-in accepts it.
        UsageError: An option that this kind of data set does not know.
    """
    place, options = locations.split(location)
    module = _plugin(place)
    known = [name for name in inspect.signature(module.load).parameters if name not in ("location", "note")]
    refuse_unknown_options(module.__name__.rpartition(".")[2].replace("_", "-"), options, known)
    items: Iterable[Item] = module.load(place, note=note, **options)
    return items


def choose_size(survey: Survey) -> tuple[int, int]:
    """The default (height, width): the pictures' own if all are equal and at most 64 pixels, else 64×64."""
    size = survey.common_size
    if size is not None and max(size) <= OWN_SIZE_LIMIT_PX:
        return size
    return OWN_SIZE_LIMIT_PX, OWN_SIZE_LIMIT_PX


def content_hash(image: bytes | npt.NDArray[np.uint8]) -> bytes:
    """SHA-256 of a picture file, or of the shape and the pixels of an array."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def write_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    """Write ``rejected.csv``: name and reason of everything that was left out."""
    write_csv(path, ("name", "reason"), ((item.name, item.reason) for item in rejected))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file under a temporary name, then rename it; names that are no Unicode are escaped."""
    with (
        replacing(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        # "\r\n" ends its lines, for only then it quotes both in a name; in the file "\n" does
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\r\n")
        for row in itertools.chain([header], rows):
            writer.writerow(row)
            file.write(buffer.getvalue().removesuffix("\r\n") + "\n")
            buffer.seek(0)
            buffer.truncate()


def check_classes(
    location: str, found: Iterable[str], kept: Mapping[str, int], rejected: Collection[Rejected]
) -> tuple[str, ...]:
    """All labels in natural order, if one can train on them.

    Args:
        location: Named in the message.
        found: Labels of all pictures, rejected ones included.
        kept: How many readable pictures each label has.
        rejected: The most frequent reasons are shown.

    Raises:
        DataError: No picture at all, a class without one, or a single class.
    """
    labels = tuple(sorted(found, key=natural_key))
    why = "".join(f"\n  {line}" for line in reasons(rejected))
    if not labels:
        raise DataError(
            f"a data set must hold pictures; none in {location}: pass a folder of class folders, cat/1.jpg and "
            f"dog/2.jpg, an archive of one, or a manifest{why}"
        )
    empty = [label for label in labels if not kept.get(label)]
    if empty:
        shown = ", ".join(map(repr, empty[:_SHOWN])) + (" …" if len(empty) > _SHOWN else "")
        raise DataError(
            f"each class must hold a picture that can be read; none in {shown}: mend what is named here, or delete the "
            f"class{why}"
        )
    if len(labels) < 2:
        raise DataError(
            f"a classifier needs two classes or more; {location} has one, {labels[0]!r}: put the pictures of each "
            "class into a folder of its own (and those that are none of them into one called 'other')"
        )
    return labels


def reasons(rejected: Iterable[Rejected]) -> list[str]:
    """A line for each of the most frequent reasons, with an example.

    What follows a colon or stands in brackets is a detail, such as a size, and makes no other reason.
    """
    alike: defaultdict[str, list[Rejected]] = defaultdict(list)
    for item in rejected:
        alike[re.split(r": | \(", item.reason)[0]].append(item)
    most = sorted(alike.values(), key=len, reverse=True)[:_SHOWN]
    return [
        f"{len(items):,} rejected, {'such as ' if len(items) > 1 else ''}{items[0].name!r}: {items[0].reason}"
        for items in most
    ]


def _plugin(location: str) -> ModuleType:
    _pickles.refuse(location)
    known = plugins.names(PACKAGE)
    modules = [plugins.load(PACKAGE, name) for name in known]
    accepting = [module for module in modules if module.accepts(location)]
    assert len(accepting) <= 1, f"{accepting} all accept {location}"
    if accepting:
        return accepting[0]
    if not os.path.lexists(location):
        raise SourceError(f"a data set must exist; there is no {location!r}: check the path")
    for module in modules:
        if reason := getattr(module, "why_not", lambda location: "")(location):
            raise DataError(f"{location} is no data set that edgecnn knows: {reason}")
    kinds = "".join(f"\n  {plugins.summary(PACKAGE, name)}" for name in known)
    raise DataError(f"{location} is no data set that edgecnn knows; it must be one of:{kinds}")


class _Census:
    """Collects the records of a first pass."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.rejected: list[Rejected] = []
        self.labels: set[str] = set()
        self._spellings: dict[str, str] = {}
        self._names: set[str] = set()
        self._given: dict[str | None, str | None] = {None: None}

    def add(self, item: Item) -> None:
        """Take one item of the data set."""
        if isinstance(item, Rejected):
            self.rejected.append(item)
            return
        label = self._label(item)
        if item.name in self._names:
            self.rejected.append(Rejected(item.name, "the name appears more than once; only the first one counts"))
            return
        self._names.add(item.name)
        try:
            header = _header(item)
        except ImageError as error:
            self.rejected.append(Rejected(item.name, str(error)))
            return
        group = self._given.setdefault(item.group, item.group)  # one string for all that are equal
        self.records.append(
            Record(
                name=item.name,
                label=label,
                split=_split(item),
                group=group,
                content_hash=content_hash(item.image),
                height=header.height,
                width=header.width,
                grey=header.grey,
            )
        )

    def label_notes(self) -> list[str]:
        """What the user should know about labels that are nearly the same."""
        notes = []
        for label in sorted(self.labels):
            spellings = [raw for raw, normalized in self._spellings.items() if normalized == label]
            if len(spellings) > 1:
                notes.append(f"{len(spellings)} folders or labels read {label!r} in different Unicode forms: merged")
        folded: dict[str, list[str]] = {}
        for label in sorted(self.labels):
            folded.setdefault(label.casefold(), []).append(label)
        alike = [repr(label) for group in folded.values() if len(group) > 1 for label in group]
        if alike:
            shown = ", ".join(alike[: 2 * _SHOWN]) + (" …" if len(alike) > 2 * _SHOWN else "")
            notes.append(f"labels that differ only in case stay apart: {shown}; {_ONE_CLASS}")
        return notes

    def _label(self, item: Example) -> str:
        """The item's label in NFC; checked once for each spelling."""
        if item.label not in self._spellings:
            label = unicodedata.normalize("NFC", item.label)
            if not label or not label.isprintable():
                raise DataError(
                    f"a label must be printable text; received {item.label!r} for {item.name!r}: rename the class"
                )
            self._spellings[item.label] = label
            self.labels.add(label)
        return self._spellings[item.label]


def _header(item: Example) -> Header:
    """Size and kind of a picture; an array from a plug-in is checked, since those may be the user's own."""
    if isinstance(item.image, bytes):
        return read_header(item.image)
    image = item.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise DataError(
            f"a data set must yield uint8 arrays (H, W, 1) or (H, W, 3); received {image.dtype} {image.shape} for "
            f"{item.name!a}"
        )
    return Header(image.shape[0], image.shape[1], image.shape[2] == 1)


def _split(item: Example) -> str | None:
    if item.split is not None and item.split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)} or None; received {item.split!r} for {item.name!a}")
    return item.split


def _data_hash(records: Iterable[Record]) -> str:
    return hashlib.sha256(b"".join(sorted(_lines(records)))).hexdigest()


def _lines(records: Iterable[Record]) -> Iterator[bytes]:
    """A hash of fixed length for each record, so that no label can pose as a group."""
    for record in records:
        given = repr((record.label, record.split, record.group)).encode("utf-8", "backslashreplace")
        yield hashlib.sha256(record.content_hash + given).digest()
