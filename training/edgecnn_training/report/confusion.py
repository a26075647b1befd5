"""What is taken for what: the confusion matrix, each class's figures, and the pairs that are mixed up most."""

from __future__ import annotations

import numpy as np

from edgecnn_training.accuracy import ClassResult, Counts, wilson
from edgecnn_training.report import tiles
from edgecnn_training.report.markup import Html, element, heading, join, note, prose, section, table, text
from edgecnn_training.report.subject import Subject

_WITH_SHARES = 12  # classes up to which a cell has room for its share beside its count
_WITH_COUNTS = 25
_AS_PICTURE = 1000
_LISTED = 40
_PAIRS = 10
_BLUE, _ORANGE = (37, 99, 180), (217, 105, 22)


def confusion(subject: Subject) -> Html:
    """The section."""
    found = subject.evaluation
    count = len(found.labels)
    if count <= _WITH_COUNTS:
        matrix = _cells(found.confusion, found.labels)
    elif count <= _AS_PICTURE:
        matrix = tiles.pixels(_picture(found.confusion), f"confusion matrix of {count} classes", "exact matrix")
    else:
        matrix = note(f"A matrix of {count:,} classes would show nothing.")
    return section(
        "confusion",
        "What is taken for what",
        prose(
            "Each row is a class as it really is, each column the answer that was given. Blue, from the upper left to "
            "the lower right, is right; orange is wrong. The stronger the colour, the larger the share of its row."
        ),
        matrix,
        heading("Mixed up most"),
        _pairs(found.confusion, found.labels),
        heading("Each class"),
        prose(
            "Recall: of the pictures of a class, how many were recognised. Precision: of the pictures that were given "
            "its label, how many deserved it. With few pictures the interval is wide, and a difference means little."
        ),
        _per_class(found.per_class()),
    )


def _cells(matrix: Counts, labels: tuple[str, ...]) -> Html:
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    head = element(
        "tr",
        element("th", element("span", text("is ↓ given →")), class_="corner"),
        *(_label(label, "col") for label in labels),
    )
    rows = [
        element(
            "tr", _label(labels[row], "row"), *(_cell(matrix, shares, row, column) for column in range(len(labels)))
        )
        for row in range(len(labels))
    ]
    return element("div", element("table", element("tbody", head, *rows), class_="matrix"), class_="wide")


def _label(label: str, scope: str) -> Html:
    return element("th", element("span", text(label)), scope=scope, title=label)


def _cell(matrix: Counts, shares: np.ndarray, row: int, column: int) -> Html:
    count, share = int(matrix[row, column]), float(shares[row, column])
    if not count:
        return element("td", text("·"), class_="none")
    hue = ",".join(map(str, _BLUE if row == column else _ORANGE))
    lines = [element("b", text(f"{count:,}"))]
    if len(matrix) <= _WITH_SHARES:
        lines.append(element("small", text(f"{share * 100:.0f} %" if share >= 0.005 else "<1 %")))
    strength = 0.15 + 0.85 * share
    kind = "strong" if strength > 0.8 else "weak"
    return element("td", *lines, class_=kind, style=f"background:rgba({hue},{strength:.2f})")


def _picture(matrix: Counts) -> np.ndarray:
    """A pixel for each cell: uint8 (C, C, 4), see-through where nothing is."""
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    picture = np.zeros((*matrix.shape, 4), np.uint8)
    picture[..., :3] = _ORANGE
    diagonal = np.arange(len(matrix))
    picture[diagonal, diagonal, :3] = _BLUE
    picture[..., 3] = np.where(matrix > 0, 40 + 215 * shares, 0)
    return picture


def _pairs(matrix: Counts, labels: tuple[str, ...]) -> Html:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = wrong.nonzero()
    if not len(rows):
        return note("Nothing was mixed up.")
    order = np.argsort(-wrong[rows, columns], kind="stable")[:_PAIRS]
    own = matrix.sum(1)
    shown = [
        [
            text(labels[row]),
            text(labels[column]),
            text(f"{wrong[row, column]:,} of {own[row]:,}"),
            _share(float(wrong[row, column] / own[row])),
        ]
        for row, column in zip(rows[order], columns[order], strict=True)
    ]
    return table(("is", "given", "pictures", "share"), shown, left=2)


def _per_class(classes: list[ClassResult]) -> Html:
    shown = classes
    more = Html("")
    if len(classes) > _LISTED:
        shown = sorted(classes, key=lambda c: 2.0 if c.recall is None else c.recall)[:_LISTED]
        more = note(f"The {_LISTED} of {len(classes):,} classes with the lowest recall; result.json has all of them.")
    rows = [
        [text(c.label), text(f"{c.correct:,} of {c.n:,}"), _recall(c), _interval(c), _share(c.precision)] for c in shown
    ]
    return join([table(("class", "right", "recall", "95 % interval", "precision"), rows), more])


def _recall(found: ClassResult) -> Html:
    if found.recall is None:
        return text("–")
    bar = element("span", class_="bar", style=f"width:{found.recall * 4:.2f}em")
    return join([element("span", bar, class_="track"), element("span", _share(found.recall))], " ")


def _interval(found: ClassResult) -> Html:
    low, high = wilson(found.correct, found.n)
    return text(f"{low * 100:.0f}–{high * 100:.0f}" if found.n else "–")


def _share(value: float | None) -> Html:
    return text("–" if value is None else f"{value * 100:.1f} %")
