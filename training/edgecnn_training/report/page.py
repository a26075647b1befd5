"""``report.html``: everything about a run on one page, in one file.

It needs no network, no other file and no script, opens from any folder, follows the light or dark setting of the
browser, and prints.
"""

from __future__ import annotations

import re
from pathlib import Path

import keras

from edgecnn_training import run as runs
from edgecnn_training.loading import Dataset
from edgecnn_training.pictures import Floats
from edgecnn_training.report.activation import activation
from edgecnn_training.report.confusion import confusion
from edgecnn_training.report.curves import curves
from edgecnn_training.report.data import data
from edgecnn_training.report.embedding import embedding
from edgecnn_training.report.filters import filters
from edgecnn_training.report.head import how, summary
from edgecnn_training.report.markup import Html, element, join, text
from edgecnn_training.report.mistakes import mistakes
from edgecnn_training.report.reliability import calibration
from edgecnn_training.report.samples import samples
from edgecnn_training.report.subject import Subject
from edgecnn_training.run import Run
from edgecnn_training.run_data import Codes

NAME = "report.html"
_SECTIONS = (confusion, mistakes, curves, calibration, activation, embedding, filters, samples, data, how)
# whatever a name in the data might smuggle in: nothing is run, and nothing is fetched
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write(run: Run, dataset: Dataset, codes: Codes, network: keras.Model, scores: Floats) -> Path:
    """Write a run's report.

    Args:
        run: Has its ``result.json``.
        dataset: What it was trained on.
        codes: The split of each of the data's records.
        network: The network that the result is of.
        scores: float32 (N, classes): what it says of the held-out pictures, before any temperature.

    Returns:
        The file.

    Raises:
        DataError: It cannot be written; the run is whole without it.
    """
    path = run.path / NAME
    runs.write_text(path, page(Subject(run, dataset, codes, network, scores)))
    return path


def page(subject: Subject) -> Html:
    """The whole page."""
    body = [section(subject) for section in _SECTIONS]
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", text(f"{subject.path.name}: edgecnn training report")),
        element("style", Html(f"\n{style}")),
    )
    main = element("body", element("main", summary(subject), _contents(body), *body))
    return Html(f"<!DOCTYPE html>\n{element('html', head, main, lang='en')}\n")


def _contents(sections: list[Html]) -> Html:
    """Links to all sections, by the names and titles that they have."""
    found = [re.match(r'<section id="([^"]+)"><h2>(.*?)</h2>', one) for one in sections]
    links = (element("a", Html(one[2]), href=f"#{one[1]}") for one in found if one)
    return element("nav", join(links, " "))
