from __future__ import annotations

from pathlib import Path

import onnx_bytes
import pytest
from PIL import Image as PILImage


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """A model of 8×8 RGB that tells red, green and blue apart by the mean colour."""
    path = tmp_path / "colors.onnx"
    path.write_bytes(onnx_bytes.color_model())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder: 2.png green, 10.png blue, inner/1.jpg red."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    PILImage.new("RGB", (30, 20), "lime").save(folder / "2.png")
    PILImage.new("RGB", (30, 20), "blue").save(folder / "10.png")
    PILImage.new("RGB", (30, 20), "red").save(folder / "inner" / "1.jpg")
    return folder
