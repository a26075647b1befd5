"""The held-out pictures as the network sees them: its features in the plane, by PCA and by t-SNE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.errors import needs
from edgecnn_training.features import features
from edgecnn_training.pictures import Floats, Indices
from edgecnn_training.report import svg
from edgecnn_training.report.markup import Html, element, note, prose, section, text
from edgecnn_training.report.subject import Subject, evenly

_SHOWN = 1000  # t-SNE takes 1.3 s for these, and its time grows faster than the number
_FEWEST = 5
_PERPLEXITY = 30.0
_TITLE = "How it sorts them"
_GREY = "#8a8f98"
# Tableau's ten colours, then their paler ones: told apart on white and on black
_COLOURS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#edc948", "#76b7b2", "#ff9da7", "#7f7f7f"),
    *("#a0cbe8", "#b8620e", "#8cd17d", "#9b1c2e", "#d4a6c8", "#d7b5a6", "#8a7400", "#2f7f7a", "#c2185b", "#3d3d9e"),
)
Points = npt.NDArray[np.float64]


def embedding(subject: Subject) -> Html:
    """The section."""
    chosen = evenly(len(subject.truth), _SHOWN)
    pictures = subject.pictures
    found = features(subject.network, subject.run.info.normalization, pictures.images, pictures.rows[chosen])
    why = _why_not(found)
    if found is None or why:
        return section("embedding", _TITLE, note(why))
    flat, shares = pca(found)
    coloured = _coloured(subject)
    with svg.style():
        panels = [
            _scatter(subject, chosen, flat, coloured, "PCA"),
            _scatter(subject, chosen, tsne(found), coloured, "t-SNE"),
        ]
    some = f"{len(chosen):,} of {len(subject.truth):,}" if len(chosen) < len(subject.truth) else f"{len(chosen):,}"
    return section(
        "embedding",
        _TITLE,
        prose(
            f"Each dot is one of {some} {subject.split} pictures, placed by the {found.shape[1]:,} numbers that the "
            "last layer decides by: what lies close together looks alike to the network. Classes that stand apart are "
            "told apart easily. A cross is a mistake, and lies mostly where two classes touch; one in the middle of "
            "another class may be a wrong label."
        ),
        svg.charts(*panels),
        _legend(subject, coloured),
        note(
            f"PCA shows the two directions in which the numbers differ most, {sum(shares) * 100:.0f} % of all "
            "differences. t‑SNE keeps neighbours together and pulls clusters apart; the distances between clusters, "
            "and their sizes, mean nothing in it."
        ),
    )


def pca(points: Floats) -> tuple[Points, tuple[float, float]]:
    """The two directions in which points differ most.

    Args:
        points: float32 (N, D).

    Returns:
        float64 (N, 2), and the share of the variance along each of the two; the second is 0 where D is 1.
    """
    centred = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    flat = np.zeros((len(points), 2))
    kept = min(2, len(sizes))
    flat[:, :kept] = left[:, :kept] * sizes[:kept]
    shares = np.zeros(2)
    shares[:kept] = sizes[:kept] ** 2 / max(float((sizes**2).sum()), 1e-300)
    return flat, (float(shares[0]), float(shares[1]))


def tsne(points: Floats) -> Points:
    """Points in the plane so that neighbours stay neighbours; the same points always give the same picture.

    One thread: more of them wait for each other on a busy machine, up to ten times as long, and give other pictures.

    Args:
        points: float32 (N, D), not all alike, N at least 5.

    Returns:
        float64 (N, 2).
    """
    manifold = needs("sklearn.manifold", "train", "to draw the report")
    limits = needs("threadpoolctl", "train", "to draw the report")
    start = pca(points)[0]
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)
    drawer = manifold.TSNE(
        init=start.astype(np.float32),
        perplexity=min(_PERPLEXITY, (len(points) - 1) / 3),
        max_iter=500,
        random_state=0,
    )
    with limits.threadpool_limits(1):
        return np.asarray(drawer.fit_transform(points), np.float64)


def _why_not(found: Floats | None) -> str:
    """What keeps this section from being drawn; empty where nothing does."""
    if found is None:
        return "The network does not end in a dense layer, so there are no features that could be drawn."
    if len(found) < _FEWEST:
        return f"{_FEWEST} held-out pictures or more are needed to draw their features; there are {len(found)}."
    if not np.isfinite(found).all() or float(found.std(0).max()) == 0:
        return "The network's features are the same for all pictures: it has learned nothing yet."
    return ""


def _coloured(subject: Subject) -> Sequence[int]:
    """The classes with a colour of their own: all, or those with most mistakes where there are more than colours."""
    if len(subject.labels) <= len(_COLOURS):
        return range(len(subject.labels))
    confusion = subject.evaluation.confusion
    wrong = confusion.sum(1) + confusion.sum(0) - 2 * np.diag(confusion)
    return sorted(int(i) for i in np.argsort(-wrong, kind="stable")[: len(_COLOURS)])


def _scatter(subject: Subject, chosen: Indices, points: Points, coloured: Sequence[int], name: str) -> Html:
    colour = dict(zip(coloured, _COLOURS, strict=False))
    truth, right = subject.truth[chosen], (subject.truth == subject.given)[chosen]
    figure, axes = svg.panel(4.2, 4.0)
    size = 26 if len(points) < 200 else 10
    each = np.array([colour.get(int(label), _GREY) for label in truth])
    edge = 0.5 if right.mean() > 0.85 else 0  # many of them would be all edge
    axes.scatter(points[right, 0], points[right, 1], s=size, c=each[right], alpha=0.75, linewidths=0)
    axes.scatter(
        points[~right, 0],
        points[~right, 1],
        s=3.5 * size,
        c=each[~right],
        marker="X",
        edgecolors=svg.INK,
        linewidths=edge,
    )
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.spines[:].set_visible(False)
    axes.set_title(name, loc="left")
    alt = f"{name} of the features of {len(points):,} pictures, {int((~right).sum())} of them mistakes"
    return svg.chart(figure, f"embedding-{name.lower()}", alt)


def _legend(subject: Subject, coloured: Sequence[int]) -> Html:
    entries = [
        element("li", element("span", class_="dot", style=f"background:{colour}"), text(subject.labels[label]))
        for label, colour in zip(coloured, _COLOURS, strict=False)
    ]
    if len(coloured) < len(subject.labels):
        others = f"{len(subject.labels) - len(coloured):,} others; coloured are those with most mistakes"
        entries.append(element("li", element("span", class_="dot", style=f"background:{_GREY}"), text(others)))
    entries.append(
        element("li", element("span", text("✕"), class_="cross"), text("a mistake; its colour is the true class"))
    )
    return element("ul", *entries, class_="legend")
