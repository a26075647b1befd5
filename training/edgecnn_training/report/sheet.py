"""Contact sheets: many small pictures in one, each with a line or some below it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from edgecnn.errors import needs, printable
from edgecnn_training.homes import keep_home_clean
from edgecnn_training.pictures import Images

_CELL = 96  # pixels: small pictures are enlarged to about that
_TEXT = 14
_GAP = 6
_INK = ((0, 0, 0), (176, 0, 0), (96, 96, 96))  # of the first line, the second, the third


def contact_sheet(images: Images, captions: Sequence[Sequence[str]], *, columns: int = 5) -> Images:
    """Draw pictures in rows.

    Args:
        images: uint8 (N, H, W, C), one at least.
        captions: For each picture its lines; all have the same number, three at most. A long one is cut.
        columns: Pictures in a row.

    Returns:
        uint8 (height, width, 3).
    """
    count, height, width, _ = images.shape
    columns, scale = min(columns, count), max(1, round(_CELL / max(height, width)))
    lines = len(captions[0])
    cell_width, cell_height = max(width * scale, _CELL) + _GAP, height * scale + lines * (_TEXT + 3) + _GAP
    size = (columns * cell_width + _GAP, math.ceil(count / columns) * cell_height + _GAP)
    sheet = PILImage.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), _font()
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = _GAP + i % columns * cell_width, _GAP + i // columns * cell_height
        picture = PILImage.fromarray(np.repeat(np.repeat(_rgb(image), scale, 0), scale, 1))
        sheet.paste(picture, (left, top))
        for line, text in enumerate(caption):
            place = (left, top + height * scale + line * (_TEXT + 3))
            pen.text(place, _fitting(text, font, cell_width - _GAP), _INK[line], font)
    return np.asarray(sheet)


def _rgb(image: Images) -> Images:
    return np.repeat(image, 3, 2) if image.shape[2] == 1 else image


def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's own font: Pillow's knows no letters but those of English."""
    keep_home_clean()
    matplotlib = needs("matplotlib", "train", "to draw pictures")
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", _TEXT)


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = printable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
