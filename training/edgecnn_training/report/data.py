"""What the run was trained on: pictures of each class and split, what was left out, and what is worth knowing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgecnn_training import health, splits
from edgecnn_training.advice import advice
from edgecnn_training.dataset import reasons
from edgecnn_training.examples import SPLITS
from edgecnn_training.report.markup import Html, element, heading, note, path, prose, section, table, text
from edgecnn_training.report.repeated import repeated
from edgecnn_training.report.subject import Subject

_LISTED = 40
_REJECTED = 20
_HOW = {
    "given": "The data set brings its own splits.",
    "ordered": "Split by the order of the names: the last tenths of each class are held out.",
    "random": "Split at random, the same share of each class.",
}


def data(subject: Subject) -> Html:
    """The section."""
    info, found = subject.run.info, subject.data
    return section(
        "data",
        "Data",
        prose(f"{len(found.records):,} pictures, {len(found.labels):,} classes. {_HOW[info.split]} {_sides(subject)}"),
        _counts(subject),
        *_notes(subject),
        *_left_out(subject),
        *repeated(subject),
    )


def _sides(subject: Subject) -> str:
    known = sum(health.known(subject.path).values())
    if known:
        what = "1 picture stands" if known == 1 else f"{known:,} pictures stand"
        return f"{what} on two sides: accuracy is flattered."
    return "No identical picture is on two sides: the network is measured on what it has not seen."


def _counts(subject: Subject) -> Html:
    labels = subject.data.labels
    counts = splits.counts(subject.data.records, subject.codes, labels)
    sums = [int(value) for value in counts.sum(0)]
    order: Iterable[int] = range(len(labels))
    if len(labels) > _LISTED:
        order = sorted(order, key=lambda i: int(counts[i].sum()))[:_LISTED]
    rows = [_numbers(text(labels[i]), [*map(int, counts[i])]) for i in order]
    if len(labels) > _LISTED:
        rows.append(
            _numbers(
                text(f"… and {len(labels) - _LISTED:,} larger classes"),
                [*map(int, counts.sum(0) - sum(counts[i] for i in order))],
            )
        )
    total = _numbers(element("b", text("all")), sums)
    return table(("class", *SPLITS, "all"), [*rows, total])


def _numbers(name: Html, counts: Sequence[int]) -> list[Html]:
    return [name, *(text(f"{count:,}") for count in (*counts, sum(counts)))]


def _notes(subject: Subject) -> list[Html]:
    left_out = set(reasons(subject.data.rejected))  # shown with all the others below
    told = [*subject.data.notes, *splits.warnings(subject.data.records, subject.codes), *advice(subject.data)]
    lines = [line for line in told if line not in left_out]
    return [heading("Worth knowing"), _list(lines)] if lines else []


def _left_out(subject: Subject) -> list[Html]:
    rejected = subject.data.rejected
    if not rejected:
        return [note("Nothing was left out.")]
    rows = [[path(item.name), text(item.reason)] for item in rejected[:_REJECTED]]
    more = (
        [note(f"The first {_REJECTED} of {len(rejected):,}; rejected.csv has all.")]
        if len(rejected) > _REJECTED
        else []
    )
    return [heading(f"Left out: {len(rejected):,}"), table(("name", "reason"), rows, left=2), *more]


def _list(lines: Sequence[str]) -> Html:
    return element("ul", *(element("li", text(line)) for line in lines), class_="lines")
