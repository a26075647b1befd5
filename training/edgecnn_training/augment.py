"""Augmentation of training pictures, in the input pipeline and never as layers.

A layer that augments would be exported with the network: it breaks the file, or changes what it computes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from edgecnn_training.pictures import Images


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far training pictures are moved.

    Attributes:
        shift: Largest move along each axis, as a share of the side.
        rotate: Largest turn either way, in degrees.
        flip: Whether every other picture is mirrored left to right.
    """

    shift: float = 0.0
    rotate: float = 0.0
    flip: bool = False

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        """Augmented copies: a pure function of the pictures and the generator's state.

        What lies outside a picture is its own edge, repeated: a black border would teach the network a border.

        Args:
            images: uint8 ``(N, H, W, C)``; not changed.
            rng: Draws the same numbers for the same batch size, whatever the pictures.

        Returns:
            uint8 ``(N, H, W, C)``.
        """
        count, height, width, _ = images.shape
        mirrored = rng.random((count, 1, 1, 1)) < 0.5
        turns = np.deg2rad(rng.uniform(-self.rotate, self.rotate, count))
        moves = rng.uniform(-self.shift, self.shift, (count, 2)) * (width, height)
        if self.flip:
            images = np.where(mirrored, images[:, :, ::-1], images)
        if self.rotate:
            return self._warp(images, turns, moves)
        if self.shift:
            return self._move(images, np.rint(moves).astype(np.intp))
        return images

    def _move(self, images: Images, moves: npt.NDArray[np.intp]) -> Images:
        """Whole-pixel moves by indexing, with the edge repeated."""
        _, height, width, _ = images.shape
        columns = np.clip(np.arange(width) + moves[:, :1], 0, width - 1)  # (N, W)
        rows = np.clip(np.arange(height) + moves[:, 1:], 0, height - 1)  # (N, H)
        picture = np.arange(len(images))[:, None, None]
        moved: Images = images[picture, rows[:, :, None], columns[:, None, :]]
        return moved

    def _warp(self, images: Images, turns: npt.NDArray[np.float64], moves: npt.NDArray[np.float64]) -> Images:
        """Turn about the centre and move, bilinear, by Pillow's affine transform of an edge-padded picture."""
        _, height, width, channels = images.shape
        reach = math.sin(math.radians(self.rotate)) * max(height, width) / 2 + self.shift * max(height, width)
        pad = math.ceil(reach) + 2
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
        padded = padded[..., 0] if channels == 1 else padded
        result = np.empty_like(images)
        for i, (turn, (right, down)) in enumerate(zip(turns, moves, strict=True)):
            cos, sin = math.cos(turn), math.sin(turn)
            # output pixel (x, y) takes input pixel R·(x - cx, y - cy) + centre of the padded picture + move
            cx, cy = width / 2, height / 2
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
