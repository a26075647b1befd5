"""Augmentation of training pictures, in the input pipeline and never as layers.

A layer that augments would be exported with the network: it breaks the file, or changes what it computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from edgecnn_training.pictures import Images

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far training pictures are moved and changed.

    Attributes:
        shift: Largest move along each axis, as a share of the side; a crop of the picture with a border around it.
        rotate: Largest turn either way, in degrees.
        zoom: Largest change of size either way, as a share: 0.2 shows things at 0.8 to 1.2 of their size.
        flip: Whether pictures are mirrored left to right, each of them in every other epoch.
        invert: Whether half of the pictures are shown as their negatives.
        brightness: Largest change of the brightness either way, as a share.
        contrast: Largest change of the contrast either way, as a share.
        cutout: Side of a square that is blanked at a random place, as a share of the picture's shorter side.
    """

    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    invert: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    cutout: float = 0.0

    def __call__(
        self,
        images: Images,
        rng: np.random.Generator,
        *,
        mirrored: npt.NDArray[np.bool_] | None = None,
        blank: Sequence[float] | None = None,
    ) -> Images:
        """Augmented copies: a pure function of the pictures and the generator's state.

        What lies outside a picture is its own edge, repeated: a black border would teach the network a border.

        Args:
            images: uint8 ``(N, H, W, C)``; not changed.
            rng: Draws the same numbers for the same batch size, whatever the pictures.
            mirrored: bool ``(N,)``: which pictures `flip` mirrors; None draws half of them.
            blank: What `cutout` fills its square with, one value per channel, 0 to 255; None is grey, 128.

        Returns:
            uint8 ``(N, H, W, C)``.
        """
        count, height, width, _ = images.shape
        drawn: npt.NDArray[np.bool_] = rng.random((count,)) < 0.5
        turns = np.deg2rad(rng.uniform(-self.rotate, self.rotate, count))
        moves = rng.uniform(-self.shift, self.shift, (count, 2)) * (width, height)
        if self.flip:
            turned = drawn if mirrored is None else mirrored
            images = np.where(turned[:, None, None, None], images[:, :, ::-1], images)
        if self.invert:
            images = np.where(rng.random((count, 1, 1, 1)) < 0.5, 255 - images, images)
        if self.rotate or self.zoom:
            sizes = 1 + self.zoom * rng.uniform(-1, 1, (count,))
            images = self._warp(images, turns, moves, sizes)
        elif self.shift:
            images = self._move(images, np.rint(moves).astype(np.intp))
        if self.brightness or self.contrast:
            images = self._light(images, rng)
        if self.cutout:
            images = self._cut(images, rng, blank or [128.0] * images.shape[3])
        return images

    def _move(self, images: Images, moves: npt.NDArray[np.intp]) -> Images:
        """Whole-pixel moves by indexing, with the edge repeated."""
        _, height, width, _ = images.shape
        columns = np.clip(np.arange(width) + moves[:, :1], 0, width - 1)  # (N, W)
        rows = np.clip(np.arange(height) + moves[:, 1:], 0, height - 1)  # (N, H)
        picture = np.arange(len(images))[:, None, None]
        moved: Images = images[picture, rows[:, :, None], columns[:, None, :]]
        return moved

    def _warp(self, images: Images, turns: Doubles, moves: Doubles, sizes: Doubles) -> Images:
        """Turn and zoom about the centre and move, bilinear, by Pillow's affine transform of an edge-padded picture."""
        _, height, width, channels = images.shape
        reach = (math.sin(math.radians(self.rotate)) / 2 + self.shift + self.zoom) * max(height, width)
        pad = math.ceil(reach) + 2
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
        padded = padded[..., 0] if channels == 1 else padded
        result = np.empty_like(images)
        cx, cy = width / 2, height / 2
        for i, (turn, (right, down), size) in enumerate(zip(turns, moves, sizes, strict=True)):
            cos, sin = math.cos(turn) / size, math.sin(turn) / size
            # output pixel (x, y) takes input pixel R·(x - cx, y - cy)/size + centre of the padded picture + move
            matrix = (
                cos,
                -sin,
                cx + pad + right - cos * cx + sin * cy,
                sin,
                cos,
                cy + pad + down - sin * cx - cos * cy,
            )
            picture = PILImage.fromarray(padded[i]).transform(
                (width, height), PILImage.Transform.AFFINE, matrix, PILImage.Resampling.BILINEAR
            )
            result[i] = np.asarray(picture).reshape(height, width, channels)
        return result

    def _light(self, images: Images, rng: np.random.Generator) -> Images:
        """Each picture's values times a factor, and spread about their mean by another."""
        shape = (len(images), 1, 1, 1)
        gain = rng.uniform(1 - self.brightness, 1 + self.brightness, shape).astype(np.float32)
        spread = rng.uniform(1 - self.contrast, 1 + self.contrast, shape).astype(np.float32)
        mean = images.mean((1, 2, 3), dtype=np.float32, keepdims=True)
        lit = ((images - mean) * spread + mean) * gain
        light: Images = np.rint(np.clip(lit, 0, 255)).astype(np.uint8)
        return light

    def _cut(self, images: Images, rng: np.random.Generator, blank: Sequence[float]) -> Images:
        """Blank a square whose centre lies anywhere in the picture, so that it may reach beyond the edge.

        Source: DeVries, Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
        arXiv:1708.04552.
        """
        count, height, width, _ = images.shape
        side = max(1, round(self.cutout * min(height, width)))
        top = rng.integers(0, height, (count, 1)) - side // 2
        left = rng.integers(0, width, (count, 1)) - side // 2
        rows = (np.arange(height) >= top) & (np.arange(height) < top + side)  # (N, H)
        columns = (np.arange(width) >= left) & (np.arange(width) < left + side)  # (N, W)
        square = rows[:, :, None, None] & columns[:, None, :, None]
        cut: Images = np.where(square, np.rint(np.asarray(blank)).astype(np.uint8), images)
        return cut
