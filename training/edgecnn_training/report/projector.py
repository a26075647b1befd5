"""Files for TensorBoard's embedding projector: features, labels and thumbnails of some pictures.

``FOLDER/projector_config.pbtxt`` names those in ``FOLDER/projector/``: ``tensors.tsv``, ``metadata.tsv`` and
``sprite.png``, all thumbnails in one picture, row by row. Any other viewer of embeddings reads the first two.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from edgecnn.errors import printable
from edgecnn.files import write_whole
from edgecnn_training.pictures import Floats, Images

MOST = 1_000
"""Pictures: the browser computes the distances of all pairs."""
_THUMBNAIL = 64  # pixels at most; with `MOST` pictures the sprite has 2,048, and browsers take 8,192
_PAPER = 128


def write(folder: Path, name: str, features: Floats, images: Images, columns: Mapping[str, Sequence[object]]) -> None:
    """Write the files, each under a temporary name first.

    Args:
        folder: Where TensorBoard looks for the configuration.
        name: What the projector calls these vectors.
        features: float32 (N, D).
        images: uint8 (N, H, W, C).
        columns: What is known of each picture: heading → N values. The first is shown as a label.

    Raises:
        OSError: They cannot be written.
    """
    place = folder / "projector"
    place.mkdir(exist_ok=True)
    sprite, side = thumbnails(images)
    buffer = io.BytesIO()
    PILImage.fromarray(sprite).save(buffer, "PNG")
    write_whole(place / "tensors.tsv", "".join("\t".join(f"{v:.6g}" for v in row) + "\n" for row in features).encode())
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    table = "".join("\t".join(printable(str(cell)) for cell in row) + "\n" for row in rows)
    write_whole(place / "metadata.tsv", table.encode("utf-8", "backslashreplace"))
    write_whole(place / "sprite.png", buffer.getvalue())
    config = (
        "embeddings {\n"
        f"  tensor_name: {json.dumps(name)}\n"
        f"  tensor_shape: {len(features)}\n"
        f"  tensor_shape: {features.shape[1]}\n"
        '  tensor_path: "projector/tensors.tsv"\n'
        '  metadata_path: "projector/metadata.tsv"\n'
        "  sprite {\n"
        '    image_path: "projector/sprite.png"\n'
        f"    single_image_dim: {side}\n"
        f"    single_image_dim: {side}\n"
        "  }\n"
        "}\n"
    )
    write_whole(folder / "projector_config.pbtxt", config.encode())


def as_words(labels: Sequence[str]) -> list[str]:
    """Labels as the projector takes them for labels: it neither writes numbers beside points nor colours them apart."""
    return [f"class {label}" for label in labels] if all(map(_is_number, labels)) else list(labels)


def thumbnails(images: Images) -> tuple[Images, int]:
    """The sprite: square, of square thumbnails, row by row; what is not square lies on grey.

    Args:
        images: uint8 (N, H, W, C), at most `MOST`.

    Returns:
        The sprite, uint8 (S, S, 1 or 3 channels; without that axis for 1), and a thumbnail's side in pixels.
    """
    count, height, width, channels = images.shape
    scale = min(1.0, _THUMBNAIL / max(height, width))
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    side, across = max(high, wide), math.ceil(math.sqrt(count))
    mode, paper = ("L", _PAPER) if channels == 1 else ("RGB", (_PAPER,) * 3)
    sprite = PILImage.new(mode, (across * side, across * side), paper)
    for i, image in enumerate(images):
        picture = PILImage.fromarray(image[:, :, 0] if channels == 1 else image)
        if scale < 1:
            picture = picture.resize((wide, high), PILImage.Resampling.BILINEAR)
        corner = (i % across * side + (side - wide) // 2, i // across * side + (side - high) // 2)
        sprite.paste(picture, corner)
    return np.asarray(sprite), side


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
