"""Charts drawn by Matplotlib as SVG that stands in the page: sharp in print, dark where the page is dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgecnn.errors import needs
from edgecnn_training.homes import keep_home_clean
from edgecnn_training.report.markup import Html, element, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BLUE, ORANGE = "#010203", "#010204", "#010205"
"""Colours that the page's style sheet decides: text and lines, what is right or learned, what is wrong or tried."""

_BY_THE_PAGE = {INK: "currentColor", BLUE: "var(--blue)", ORANGE: "var(--orange)"}
_STYLE = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "font.size": 9.0,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "edgecnn",  # the same chart is the same SVG
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw as the page wants it; Matplotlib's global settings are as before afterwards."""
    keep_home_clean()
    needs("matplotlib", "train", "to draw the report")
    import matplotlib

    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are literals to mypy
        yield


def panel(width: float = 4.2, height: float = 3.0) -> tuple[Figure, Axes]:
    """An empty chart, in inches; the page shows it in the width of a column."""
    from matplotlib.figure import Figure  # heavy, and only here needed

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def chart(figure: Figure, name: str, alt: str) -> Html:
    """A finished chart as an element of the page.

    Args:
        figure: Drawn within `style`. Its text is plain ASCII words of ours, never a label.
        name: Unique in the page: the chart's own names begin with it.
        alt: What is to be seen, in words.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]  # no XML declaration within a page
    drawn = re.sub(r' (?:width|height)="[\d.]+pt"', "", drawn, count=2)
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawn)
    for colour, theirs in _BY_THE_PAGE.items():
        drawn = drawn.replace(colour, theirs)
    drawn = drawn.replace("<svg ", f'<svg role="img" aria-label="{text(alt)}" ', 1)
    return element("div", Html(drawn), class_="chart")


def charts(*drawn: Html) -> Html:
    """Charts side by side, below each other on a phone."""
    return element("div", *drawn, class_="charts")
