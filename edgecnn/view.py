"""What of a picture is shown to the network, and which way up: the options that every source takes.

======  =============  ===========================================================================
rotate  0              turned clockwise by 90, 180 or 270 degrees
flip    (not at all)   ``h`` mirrors left and right, ``v`` top and bottom, ``hv`` both; after turning
crop    0,0,1,1        left, top, width and height of the part that counts, as shares of what is then seen
every   1              only every so many-th frame, beginning with the first
skip    0              so many frames at the beginning are left out; cameras need some to settle
======  =============  ===========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecnn.errors import UsageError
from edgecnn.frames import Image

_FLIPS = ("", "h", "v", "hv")
_MOST = 10**9
_NUMBER = re.compile(r"(0|1|0?\.[0-9]{1,9}|1\.0{1,9})")


@dataclass(frozen=True, slots=True)
class View:
    """How pictures of one source are looked at.

    Attributes:
        rotate: Clockwise, in degrees.
        flip: One of ``""``, ``"h"``, ``"v"``, ``"hv"``.
        crop: Left, top, width, height as shares; None is all of it.
        every: Only every so many-th frame.
        skip: So many frames at the beginning are left out.
    """

    rotate: int = 0
    flip: str = ""
    crop: tuple[float, float, float, float] | None = None
    every: int = 1
    skip: int = 0

    @classmethod
    def of(cls, options: Mapping[str, str], skip: int = 0) -> View:
        """Read the options named in `frames.VIEW_OPTIONS`; others are not looked at.

        Args:
            options: Of a URI's query.
            skip: What holds where `options` does not say it.

        Raises:
            UsageError: A value that one cannot have.
        """
        rotate, flip = options.get("rotate", "0"), options.get("flip", "")
        if rotate not in ("0", "90", "180", "270"):
            raise UsageError(f"rotate must be 0, 90, 180 or 270; received {rotate!r}")
        if flip not in _FLIPS or ("flip" in options and not flip):
            raise UsageError(f"flip must be h, v or hv; received {flip!r}")
        return cls(
            rotate=int(rotate),
            flip=flip,
            crop=_crop(options["crop"]) if "crop" in options else None,
            every=_whole(options, "every", 1, 1),
            skip=_whole(options, "skip", skip, 0),
        )

    def wants(self, number: int) -> bool:
        """Whether the frame of this number since the beginning, from 0, is looked at."""
        return number >= self.skip and (number - self.skip) % self.every == 0

    def __call__(self, image: Image) -> Image:
        """Turn, mirror and cut a picture, uint8 ``(H, W, C)``."""
        if self.rotate:
            image = np.rot90(image, -self.rotate // 90)
        if "h" in self.flip:
            image = image[:, ::-1]
        if "v" in self.flip:
            image = image[::-1]
        if self.crop is not None:
            left, top, width, height = self.crop
            rows, columns = image.shape[:2]
            y, x = min(round(top * rows), rows - 1), min(round(left * columns), columns - 1)
            image = image[y : max(y + 1, round((top + height) * rows)), x : max(x + 1, round((left + width) * columns))]
        return np.ascontiguousarray(image)


def _whole(options: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = options.get(name, str(default))
    if not (re.fullmatch("[0-9]{1,10}", text) and least <= int(text) <= _MOST):
        raise UsageError(f"{name} must be a whole number from {least} to {_MOST}; received {text!r}")
    return int(text)


def _crop(text: str) -> tuple[float, float, float, float]:
    parts = text.split(",")
    if len(parts) == 4 and all(map(_NUMBER.fullmatch, parts)):
        left, top, width, height = map(float, parts)
        if 0 < width <= 1 - left + 1e-9 and 0 < height <= 1 - top + 1e-9:
            return left, top, width, height
    raise UsageError(
        f"crop must be left,top,width,height as shares from 0 to 1 that lie within the picture; received {text!r}: "
        "crop=0.25,0.25,0.5,0.5 is the middle"
    )
