"""Whether scores can be taken at their word: of the answers with a score of 0.8, are 8 in 10 right?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn_training.confidence import Bin, ece, reliability
from edgecnn_training.report import svg
from edgecnn_training.report.markup import Html, prose, section
from edgecnn_training.report.subject import Subject


def calibration(subject: Subject) -> Html:
    """The section."""
    drawn = [("as the network gives them", "before", subject.scores)]
    if subject.temperature != 1:
        drawn.append((f"at temperature {subject.temperature:.2f}, as exported", "after", subject.final_scores))
    errors = [ece(scores, subject.truth) * 100 for _, _, scores in drawn]
    with svg.style():
        charts = [
            _diagram(reliability(scores, subject.truth), f"reliability-{name}", f"{title}, error {error:.1f}")
            for (title, name, scores), error in zip(drawn, errors, strict=True)
        ]
    told = ", ".join(f"{error:.1f} points {title}" for (title, _, _), error in zip(drawn, errors, strict=True))
    return section(
        "calibration",
        "Can the scores be believed?",
        prose(
            "Each bar holds the answers with about the same score; its height is the share of them that were right. "
            "On the dashed line a score means what it says: 0.8 is right in 8 of 10 cases. Bars below the line: "
            "surer than it should be. Above: too modest, as label smoothing makes a network. The strip below shows "
            "how many answers have which score; a bar of few answers is mostly chance."
        ),
        svg.charts(*charts),
        prose(
            f"Expected calibration error, the mean distance from the line over {len(subject.truth):,} pictures: "
            f"{told}.{_unknown(subject.read_json('result.json').get('unknown'))}"
        ),
    )


def _unknown(found: object) -> str:
    """What the threshold for unknown pictures does, where the result has one."""
    if not isinstance(found, dict) or not found.get("threshold"):
        return ""
    return (
        f" Below a score of {found['threshold']:.2f} a picture counts as unknown: that holds for "
        f"{(1 - found['coverage']) * 100:.1f} % of these, and of the others {found['error'] * 100:.1f} % are given a "
        "wrong label."
    )


def _diagram(found: Sequence[Bin], name: str, title: str) -> Html:
    from matplotlib.figure import Figure  # heavy, and only here needed

    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    width = 1 / len(found)
    centres = (np.arange(len(found)) + 0.5) * width
    above.bar(centres, [one.accuracy for one in found], width * 0.92, color=svg.BLUE, alpha=0.75)
    above.plot([0, 1], [0, 1], color=svg.INK, linestyle="--", linewidth=1, alpha=0.7)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    above.set_title(title.partition(",")[0], loc="left")
    below.bar(centres, [one.n for one in found], width * 0.92, color=svg.INK, alpha=0.35)
    below.set(xlabel="score", ylabel="answers")
    below.locator_params(axis="y", nbins=3, integer=True)
    return svg.chart(figure, name, f"reliability of the scores {title} points")
