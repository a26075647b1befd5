"""Small pictures in a page, each one a data URI."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as PILImage

from edgecnn_training.pictures import Images
from edgecnn_training.report.markup import Html, element, join, text

LARGEST_PX = 112
"""Longer side of a picture in the page; larger ones are scaled down to it, to keep the page small."""

_EXACT_PX = 32  # up to this side pictures are kept pixel by pixel, and shown as such


def picture(image: Images, alt: str) -> Html:
    """One picture.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        alt: What it shows, in words.
    """
    plain = _plain(image)
    if max(plain.size) <= _EXACT_PX:
        return element("img", src=_uri(plain, "PNG"), alt=alt, class_="exact")
    plain.thumbnail((LARGEST_PX, LARGEST_PX))
    return element("img", src=_uri(plain, "JPEG"), alt=alt)


def pixels(image: Images, alt: str, kind: str = "exact") -> Html:
    """A picture in which each pixel is a number: never scaled, shown with sharp edges.

    Args:
        image: uint8 (H, W, C), C 1, 3 or 4; the last one is opacity.
        alt: What it shows, in words.
        kind: Classes of the style sheet.
    """
    return element("img", src=_uri(_plain(image), "PNG"), alt=alt, class_=kind)


def sheet(picture: PILImage.Image, alt: str) -> Html:
    """A large picture that is a file already, for the whole width of the page."""
    shown = picture.convert("RGB")
    shown.thumbnail((1200, 4000))
    return element("img", src=_uri(shown, "JPEG"), alt=alt, class_="sheet")


def tile(pictures: Sequence[Html], *caption: Html) -> Html:
    """Pictures that belong together, and lines below them."""
    lines = (element("span", line) for line in caption)
    row = element("div", *pictures, class_="pair")
    return element("figure", row, element("figcaption", *lines), class_="tile")


def gallery(tiles: Sequence[Html]) -> Html:
    """Tiles in as many columns as the screen is wide."""
    return element("div", *tiles, class_="gallery")


def named(what: str, label: str) -> Html:
    """A small grey word and a label after it."""
    return join([element("i", text(what)), element("b", text(label))], " ")


def _plain(image: Images) -> PILImage.Image:
    return PILImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image))


def _uri(picture: PILImage.Image, kind: str) -> str:
    buffer = io.BytesIO()
    options: dict[str, object] = {"quality": 85} if kind == "JPEG" else {"optimize": True}
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
