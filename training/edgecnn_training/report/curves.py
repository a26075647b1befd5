"""How the training went: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgecnn_training import screen
from edgecnn_training.report import svg
from edgecnn_training.report.markup import Html, note, prose, section
from edgecnn_training.report.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAN = float("nan")
Metrics = Sequence[Mapping[str, float]]


def curves(subject: Subject) -> Html:
    """The section."""
    metrics = subject.run.read_metrics()
    if not metrics:
        return section("curves", "Curves", note("metrics.jsonl has no line that could be drawn."))
    best = subject.read_json("result.json").get("epoch")
    with svg.style():
        loss = _two(metrics, "loss", "loss", best)
        accuracy = _two(metrics, "top1", "share of right answers", best)
        rate = _learning_rate(metrics)
    return section(
        "curves",
        "Curves",
        prose(
            "Loss should fall and accuracy rise, fast at first and then less. Training is measured as it goes, on "
            "pictures that the recipe has changed, so it may look worse than validation. If training goes on getting "
            "better while validation turns, the network learns its pictures by heart: more pictures or more "
            "augmentation help."
        ),
        svg.charts(loss, accuracy, rate),
        note(f"Dashed: epoch {best}, whose checkpoint is measured in this report.") if best else Html(""),
    )


def _two(metrics: Metrics, what: str, title: str, best: object) -> Html:
    """Training and validation over the epochs."""
    figure, axes = svg.panel()
    epochs = [line["epoch"] for line in metrics]
    told = []
    for split, strength in (("train", 0.45), ("validation", 1.0)):
        values = [line.get(f"{split}_{what}") for line in metrics]
        if any(value is not None for value in values):
            drawn = [_NAN if value is None else value for value in values]
            colour = svg.INK if split == "train" else svg.BLUE
            marker = "." if len(epochs) < 30 else ""
            axes.plot(epochs, drawn, color=colour, alpha=strength, marker=marker, label=split)
            last = screen.percent(drawn[-1]) if what == "top1" else f"{drawn[-1]:.3f}"
            told.append(f"{split} {last} at the end")
    if isinstance(best, (int, float)):
        axes.axvline(best, color=svg.INK, linewidth=0.8, linestyle="--", alpha=0.5)
    _finish(axes, title, len(epochs))
    axes.legend()
    return svg.chart(figure, f"curve-{what}", f"{title} over the epochs: {', '.join(told)}")


def _learning_rate(metrics: Metrics) -> Html:
    figure, axes = svg.panel()
    rates = [line.get("learning_rate", _NAN) for line in metrics]
    axes.plot([line["epoch"] for line in metrics], rates, color=svg.BLUE, marker="." if len(rates) < 30 else "")
    axes.set_ylim(bottom=0)
    _finish(axes, "learning rate", len(rates))
    return svg.chart(figure, "curve-rate", f"learning rate at the end of each epoch, at most {max(rates):g}")


def _finish(axes: Axes, title: str, epochs: int) -> None:
    """What all three have in common."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if epochs == 1:
        axes.set_xlim(0, 2)
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
