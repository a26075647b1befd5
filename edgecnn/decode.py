"""The only place that decodes: bytes of a picture file → upright uint8 RGB or grey.

JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF (first frame) and PPM by Pillow; HEIC photos with the extra ``heif``. Files are
told apart by their first bytes, never by their name. What each kind of picture becomes:

* EXIF orientation is applied, so that the picture stands upright;
* transparency is laid over white, as a page would show it;
* palette and CMYK become RGB; black-and-white and grey stay grey;
* 16-bit grey is divided by 257 (Pillow alone would cut it off at 255);
* floating-point, 32-bit integer and LAB pictures are refused, since their range is unknown.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from edgecnn.errors import ImageError, SourceError, needs
from edgecnn.frames import Image

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")
FORMAT_NAMES = "JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF, PPM"
MAX_PIXELS = 64_000_000
"""Largest picture that is decoded; a 50-megapixel phone's photo passes, a decompression bomb does not."""
MAX_FILE_BYTES = 512 * 1024 * 1024
"""Largest picture file that is read; 64 megapixels of 16-bit RGB without compression take 384 MB."""

_BAND_PIXELS = 1 << 20

GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N"})
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA"})
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

# What Pillow's readers raise on damaged files, besides OSError: found by reading them and by fuzzing.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Warning,  # where the caller's filters make errors of warnings, which Pillow gives for damaged EXIF data
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says: size in pixels once upright, and whether it is grey."""

    height: int
    width: int
    grey: bool


def read_header(data: bytes) -> Header:
    """Size and kind of a picture without decoding its pixels.

    Raises:
        ImageError: Empty, not a picture, too large, or of a mode that cannot be decoded.
    """
    with _open(data) as picture:
        width, height = picture.size
        if _orientation(picture) >= 5:
            width, height = height, width
        return Header(height, width, _is_grey(picture))


def decode(data: bytes) -> Image:
    """Decode a picture file.

    Args:
        data: The whole file.

    Returns:
        uint8 ``(H, W, 3)`` RGB, or ``(H, W, 1)`` where the file is grey; upright; owned by the caller.

    Raises:
        ImageError: Empty, not a picture, truncated, too large, or of a mode that cannot be decoded.
    """
    with _open(data) as picture:
        return from_pillow(picture)


def decode_file(path: str | os.PathLike[str]) -> Image:
    """Decode a picture file by its path; see `decode`.

    Raises:
        SourceError: No such file, not a regular file (a pipe would wait for ever), or no permission to read it.
        ImageError: Not a picture, or a damaged or too large one. Neither message repeats the path.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError("a picture must be a regular file; this is a folder, a device or a pipe")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"a picture file must be at most {MAX_FILE_BYTES} bytes; this has {status.st_size}")
        with open(path, "rb") as file:
            data = file.read()
    except (ImageError, SourceError):
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise SourceError(
            f"cannot be read ({getattr(error, 'strerror', error)}); check its name and permissions"
        ) from error
    return decode(data)


def from_pillow(picture: PILImage.Image) -> Image:
    """Decode a picture that Pillow has opened or made; the pixels are those that `decode` gives for its file.

    Args:
        picture: Any Pillow picture; it is not changed, and stays open.

    Returns:
        uint8 ``(H, W, 3)`` RGB, or ``(H, W, 1)`` where the picture is grey; upright; owned by the caller.

    Raises:
        ImageError: Truncated, too large, without pixels, or of a mode that cannot be decoded.
    """
    _check_size_and_mode(picture)
    try:
        picture.load()
    except (*_DAMAGE, MemoryError) as error:
        raise ImageError(f"damaged or truncated {picture.format} ({_one_line(error)}); copy it again") from error
    orientation = _orientation(picture)
    pixels = _to_grey_or_rgb(picture)
    if orientation > 1:
        pixels = pixels.transpose(_TURNS[orientation])
    return _to_array(pixels)


_TURNS = {
    2: PILImage.Transpose.FLIP_LEFT_RIGHT,
    3: PILImage.Transpose.ROTATE_180,
    4: PILImage.Transpose.FLIP_TOP_BOTTOM,
    5: PILImage.Transpose.TRANSPOSE,
    6: PILImage.Transpose.ROTATE_270,
    7: PILImage.Transpose.TRANSVERSE,
    8: PILImage.Transpose.ROTATE_90,
}


def _open(data: bytes) -> PILImage.Image:
    """Open a picture, checked for size and mode; nothing is decoded yet."""
    if not data:
        raise ImageError("empty file (0 bytes); copy it again")
    formats: tuple[str, ...] = FORMATS
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        _register_heif()
        formats = ("HEIF",)
    try:
        picture = PILImage.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        raise ImageError(f"not an image ({FORMAT_NAMES})") from error
    except (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning) as error:
        raise ImageError(f"larger than the limit of {MAX_PIXELS // 10**6} megapixels; make it smaller") from error
    except _DAMAGE as error:
        raise ImageError(f"damaged header ({_one_line(error)}); copy it again") from error
    _check_size_and_mode(picture)
    return picture


def _check_size_and_mode(picture: PILImage.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        limit = f"larger than the limit of {MAX_PIXELS // 10**6} megapixels"
        raise ImageError(f"{limit}: {width}×{height}; make it smaller")
    if width == 0 or height == 0:
        raise ImageError(f"a picture must have pixels; received {width}×{height}")
    if not _is_supported(picture):
        raise ImageError(f"unsupported pixel mode {picture.mode!r}; save it as 8-bit RGB or grey")


def _register_heif() -> None:
    """Make Pillow read HEIC and AVIF photos.

    Raises:
        ImageError: The extra ``heif`` is not installed.
    """
    try:
        needs("pillow_heif", "heif", "to read HEIC photos").register_heif_opener()
    except ImportError as error:
        raise ImageError(str(error)) from error


def _is_supported(picture: PILImage.Image) -> bool:
    if picture.mode == "I":  # 32-bit integers; two formats use them for what is 16-bit in the file
        return picture.format in ("PNG", "PPM")
    return picture.mode in _PLAIN_MODES | _ALPHA_MODES | GREY_MODES


def _is_grey(picture: PILImage.Image) -> bool:
    return picture.mode in GREY_MODES or picture.mode == "I"


def _to_grey_or_rgb(picture: PILImage.Image) -> PILImage.Image:
    """Decoded picture of any supported mode → mode ``L`` or ``RGB``."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float32)  # exact: none of the quotients is within 0.001 of a half
        values /= 257
        np.rint(np.clip(values, 0, 255, out=values), out=values)
        return PILImage.fromarray(values.astype(np.uint8))
    grey = _is_grey(picture)
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = PILImage.alpha_composite(PILImage.new("RGBA", layer.size, "white"), layer)
    mode = "L" if grey else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)  # convert would copy, 166 MB of 41 megapixels


def _to_array(picture: PILImage.Image) -> Image:
    """A copy of the pixels, made band by band: in one piece Pillow makes another one on the way."""
    width, height = picture.size
    array = np.empty((height, width, len(picture.getbands())), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = array[top : top + rows]
        band[:] = np.asarray(picture.crop((0, top, width, top + len(band)))).reshape(band.shape)
    return array


def _orientation(picture: PILImage.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the EXIF data is damaged."""
    try:
        value = picture.getexif().get(0x0112, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
