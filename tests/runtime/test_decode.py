from __future__ import annotations

import importlib.util
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import features

from edgecnn.decode import MAX_FILE_BYTES, MAX_PIXELS, decode, decode_file, from_pillow, read_header
from edgecnn.errors import ImageError, SourceError

Pixels = npt.NDArray[np.uint8]
LOSSLESS = ("PNG", "BMP", "TIFF", "PPM")
ALL = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")


def encode(picture: PILImage.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def noise(height: int = 24, width: int = 32, channels: int = 3) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header says this size, with next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", LOSSLESS)
def test_a_lossless_file_gives_exactly_the_pixels_that_were_saved(format: str) -> None:
    image = noise()
    np.testing.assert_array_equal(decode(encode(PILImage.fromarray(image), format)), image)


def test_lossless_webp_and_a_gif_of_few_colours_are_exact_too() -> None:
    image = np.zeros((6, 4, 3), np.uint8)
    image[:3], image[3:] = (200, 30, 60), (1, 2, 3)
    np.testing.assert_array_equal(decode(encode(PILImage.fromarray(image), "WEBP", lossless=True)), image)
    np.testing.assert_array_equal(decode(encode(PILImage.fromarray(image).quantize(4), "GIF")), image)


def test_a_jpeg_of_one_colour_is_that_colour_within_its_rounding() -> None:
    picture = PILImage.new("RGB", (16, 16), (200, 30, 60))
    decoded = decode(encode(picture, "JPEG", quality=95)).astype(int)
    assert np.abs(decoded - (200, 30, 60)).max() <= 3  # YCbCr is rounded to 8 bits and back


def test_a_grey_file_stays_grey_with_one_channel() -> None:
    grey = noise(channels=1)
    np.testing.assert_array_equal(decode(encode(PILImage.fromarray(grey[:, :, 0]), "PNG")), grey)


def test_black_and_white_becomes_0_and_255() -> None:
    picture = PILImage.new("1", (2, 1))
    picture.putpixel((1, 0), 1)
    assert decode(encode(picture, "PNG"))[0, :, 0].tolist() == [0, 255]


def test_a_palette_becomes_its_colours_and_its_transparent_entry_white() -> None:
    picture = PILImage.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    assert decode(encode(picture, "PNG"))[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert decode(encode(picture, "PNG", transparency=0))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_transparency_is_laid_over_white() -> None:
    picture = PILImage.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        picture.putpixel((x, 0), (255, 0, 0, alpha))
    # 0·128/255 + 255·127/255 = 127
    assert decode(encode(picture, "PNG"))[0].tolist() == [[255, 255, 255], [255, 127, 127], [255, 0, 0]]


def test_grey_with_transparency_stays_grey_over_white() -> None:
    picture = PILImage.new("LA", (2, 1))
    picture.putpixel((0, 0), (10, 255))
    picture.putpixel((1, 0), (10, 0))
    assert decode(encode(picture, "PNG"))[0].tolist() == [[10], [255]]


def test_sixteen_bits_are_divided_by_257() -> None:
    values = np.array([[0, 257, 1000, 65535]], np.uint16)
    expected = [0, 1, 4, 255]  # 1000 / 257 = 3.89
    assert decode(encode(PILImage.fromarray(values), "PNG"))[0, :, 0].tolist() == expected
    pgm = b"P5 4 1 65535\n" + values.astype(">u2").tobytes()
    assert decode(pgm)[0, :, 0].tolist() == expected


def test_cmyk_becomes_rgb() -> None:
    picture = PILImage.new("CMYK", (1, 1), (0, 255, 255, 0))
    assert decode(encode(picture, "TIFF"))[0, 0].tolist() == [255, 0, 0]


UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    image = noise(2, 3)
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    data = encode(PILImage.fromarray(image), "PNG", exif=exif)
    expected = UPRIGHT[orientation](image)
    np.testing.assert_array_equal(decode(data), expected)
    header = read_header(data)
    assert (header.height, header.width, header.grey) == (*expected.shape[:2], False)


def test_an_orientation_without_meaning_is_passed_over() -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 9
    np.testing.assert_array_equal(decode(encode(PILImage.fromarray(noise()), "PNG", exif=exif)), noise())


@pytest.mark.parametrize("format", ALL)
def test_a_truncated_file_is_refused_at_every_length(format: str) -> None:
    data = encode(PILImage.fromarray(noise()), format)
    whole = decode(data)
    for length in range(1, len(data), max(1, len(data) // 60)):
        try:
            decoded = decode(data[:length])
        except ImageError:
            continue
        # what may be missing without loss: an end marker, padding, a directory that was read already
        np.testing.assert_array_equal(decoded, whole, err_msg=f"{length} of {len(data)} bytes")


@pytest.mark.parametrize("format", ALL)
@settings(max_examples=25)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_file_gives_a_picture_or_an_image_error(format: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(encode(PILImage.fromarray(noise(8, 8)), format))
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        image = decode(bytes(data))
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] in (1, 3)


@pytest.mark.parametrize(
    "data", [b"hello", b"%PDF-1.7", b"\x89PNG", b"\xff\xd8\xff", b"\0" * 1000, bytes(range(7, 256, 4))]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"not an image|damaged"):
        decode(data)


def test_an_empty_file_is_told_as_empty() -> None:
    with pytest.raises(ImageError, match="empty file"):
        decode(b"")


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])  # below, within and above the range in which Pillow warns
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    assert side * side > MAX_PIXELS
    with pytest.raises(ImageError, match=r"larger than the limit of 64 megapixels.*make it smaller"):
        decode(png_header(side, side))


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(width: int, height: int) -> None:
    with pytest.raises(ImageError):
        decode(png_header(width, height))


def test_floating_point_pixels_are_refused_since_their_range_is_unknown() -> None:
    data = encode(PILImage.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    with pytest.raises(ImageError, match="mode 'F'; save it as 8-bit RGB or grey"):
        decode(data)


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="the extra heif is installed")
def test_a_heic_photo_without_the_extra_says_which_extra_reads_it() -> None:
    with pytest.raises(ImageError, match=r"to read HEIC photos.*\[heif\]"):
        decode(b"\0\0\0\x18ftypheic" + b"\0" * 64)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_pillow_picture_gives_the_same_pixels_as_its_file(mode: str) -> None:
    picture = PILImage.fromarray(noise(5, 4)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = PILImage.fromarray(np.asarray(picture).astype(np.uint16) * 200)
    np.testing.assert_array_equal(from_pillow(picture), decode(encode(picture, "TIFF")))
    assert picture.mode == mode


def test_a_pillow_picture_that_was_opened_is_turned_upright_like_its_file() -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 6
    data = encode(PILImage.fromarray(noise(2, 3)), "PNG", exif=exif)
    with PILImage.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(from_pillow(picture), decode(data))


def test_the_decoded_array_belongs_to_the_caller() -> None:
    data = encode(PILImage.fromarray(noise()), "PNG")
    image = decode(data)
    image[:] = 0
    assert not image.any()
    np.testing.assert_array_equal(decode(data), noise())


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(SourceError, match="must be a regular file"):
        decode_file(tmp_path / "pipe.jpg")


def test_a_name_with_a_null_byte_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        decode_file("a\0b.jpg")


def test_an_enormous_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "video.jpg", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # takes no space on the disk
    with pytest.raises(ImageError, match="must be at most 536870912 bytes; this has 536870913"):
        decode_file(tmp_path / "video.jpg")


def test_a_heic_photo_is_read_where_the_extra_is_installed() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(PILImage.new("RGB", (64, 48), (200, 30, 60))).save(buffer, quality=95)
    image = decode(buffer.getvalue())
    assert image.shape == (48, 64, 3)
    assert abs(image.astype(int) - (200, 30, 60)).max() <= 3  # HEVC is lossy


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_an_avif_photo_needs_no_extra() -> None:
    buffer = io.BytesIO()
    PILImage.new("RGB", (64, 48), (200, 30, 60)).save(buffer, "AVIF")
    assert abs(decode(buffer.getvalue()).astype(int) - (200, 30, 60)).max() <= 3
