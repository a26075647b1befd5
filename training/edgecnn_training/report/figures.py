"""Pictures of a run, drawn with Matplotlib and written as PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.errors import SinkError, needs, printable
from edgecnn.files import write_whole
from edgecnn_training.accuracy import Evaluation
from edgecnn_training.health import Pair, Seen
from edgecnn_training.homes import keep_home_clean
from edgecnn_training.pictures import Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MANY_CLASSES = 25  # above this, cells are too small for their numbers
_PAIRS, _SIDE, _CELL, _ROW, _HEADING = 4, 1.3, 2.9, 1.85, 0.45  # in a row; inches
_CAPTION = 20  # letters below a picture


def curves(path: Path, metrics: Sequence[Mapping[str, float]]) -> None:
    """Loss and accuracy over the epochs, training and validation; one picture with two panels.

    Args:
        path: The PNG to write, under a temporary name first.
        metrics: Lines of ``metrics.jsonl``.
    """
    figure = _figure(10, 4)
    ticker = needs("matplotlib.ticker", "train", "to draw pictures")
    panels = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in metrics]
    for panel, what, title in ((panels[0], "loss", "loss"), (panels[1], "top1", "top-1 accuracy")):
        for split, style in (("train", "C0-"), ("validation", "C1.-")):
            values = [line.get(f"{split}_{what}") for line in metrics]
            if any(value is not None for value in values):
                label = "train, on augmented pictures" if split == "train" else split
                panel.plot(epochs, [float("nan") if v is None else v for v in values], style, label=label)
        panel.set(title=title, xlabel="epoch")
        panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1))
        panel.grid(alpha=0.3)
        panel.legend()
    _save(figure, path)


def confusion(path: Path, evaluation: Evaluation, title: str) -> None:
    """Confusion matrix: colour is the share of the row's class, the number the count of pictures.

    Args:
        path: The PNG to write, under a temporary name first.
        evaluation: What to draw.
        title: A line above it.
    """
    count = len(evaluation.labels)
    side = min(4 + 0.45 * count, 24)
    figure = _figure(side, side)
    panel = figure.subplots()
    matrix = evaluation.confusion
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [_plain(label if len(label) <= 20 else label[:19] + "…") for label in evaluation.labels]
    panel.set_xticks(range(count), labels, rotation=90)
    panel.set_yticks(range(count), labels)
    panel.set(xlabel="predicted", ylabel="true", title=_plain(title))
    if count <= _MANY_CLASSES:
        for row, column in zip(*matrix.nonzero(), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            panel.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=8)
    _save(figure, path)


def duplicates(path: Path, images: Images, kinds: Mapping[str, Sequence[Pair]]) -> None:
    """Contact sheet of pictures that are identical or nearly so: a heading for each kind, below it pairs side by side.

    Args:
        path: The PNG to write, under a temporary name first.
        images: The cache, whose rows the pairs name.
        kinds: Pairs to draw under each heading.
    """
    lines = [(kind, pairs[i : i + _PAIRS]) for kind, pairs in kinds.items() for i in range(0, len(pairs), _PAIRS)]
    height = _HEADING * len(kinds) + _ROW * len(lines)
    width = _CELL * min(_PAIRS, max(len(pairs) for _, pairs in lines)) + 0.2
    figure = _figure(width, height)
    figure.set_layout_engine("none")
    panel = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    top, told = 0.0, ""
    for kind, pairs in lines:
        if kind != told:
            panel.text(0.1, top + 0.33, kind, fontsize=12, fontweight="bold")
            top, told = top + _HEADING, kind
        for i, pair in enumerate(pairs):
            for j, seen in enumerate((pair.first, pair.second)):
                _picture(panel, images[seen.row], seen, 0.1 + i * _CELL + j * (_SIDE + 0.05), top)
        top += _ROW
    panel.set(xlim=(0, width), ylim=(height, 0))
    panel.axis("off")
    _save(figure, path)


def _picture(panel: Axes, image: Images, seen: Seen, left: float, top: float) -> None:
    """A picture in a square, with split, label and the end of its name below."""
    rows, columns, channels = image.shape
    high, wide = _SIDE * rows / max(rows, columns), _SIDE * columns / max(rows, columns)
    place = (left, left + wide, top + high, top)
    pixels = image[..., 0] if channels == 1 else image
    panel.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=place, aspect="auto", interpolation="nearest")
    across, down = [left, left + wide], [top, top + high]
    panel.plot([*across, *across[::-1], left], [top, *down, top + high, top], color="0.8", linewidth=0.8)
    label = seen.label if len(seen.label) <= _CAPTION else seen.label[: _CAPTION - 1] + "…"
    name = seen.name if len(seen.name) <= _CAPTION else "…" + seen.name[1 - _CAPTION :]
    panel.text(left, top + _SIDE + 0.15, _plain(f"{seen.split}: {label}"), fontsize=8)
    panel.text(left, top + _SIDE + 0.3, _plain(name), fontsize=7, color="grey")


def _figure(width: float, height: float) -> Figure:
    """A figure that needs no display and leaves Matplotlib's global state alone."""
    keep_home_clean()
    module = needs("matplotlib.figure", "train", "to draw pictures")
    figure: Figure = module.Figure(figsize=(width, height), layout="constrained")
    return figure


def _plain(text: str) -> str:
    """Text that Matplotlib shows as it is: a ``$`` would begin a formula, a name that is no Unicode be refused."""
    return printable(text).replace("$", r"\$")


def _save(figure: Figure, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
            data = io.BytesIO()
            figure.savefig(data, format="png", dpi=100)
        write_whole(path, data.getvalue())
    except OSError as error:
        raise SinkError(
            f"a picture must be written to {path}: {error}; free some space or name another file"
        ) from error
