"""The picture at the end of ``edgecnn demo``: what was read, the live feed, the curves and the confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from edgecnn.errors import SinkError
from edgecnn.files import write_whole
from edgecnn.opening import open_source

if TYPE_CHECKING:
    from edgecnn.cli.demo import Story

_WIDTH, _MARGIN, _GAP = 1512, 40, 12
_COLUMNS = 15
_TILE = 84
_INK, _GREY, _RIGHT, _WRONG = "#1a1a1a", "#6b6b6b", "#00639c", "#c2410c"  # blue and orange: told apart by everyone


def write(story: Story) -> None:
    """Draw ``demo.png`` into the story's folder, under a temporary name first.

    Raises:
        SinkError: It cannot be written.
    """
    page = _Page()
    page.heading("edgecnn demo", 34)
    page.text(f"{'letters.onnx'}: {story.chosen}, in fonts it has never met; {story.exact.top1 * 100:.1f} % as float32")
    page.heading("Pictures", 24)
    page.text("What was read, and how sure it is, from 0 to 1. Blue: right. Orange: wrong, and which letter it is.")
    page.tiles([(Image.open(a.source), a.label, a.score, a.truth) for a in story.samples])
    page.heading("Live feed", 24)
    page.tiles(_frames(story))
    run = story.folder / "run"
    page.heading("Training, and what is taken for what", 24)
    page.beside(Image.open(run / "curves.png"), Image.open(run / "confusion.png"))
    _save(page.finished(), story.folder / "demo.png")


def _frames(story: Story) -> list[tuple[Image.Image, str, float, str]]:
    """One frame of each letter, drawn again, with what was read there; the feed's own letters are the right answers."""
    from edgecnn.frames import Frame
    from edgecnn.sources.test import LETTERS

    frames = [item for item in open_source(f"{story.feed_uri}&fps=0") if isinstance(item, Frame)]
    hold = len(frames) // len(LETTERS)
    tiles = []
    for i in range(0, len(frames), hold):
        answer = story.feed[i]
        tiles.append((Image.fromarray(frames[i].image), answer.label, answer.score, LETTERS[i // hold]))
    return tiles


class _Page:
    """A white page that grows downwards."""

    def __init__(self) -> None:
        self._page = Image.new("RGB", (_WIDTH, 4000), "white")
        self._draw = ImageDraw.Draw(self._page)
        self._y = _MARGIN

    def heading(self, text: str, size: int) -> None:
        self._y += 14
        self._draw.text((_MARGIN, self._y), text, _INK, ImageFont.load_default(size))
        self._y += size + 16

    def text(self, text: str) -> None:
        self._draw.text((_MARGIN, self._y), text, _GREY, ImageFont.load_default(18))
        self._y += 30

    def tiles(self, tiles: Sequence[tuple[Image.Image, str, float, str]]) -> None:
        """Pictures in rows, with what was read, and in orange what would have been right."""
        for i, (picture, label, score, right) in enumerate(tiles):
            x = _MARGIN + (i % _COLUMNS) * (_TILE + _GAP)
            y = self._y + (i // _COLUMNS) * (_TILE + 40)
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            square = picture.convert("RGB").crop((left, top, left + side, top + side))
            self._page.paste(square.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (x, y))
            wrong = "" if label == right else f", not {right}"
            colour = _WRONG if wrong else _RIGHT
            self._draw.text((x, y + _TILE + 5), f"{label}  {score:.2f}{wrong}", colour, ImageFont.load_default(16))
        self._y += -(-len(tiles) // _COLUMNS) * (_TILE + 40)

    def beside(self, left: Image.Image, right: Image.Image) -> None:
        """Two pictures side by side, each scaled to its half."""
        widths = 880, _WIDTH - 2 * _MARGIN - 880
        height = 0
        for picture, x, width in ((left, _MARGIN, widths[0]), (right, _MARGIN + widths[0], widths[1])):
            size = width, round(picture.height * width / picture.width)
            self._page.paste(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), (x, self._y))
            height = max(height, size[1])
        self._y += height

    def finished(self) -> Image.Image:
        """The page, cut off below what is on it."""
        return self._page.crop((0, 0, _WIDTH, self._y + _MARGIN))


def _save(page: Image.Image, path: Path) -> None:
    data = io.BytesIO()
    page.save(data, "PNG", optimize=True)
    try:
        write_whole(path, data.getvalue())
    except OSError as error:
        raise SinkError(f"a picture must be written to {path}: {error}; free some space, then try again") from error
