"""One picture that goes through every source, and the label it has at the end of each."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from edgecnn.frames import Item, Packet, Source

SIZE = 160, 128


def golden(label: str = "blue") -> npt.NDArray[np.uint8]:
    """Soft areas of a colour, uint8 ``(128, 160, 3)``: what chroma subsampling and JPEG hardly change.

    Left is darker than right and above darker than below, so that a turned or mirrored picture shows.
    """
    width, height = SIZE
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    main = 150 + 50 * x / width + 30 * y / height
    other = 40 + 20 * x / width + 20 * y / height
    planes = [main if name == label else other for name in ("red", "green", "blue")]
    return np.rint(np.stack(planes, axis=2)).astype(np.uint8)


def jpeg(label: str = "blue") -> bytes:
    """The same as a JPEG with full chroma."""
    buffer = io.BytesIO()
    PILImage.fromarray(golden(label)).save(buffer, "JPEG", quality=98, subsampling=0)
    return buffer.getvalue()


def yuv420(label: str = "blue", stride: int = 0) -> bytes:
    """The same as planes of Y, Cb, Cr in full range, rows padded to `stride` bytes."""
    picture = np.asarray(PILImage.fromarray(golden(label)).convert("YCbCr"))
    half = np.asarray(PILImage.fromarray(golden(label)).resize((SIZE[0] // 2, SIZE[1] // 2)).convert("YCbCr"))
    wide = max(stride, SIZE[0])
    planes = [picture[:, :, 0], half[:, :, 1], half[:, :, 2]]
    return b"".join(
        np.pad(plane, ((0, 0), (0, wide // (1 if i == 0 else 2) - plane.shape[1]))).tobytes()
        for i, plane in enumerate(planes)
    )


def images(source: Source, most: int = 1000) -> list[npt.NDArray[np.uint8]]:
    """The pictures that a source gives, read without `Live`."""
    found: list[npt.NDArray[np.uint8]] = []
    item: Item
    for item in source:
        frame = item.decoded() if isinstance(item, Packet) else item
        found.append(frame.image)  # type: ignore[union-attr]
        if len(found) == most:
            break
    source.close()
    return found


def distance(image: npt.NDArray[np.uint8], label: str = "blue") -> float:
    """Mean difference from the golden picture, in grey levels."""
    return float(np.abs(image.astype(int) - golden(label)).mean())
