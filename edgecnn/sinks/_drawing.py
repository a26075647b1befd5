"""How a prediction is drawn: the picture, what the network says of it below, and where it looked over it."""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from edgecnn.prediction import Explanation, Prediction, heat

_SMALLEST_PX, _LARGEST_PX = 320, 1280  # the longer side of the picture as it is drawn
_NARROWEST_PX = 240  # of the whole, so that a label has room
_TEXT_PX = 14, 44  # smallest and largest height of the label
_LESS = 0.62  # size of the other labels' text to that of the first
_GROUND, _WHITE, _GREY, _AMBER = (24, 24, 26), (255, 255, 255), (170, 170, 175), (255, 191, 64)
_UNSEEN = 0.4  # brightness of what the network did not see
_STRONGEST = 0.8  # how much of the picture the strongest colour hides
_HEAT = np.array([(255, 225, 70), (255, 140, 0), (215, 0, 0)], np.float32)
"""Colours of what speaks for a label, from little to most; the picture below is grey."""

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
_Field = npt.NDArray[np.float32]


def annotated(image: npt.NDArray[np.uint8], prediction: Prediction, *, top: int, explain: bool) -> PILImage.Image:
    """Draw a prediction.

    Args:
        image: The picture, uint8 ``(H, W, 1 or 3)``; small ones are enlarged, large ones made smaller.
        prediction: What the network says of it, with an explanation where `explain` is set.
        top: How many labels to name.
        explain: Whether to show the places that spoke for the label: the picture becomes grey, they yellow to red, and
            what the network did not see is dark.

    Returns:
        RGB, the picture with a caption below it.
    """
    grey = image.shape[2] == 1
    picture = PILImage.fromarray(image[:, :, 0] if grey else np.ascontiguousarray(image))
    drawn = _resized(picture)
    if explain:
        assert prediction.explanation is not None, "the sink checks it"
        drawn = _heated(drawn, prediction, prediction.explanation, picture.size)
    return _with_caption(drawn.convert("RGB"), prediction, top)


def _resized(picture: PILImage.Image) -> PILImage.Image:
    """The picture in a size to look at: tiny ones in whole steps without smoothing, so that pixels stay pixels."""
    longest = max(picture.size)
    if longest < _SMALLEST_PX:
        times = -(-_SMALLEST_PX // longest)
        return picture.resize((picture.width * times, picture.height * times), PILImage.Resampling.NEAREST)
    if longest <= _LARGEST_PX:
        return picture
    width, height = (max(1, round(side * _LARGEST_PX / longest)) for side in picture.size)
    return picture.resize((width, height), PILImage.Resampling.BILINEAR)


def _heated(
    drawn: PILImage.Image, prediction: Prediction, explanation: Explanation, source_size: tuple[int, int]
) -> PILImage.Image:
    """The picture in grey under the map of its label.

    Args:
        drawn: The picture, in any size.
        prediction: Names the label.
        explanation: Maps, and the part of the picture that they lie over.
        source_size: Width and height of the picture in whose pixels that part is told.
    """
    evidence = explanation.maps[:, :, prediction.class_index]
    hot = _laid_over(heat(evidence), explanation, source_size, drawn.size, PILImage.Resampling.BILINEAR)
    seen = _laid_over(np.ones_like(evidence), explanation, source_size, drawn.size, PILImage.Resampling.NEAREST)
    grey = np.asarray(drawn.convert("L"), np.float32)[..., None]
    pale = (30 + grey * (200 / 255)) * np.where(seen > 0, 1.0, _UNSEEN)[..., None].astype(np.float32)
    steps = hot * (len(_HEAT) - 1)
    lower = np.minimum(steps.astype(np.int64), len(_HEAT) - 2)
    part = (steps - lower)[..., None]
    colour = _HEAT[lower] * (1 - part) + _HEAT[lower + 1] * part
    share = (_STRONGEST * hot**0.75)[..., None]  # weak places are seen too, but their edges are soft
    return PILImage.fromarray(np.rint(pale * (1 - share) + colour * share).astype(np.uint8))


def _laid_over(
    field: _Field,
    explanation: Explanation,
    source_size: tuple[int, int],
    size: tuple[int, int],
    filter: PILImage.Resampling,
) -> _Field:
    """Spread a map's ``(h, w)`` places over a picture of `size`; 0 where the network did not look."""
    region, (rows, columns) = explanation.region, field.shape
    across, down = columns / (region.right - region.left), rows / (region.bottom - region.top)
    corners = (
        -region.left * across,
        -region.top * down,
        (source_size[0] - region.left) * across,
        (source_size[1] - region.top) * down,
    )
    spread = PILImage.fromarray(field).transform(size, PILImage.Transform.EXTENT, corners, filter)
    return np.clip(np.asarray(spread, np.float32), 0, 1)


def _with_caption(picture: PILImage.Image, prediction: Prediction, top: int) -> PILImage.Image:
    width = max(picture.width, _NARROWEST_PX)
    size = min(max(width // 16, _TEXT_PX[0]), _TEXT_PX[1])
    margin = size // 2
    room = width - 2 * margin
    score = f"{prediction.score:.2f}"
    before, after = ("unknown (", f" {score})") if prediction.unknown else ("", f"  {score}")
    lines = [_line(before, prediction.label, after, size, room)]
    others = prediction.top(top)[1:]
    font = _font(max(round(_size(lines[0][1], size) * _LESS), _TEXT_PX[0]))
    if others:
        text = " · ".join(f"{_drawable(label, font)}  {other:.2f}" for label, other in others)
        lines.append((_cut(text, font, room), font))
    height = sum(_height(own) for _, own in lines) + 2 * margin
    whole = PILImage.new("RGB", (width, picture.height + height), _GROUND)
    whole.paste(picture, ((width - picture.width) // 2, 0))
    pen, y = ImageDraw.Draw(whole), picture.height + margin
    for number, (text, own) in enumerate(lines):
        first = _AMBER if prediction.unknown else _WHITE
        pen.text((margin, y), text, fill=_GREY if number else first, font=own)
        y += _height(own)
    return whole


def _line(before: str, label: str, after: str, size: int, room: int) -> tuple[str, Font]:
    """The first line, in letters as large as there is room for; a label that is too long is cut, its score never."""
    for own in range(size, _TEXT_PX[0] - 1, -2):
        font = _font(own)
        text = before + _drawable(label, font) + after
        if font.getlength(text) <= room:
            return text, font
    font = _font(_TEXT_PX[0])
    left = room - font.getlength(before + after)
    return before + _cut(_drawable(label, font), font, left) + after, font


def _cut(text: str, font: Font, room: float) -> str:
    """Text that fits, with dots where its end is missing."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."


def _height(font: Font) -> int:
    """Of a line, with what hangs below it."""
    return int(font.getbbox("ÅgjQ")[3] * 1.15) + 2


@functools.lru_cache(maxsize=64)
def _font(size: int) -> Font:
    """Pillow's own font; without FreeType, which Pillow's wheels have, one of a fixed size."""
    try:
        return ImageFont.load_default(size)
    except ImportError:
        return ImageFont.load_default()


def _size(font: Font, other: int) -> float:
    return font.size if isinstance(font, ImageFont.FreeTypeFont) else other


def _drawable(text: str, font: Font) -> str:
    r"""Text that the font can draw: Pillow's knows ASCII and little more.

    A letter with an accent loses it, any other character becomes its code, ``\u6570``: a row of boxes would tell less.
    """
    return "".join(_glyph(character, font) for character in text)


@functools.lru_cache(maxsize=4096)
def _glyph(character: str, font: Font) -> str:
    plain = unicodedata.normalize("NFKD", character)[:1]
    for own in (character, plain):
        if own.isprintable() and (own.isascii() or _has(font, own)):
            return own
    return character.encode("unicode_escape").decode()


def _has(font: Font, character: str) -> bool:
    """Whether a font has a glyph: what it lacks looks as a character does that there will never be."""
    if isinstance(font, ImageFont.ImageFont):
        return False
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffd"))
