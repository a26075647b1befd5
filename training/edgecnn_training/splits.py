"""Who trains, who validates, who tests: no content and no group on two sides.

Pictures that share their content, their pixels or their group form one component (by union-find), and components are
divided, never pictures. A class is divided 80/10/10; where it has three components or more, each split gets at least
one.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError, UsageError
from edgecnn_training.dataset import Record, write_csv
from edgecnn_training.examples import SPLITS
from edgecnn_training.natural import Key, natural_key
from edgecnn_training.pictures import Indices

METHODS = ("random", "ordered")
TRAIN, VALIDATION, TEST = range(3)
SHARE = 0.1
"""Share of validation, and of test."""

Codes = npt.NDArray[np.uint8]
"""0 train, 1 validation, 2 test: indices into `examples.SPLITS`."""

_HEADER = ("content_hash", "split", "label", "name")


def assign(records: Sequence[Record], *, method: str, seed: int, alike: Indices | None = None) -> Codes:
    """The split of each record.

    Splits that the data set gives are kept: pictures without one then belong to train, a missing validation split is a
    tenth of train, and a missing test split stays missing. Otherwise 80/10/10.

    Args:
        records: All pictures of a data set.
        method: ``"random"``: stratified by label; ``"ordered"``: the last tenths of each class by natural order of
            names, for pictures taken in sequence.
        seed: Determines the random split.
        alike: For each record a number that it shares with those of the same pixels: one picture saved twice, with
            other bytes. None where the pixels are not known.

    Raises:
        UsageError: An unknown method.
        DataError: A class without a picture to train on, or too few pictures for a validation split.
    """
    if method not in METHODS:
        raise UsageError(f"split must be one of {', '.join(METHODS)}; received {method!r}")
    codes = np.zeros(len(records), np.uint8)
    given = any(record.split is not None for record in records)
    if given:
        codes[:] = [SPLITS.index(record.split or "train") for record in records]
    wanted = () if given and (codes == VALIDATION).any() else (VALIDATION,) if given else (TEST, VALIDATION)
    if wanted:
        _Division(records, codes, wanted, alike).divide(method, seed)
    _check(records, codes)
    return codes


def counts(records: Sequence[Record], codes: Codes, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """How many pictures: int64 ``(len(labels), 3)``, a row for each class, columns train, validation, test."""
    index = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(SPLITS)), np.int64)
    for record, code in zip(records, codes, strict=True):
        table[index[record.label], code] += 1
    return table


def contents(records: Sequence[Record], codes: Codes, split: str) -> set[bytes]:
    """The content hashes of a split's pictures."""
    code = SPLITS.index(split)
    return {record.content_hash for record, own in zip(records, codes, strict=True) if own == code}


def warnings(records: Sequence[Record], codes: Codes) -> list[str]:
    """What the user should know about a split: classes that a split lacks."""
    lines = []
    lacking: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for code, split in enumerate(SPLITS):
        present = {record.label for record, own in zip(records, codes, strict=True) if own == code}
        if present:
            lacking[tuple(sorted({record.label for record in records} - present, key=natural_key))].append(split)
    why = "too few different ones" + (", or all in one group" if _grouped(records) else "")
    for labels, where in lacking.items():
        if labels:
            shown = ", ".join(map(repr, labels[:5])) + (" …" if len(labels) > 5 else "")
            have = "have" if len(where) > 1 else "has"
            lines.append(
                f"{' and '.join(where)} {have} no picture of {shown}: {why}; no accuracy is known for what is missing"
            )
    return lines


def write_splits(path: Path, records: Sequence[Record], codes: Codes) -> None:
    """Write ``splits.csv``: content hash, split, label and name of each picture."""
    rows = ((r.content_hash.hex(), SPLITS[code], r.label, r.name) for r, code in zip(records, codes, strict=True))
    write_csv(path, _HEADER, rows)


def read_splits(path: Path) -> dict[bytes, str]:
    """Content hash → split, from ``splits.csv``; a content on two sides counts for the one nearer to training.

    Raises:
        DataError: Missing or damaged.
    """
    return {digest: min(sides, key=SPLITS.index) for digest, sides in read_sides(path).items()}


def read_sides(path: Path) -> dict[bytes, set[str]]:
    """Content hash → all splits in which it stands, from ``splits.csv``: more than one where given splits leak.

    Raises:
        DataError: Missing or damaged.
    """
    found: dict[bytes, set[str]] = defaultdict(set)
    for digest, split, _ in _rows(path):
        found[digest].add(split)
    return dict(found)


def read_labels(path: Path) -> list[tuple[bytes, str]]:
    """Content hash and label of each picture, from ``splits.csv``.

    Raises:
        DataError: Missing or damaged.
    """
    return [(digest, label) for digest, _, label in _rows(path)]


def _rows(path: Path) -> list[tuple[bytes, str, str]]:
    """Content hash, split and label of each row."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != _HEADER:
                raise ValueError(f"it must begin with {','.join(_HEADER)}")
            return [(bytes.fromhex(row[0]), SPLITS[SPLITS.index(row[1])], row[2]) for row in rows]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise DataError(f"{path} must hold the splits of a run and cannot be read ({error}); train again") from error


def components(records: Sequence[Record], alike: Indices | None = None) -> Indices:
    """For each record the number of its component, int64 ``(N,)``.

    Records that share content, pixels (the number in `alike`) or group are one component, directly or over others.
    """
    parent = list(range(len(records)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[bytes | str | int, int] = {}
    pixels: Sequence[int | None] = [None] * len(records) if alike is None else alike.tolist()
    for i, (record, same) in enumerate(zip(records, pixels, strict=True)):
        for key in (record.content_hash, same, record.group):
            if key is not None:
                low, high = sorted((root(first.setdefault(key, i)), root(i)))
                parent[high] = low
    _, numbers = np.unique([root(i) for i in range(len(records))], return_inverse=True)
    return numbers.astype(np.int64)


class _Division:
    """Takes parts of a tenth away from train, component by component.

    Components that reach into another split already (the same picture in a given test split) stay as they are.
    """

    def __init__(
        self, records: Sequence[Record], codes: Codes, parts: Sequence[int], alike: Indices | None = None
    ) -> None:
        self.records, self.codes, self.parts = records, codes, parts
        self.members: dict[int, list[int]] = defaultdict(list)
        for i, number in enumerate(components(records, alike)):
            self.members[int(number)].append(i)
        self.members = {n: own for n, own in self.members.items() if not codes[own].any()}
        self.labels = {n: Counter(records[i].label for i in own) for n, own in self.members.items()}
        self.holders: dict[str, list[int]] = defaultdict(list)
        for number, labels in self.labels.items():
            for label in labels:
                self.holders[label].append(number)
        self.totals = Counter(records[i].label for own in self.members.values() for i in own)
        self.side = dict.fromkeys(self.members, TRAIN)

    def divide(self, method: str, seed: int) -> None:
        """Write the parts into the codes."""
        if method == "ordered":
            self._ordered()
        else:
            self._random(np.random.Generator(np.random.Philox(seed)))
        self._give_each_class_its_share()
        for number, own in self.members.items():
            self.codes[own] = self.side[number]

    def _target(self, label: str) -> int:
        """Pictures of a class in each part; 0 where it has too few components."""
        enough = len(self.holders[label]) > len(self.parts)
        return max(1, round(SHARE * self.totals[label])) if enough else 0

    def _ordered(self) -> None:
        """Walk back from the end of each class; a component lies where its first name lies.

        A component of several classes is sent where the class that is nearest to training sends it.
        """
        wishes: dict[int, list[int]] = defaultdict(list)
        for label, numbers in self.holders.items():
            left = sorted(numbers, key=lambda number: self._first_key(number, label))
            target = self._target(label)
            for position, part in enumerate(self.parts):
                need, kept = target, len(self.parts) - position  # one for each part to come, one for train
                while need > 0 and len(left) > kept:
                    size = self.labels[left[-1]][label]
                    if need < target and size > 2 * need:
                        break  # nearer to a tenth without it
                    wishes[left.pop()].append(part)
                    need -= size
            for number in left:
                wishes[number].append(TRAIN)
        for number, parts in wishes.items():
            self.side[number] = min(parts)

    def _first_key(self, number: int, label: str) -> Key:
        return min(natural_key(self.records[i].name) for i in self.members[number] if self.records[i].label == label)

    def _random(self, rng: np.random.Generator) -> None:
        """First components of several pictures, then single ones, which fill up what is missing exactly."""
        have: Counter[tuple[int, str]] = Counter()
        numbers = [int(number) for number in rng.permutation(sorted(self.members))]
        several = [number for number in numbers if len(self.members[number]) > 1]
        for number in sorted(several, key=self._fits):
            side = min((TRAIN, *self.parts), key=lambda side: self._cost(number, side, have))
            self._put(number, side, have)
        for number in numbers:
            if len(self.members[number]) == 1:
                (label,) = self.labels[number]
                part = next((p for p in self.parts if have[p, label] < self._target(label)), TRAIN)
                self._put(number, part, have)

    def _put(self, number: int, side: int, have: Counter[tuple[int, str]]) -> None:
        self.side[number] = side
        for label, count in self.labels[number].items():
            have[side, label] += count

    def _fits(self, number: int) -> bool:
        """Whether it is no larger than a tenth of each of its classes; the others are placed first."""
        return all(count <= self._target(label) for label, count in self.labels[number].items())

    def _cost(self, number: int, side: int, have: Mapping[tuple[int, str], int]) -> int:
        """How much the squared distance to the wanted counts grows if the component goes to this side."""
        cost = 0
        for label, count in self.labels[number].items():
            target = self._target(label)
            if side == TRAIN:
                target = self.totals[label] - len(self.parts) * target
            cost += count * (2 * (have[side, label] - target) + count)
        return cost

    def _give_each_class_its_share(self) -> None:
        """Move components until each class that has enough of them is on every side; train comes before all."""
        cover: Counter[tuple[int, str]] = Counter()
        for number, labels in self.labels.items():
            cover.update((self.side[number], label) for label in labels)
        for part in (TRAIN, *self.parts):
            for label in sorted(self.holders):
                needed = part == TRAIN or self._target(label) > 0
                if needed and not cover[part, label]:
                    self._move_one(label, part, cover)

    def _move_one(self, label: str, part: int, cover: Counter[tuple[int, str]]) -> None:
        """Move the smallest component of a class that can be spared; to train one is moved whatever it costs."""
        spare = [
            number
            for number in self.holders[label]
            if self.side[number] != part and all(cover[self.side[number], own] > 1 for own in self.labels[number])
        ]
        choice = spare or (self.holders[label] if part == TRAIN else [])
        if choice:
            number = min(choice, key=lambda number: (len(self.members[number]), number))
            for own in self.labels[number]:
                cover[self.side[number], own] -= 1
                cover[part, own] += 1
            self.side[number] = part


def _grouped(records: Sequence[Record]) -> bool:
    return any(record.group is not None for record in records)


def _check(records: Sequence[Record], codes: Codes) -> None:
    trained = {record.label for record, code in zip(records, codes, strict=True) if code == TRAIN}
    untrained = sorted({record.label for record in records} - trained, key=natural_key)
    if untrained:
        shown = ", ".join(map(repr, untrained[:5]))
        raise DataError(
            f"each class must have pictures in train; none of {shown}: add some, or delete the class elsewhere"
        )
    if not (codes == VALIDATION).any():
        needed = "two" if any(record.split is not None for record in records) else "three"
        apart = " in different groups" if _grouped(records) else ""
        raise DataError(
            f"the validation split must hold a picture; no class has {needed} different pictures{apart}: "
            f"{len(records):,} pictures are too few, add more"
        )
