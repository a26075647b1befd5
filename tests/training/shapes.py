"""A data set that a small network learns in seconds: bars, columns and discs, drawn at random places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from edgecnn.decode import decode
from edgecnn.preprocess import fit_image

LABELS = ("bar", "column", "disc")


def draw(label: str, rng: np.random.Generator, side: int = 20) -> npt.NDArray[np.uint8]:
    """One grey picture (side, side), a bright shape on dark noise."""
    picture = rng.integers(0, 60, (side, side))
    row, column = rng.integers(side // 4, 3 * side // 4, 2)
    y, x = np.ogrid[:side, :side]
    shape = {
        "bar": abs(y - row) < 2,
        "column": abs(x - column) < 2,
        "disc": (y - row) ** 2 + (x - column) ** 2 < (side / 5) ** 2,
    }[label]
    return np.where(shape, rng.integers(180, 256), picture).astype(np.uint8)


def write_shapes(root: Path, each: int = 60, seed: int = 0, side: int = 20, mode: str = "L") -> Path:
    """Class folders of PNG files; the same seed gives the same pictures."""
    rng = np.random.default_rng(seed)
    for label in LABELS:
        (root / label).mkdir(parents=True)
        for i in range(each):
            PILImage.fromarray(draw(label, rng, side)).convert(mode).save(root / label / f"{i:03}.png")
    return root


def images_of(folder: Path) -> np.ndarray:
    """All its pictures as the network of the fixtures takes them, uint8 (N, 20, 20, 1)."""
    return np.stack([fit_image(decode(p.read_bytes()), 20, 20, 1) for p in sorted(folder.rglob("*.png"))])
