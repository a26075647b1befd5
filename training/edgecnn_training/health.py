"""How healthy a data set is: pictures that are there twice, under two labels, or on two sides of the splits.

Identical means identical to the network: the same pixels once a picture has its size, whatever file they came from.
Nearly the same is what `edgecnn_training.near` says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn_training.examples import SPLITS
from edgecnn_training.loading import Dataset
from edgecnn_training.near import Search
from edgecnn_training.pictures import Floats, Indices
from edgecnn_training.splits import TEST, Codes

FILE = "health.json"
KINDS = (
    "identical, under two labels",
    "identical, on two sides",
    "nearly the same, under two labels",
    "nearly the same, on two sides",
    "identical, on one side",
    "nearly the same, on one side",
)
"""Kinds of pairs, the worst first."""

LISTED = 500
"""So many pairs of each kind are kept, those that are most alike; each picture with the one that it is most like."""

EXAMPLES = 8
"""So many of each kind are shown."""

_LABELS = 5  # that are named


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of a pair: its name in the data set, its label, its split, and its row of the cache."""

    name: str
    label: str
    split: str
    row: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that are identical or nearly so.

    Attributes:
        kind: One of `KINDS`.
        likeness: Correlation of their pixels; 1 where they are identical.
        first: The one nearer to training.
        second: The other one.
    """

    kind: str
    likeness: float
    first: Seen
    second: Seen

    def to_record(self) -> dict[str, object]:
        """The pair as ``health.json`` has it."""
        sides = {
            name: {"name": seen.name, "label": seen.label, "split": seen.split}
            for name, seen in (("first", self.first), ("second", self.second))
        }
        return {"kind": self.kind, "likeness": self.likeness, **sides}


@dataclass(frozen=True, slots=True)
class Health:
    """What was found in a data set. Counts are of pictures; those of a split are keyed by its name, without zeros.

    Attributes:
        sizes: All pictures of each split.
        identical_within: Pictures that another one of their split repeats, that one not counted.
        identical_across: Pictures that are identical to one of a split nearer to training.
        same_file: How many of all repetitions have the same bytes; the others were saved anew.
        two_labels: Different pictures that stand under two labels or more.
        near_within: Pictures that are nearly the same as one of their split and label that comes before them.
        near_across: Pictures that are nearly the same as one of their label in a split nearer to training.
        near_two_labels: Pictures that are nearly the same as one of another label that comes before them.
        near_labels: Labels of the pictures in `near_across`, the most frequent ones first; five at most.
        leaked: Pictures of a test split that the data gives which are identical to ones of train or validation.
        complete: Whether all pictures were compared; else there may be more that are nearly the same.
        found: How many pairs of each kind there are, zeros left out, where each picture counts with the one that it is
            most like; so many lines ``duplicates.csv`` has of the kind, up to `LISTED`.
        pairs: Up to `LISTED` of each kind, the worst kind first.
    """

    sizes: Mapping[str, int]
    identical_within: Mapping[str, int]
    identical_across: Mapping[str, int]
    same_file: int
    two_labels: int
    near_within: Mapping[str, int]
    near_across: Mapping[str, int]
    near_two_labels: int
    near_labels: Mapping[str, int]
    leaked: int
    complete: bool
    found: Mapping[str, int]
    pairs: Sequence[Pair]

    def examples(self) -> dict[str, list[Pair]]:
        """The first pairs of each kind that there is, the worst kind first; no picture twice among those of a kind."""
        kinds: dict[str, list[Pair]] = {}
        shown = set[tuple[str, int]]()
        for pair in self.pairs:
            chosen = kinds.setdefault(pair.kind, [])
            rows = {(pair.kind, pair.first.row), (pair.kind, pair.second.row)}
            if len(chosen) < EXAMPLES and not rows & shown:
                shown |= rows
                chosen.append(pair)
        return kinds

    def to_record(self) -> dict[str, object]:
        """``health.json``: the counts, and examples as `Pair.to_record` gives them."""
        counts = {name: getattr(self, name) for name in Health.__slots__ if name != "pairs"}
        return {**counts, "examples": [pair.to_record() for pairs in self.examples().values() for pair in pairs]}


def examine(data: Dataset, codes: Codes, alike: Indices) -> Health:
    """Look for pictures that are there twice, or nearly so.

    Args:
        data: The pictures.
        codes: The split of each record.
        alike: For each record the first row of the cache that has its pixels.
    """
    census = _Census(data, codes, alike)
    given_test = any(record.split == SPLITS[TEST] for record in data.records)
    across = census.per_split(census.sides[alike] & ((1 << codes) - 1) != 0)
    search = Search(data.images, np.unique(alike))
    for pairs in search.pairs():
        census.keep_near(pairs.first, pairs.second, pairs.likeness)
    conflicts, reached, within = (census.later(kind) for kind in KINDS if kind.startswith("nearly the same"))
    labels = Counter(data.labels[i] for i in data.class_index[reached])
    return Health(
        sizes=census.per_split(np.ones(len(codes), bool)),
        identical_within=census.per_split(census.repeats),
        identical_across=across,
        same_file=len(data.rows) - len(np.unique(data.rows)),
        two_labels=census.two_labels,
        near_within=census.per_split(within),
        near_across=census.per_split(reached),
        near_two_labels=int(conflicts.sum()),
        near_labels=dict(labels.most_common(_LABELS)),
        leaked=across.get("test", 0) if given_test else 0,
        complete=not search.effort.cut,
        found={kind: count for kind in KINDS if (count := int(census.later(kind).sum()))},
        pairs=list(census.listed()),
    )


def refuse_leak(health: Health) -> None:
    """Stop where the test split that the data gives holds pictures the network would learn from.

    Raises:
        DataError: It does.
    """
    if not health.leaked:
        return
    identical = [pair for pair in health.pairs if pair.kind in (KINDS[0], KINDS[1])]
    leaks = [pair for pair in identical if pair.second.split == "test" != pair.first.split]
    named = ", ".join(f"{pair.second.name!a} is {pair.first.name!a}" for pair in leaks[:3])
    raise DataError(
        "the test split must hold pictures that the network does not learn from; "
        f"{health.leaked:,} of its {health.sizes['test']:,} are identical to pictures of train or validation"
        f"{f', such as {named}' if named else ''}: delete them on one side, or go on with --allow-leak, which "
        "lists them in the run's duplicates.csv and measures a flattered accuracy"
    )


def known(run: Path) -> Mapping[str, int]:
    """How many pictures of each split of a run are identical to ones nearer to training; empty where nobody looked."""
    try:
        values = json.loads((run / FILE).read_text(encoding="utf-8"))
        return {split: int(count) for split, count in values["identical_across"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


class _Census:
    """Identical pictures counted, and the pairs to be listed.

    Attributes:
        sides: For each row of the cache, as bits, the splits in which its pixels stand.
        repeats: Whether a record repeats one of its own split.
        two_labels: Different pictures under two labels or more.
    """

    def __init__(self, data: Dataset, codes: Codes, alike: Indices) -> None:
        self._data, self._codes = data, codes
        count = len(data.images)
        self.sides = np.zeros(count, np.uint8)
        np.bitwise_or.at(self.sides, alike, (1 << codes).astype(np.uint8))
        order = np.lexsort((codes, alike))  # stable: of equals, the earlier record comes first
        ordered = alike[order]
        begins = np.r_[True, ordered[1:] != ordered[:-1]]
        self.repeats = np.zeros(len(codes), bool)
        self.repeats[order[1:]] = ~begins[1:] & (codes[order][1:] == codes[order][:-1])
        named = np.unique(alike * len(data.labels) + data.class_index) // len(data.labels)
        self.two_labels = int((np.unique(named, return_counts=True)[1] > 1).sum())
        self._first = np.full(count, -1, np.int64)  # the record that stands for each row's pixels
        self._first[ordered[begins]] = order[begins]
        others = order[~begins]
        self._best = {kind: _Best(len(codes)) for kind in KINDS}
        self._keep("identical", self._first[alike[others]], others, np.ones(len(others), np.float32))

    def per_split(self, chosen: npt.NDArray[np.bool_]) -> dict[str, int]:
        """How many of the chosen records each split has."""
        counts = np.bincount(self._codes[chosen], minlength=len(SPLITS)).tolist()
        return {split: count for split, count in zip(SPLITS, counts, strict=True) if count}

    def keep_near(self, first: Indices, second: Indices, likeness: Floats) -> None:
        """Keep the worst of some pairs of rows."""
        a, b = self._first[first], self._first[second]
        swapped = self._codes[a] > self._codes[b]
        a, b = np.where(swapped, b, a), np.where(swapped, a, b)
        self._keep("nearly the same", a, b, likeness)

    def later(self, kind: str) -> npt.NDArray[np.bool_]:
        """Whether each record is the second one of a pair of a kind."""
        return self._best[kind].found

    def listed(self) -> Iterator[Pair]:
        """The pairs that were kept, the worst first."""
        for kind, best in self._best.items():
            for a, b, likeness in best.listed():
                yield Pair(kind, likeness, self._seen(a), self._seen(b))

    def _keep(self, how: str, first: Indices, second: Indices, likeness: Floats) -> None:
        labels, codes = self._data.class_index, self._codes
        conflict = labels[first] != labels[second]
        apart = ~conflict & (codes[first] != codes[second])
        for what, chosen in (
            ("under two labels", conflict),
            ("on two sides", apart),
            ("on one side", ~conflict & ~apart),
        ):
            self._best[f"{how}, {what}"].add(first[chosen], second[chosen], likeness[chosen])

    def _seen(self, index: int) -> Seen:
        record = self._data.records[index]
        return Seen(record.name, record.label, SPLITS[self._codes[index]], int(self._data.rows[index]))


class _Best:
    """For each record the one that it is most like, of those that come before it."""

    def __init__(self, count: int) -> None:
        self._partner = np.full(count, -1, np.int64)
        self._likeness = np.zeros(count, np.float32)

    def add(self, first: Indices, second: Indices, likeness: Floats) -> None:
        """Take pairs into account."""
        order = np.lexsort((first, -likeness, second))
        first, second, likeness = first[order], second[order], likeness[order]
        second, at = np.unique(second, return_index=True)
        better = likeness[at] > self._likeness[second]
        self._partner[second[better]] = first[at][better]
        self._likeness[second[better]] = likeness[at][better]

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Whether each record has such a one."""
        return self._partner >= 0

    def listed(self) -> Iterator[tuple[int, int, float]]:
        """At most `LISTED` pairs with their likeness, the most alike ones first."""
        found = np.flatnonzero(self.found)
        found = found[np.argsort(-self._likeness[found], kind="stable")][:LISTED]
        for i in found.tolist():
            yield int(self._partner[i]), i, round(float(self._likeness[i]), 4)
