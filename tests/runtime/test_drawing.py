"""What is drawn of a prediction: the picture in a size to look at, its caption, and where the network looked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ImageFont
from PIL._util import DeferredError

from edgecnn.prediction import Explanation, Maps, Prediction, Region
from edgecnn.preprocess import region_seen
from edgecnn.sinks._drawing import _font, annotated

GREY = np.full((60, 80, 3), 128, np.uint8)
LABELS = ("cat", "dog", "bird")


def predicted(maps: Maps | None = None, region: Region | None = None, *, unknown: bool = False) -> Prediction:
    explanation = None if maps is None else Explanation(maps, region or Region(0, 0, 80, 60))
    return Prediction(np.array([0.7, 0.2, 0.1], np.float32), LABELS, unknown, explanation)


def spot(row: int, column: int, rows: int = 4, columns: int = 4) -> Maps:
    """Maps in which one place speaks for the first label."""
    maps = np.zeros((rows, columns, 3), np.float32)
    maps[row, column, 0] = 5
    return maps


def pixels(image: npt.NDArray[np.uint8], prediction: Prediction, *, explain: bool = False) -> npt.NDArray[np.int64]:
    return np.asarray(annotated(image, prediction, top=3, explain=explain)).astype(np.int64)


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(60, 80, 4), (28, 28, 12), (1, 1, 320), (400, 600, 1), (3000, 4000, 0.32)]
)
def test_the_picture_keeps_its_shape_and_is_neither_tiny_nor_huge(height: int, width: int, factor: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 1), np.uint8)
    whole = annotated(image, predicted(), top=1, explain=False)
    shown = np.asarray(whole)[: round(height * factor), : round(width * factor)]
    assert whole.width == round(width * factor)
    assert 25 <= whole.height - round(height * factor) <= 150  # the caption
    if factor >= 1:  # each pixel is a square of itself
        times = int(factor)
        np.testing.assert_array_equal(shown[::times, ::times, 0], image[:, :, 0])
        np.testing.assert_array_equal(shown[times - 1 :: times, times - 1 :: times, 2], image[:, :, 0])


@pytest.mark.parametrize("shape", [(1, 5000, 3), (5000, 1, 3), (28, 28, 1), (3000, 4000, 3)])
def test_the_caption_has_letters_of_a_readable_height(shape: tuple[int, int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    whole = np.asarray(annotated(image, predicted(), top=1, explain=False)).astype(int)
    bright = np.flatnonzero((whole.min(2) > 150).any(1))  # rows with ink; the picture is black
    assert len(bright) >= 9  # "cat 0.70": its digits are the highest
    assert whole.shape[1] >= 240
    assert bright.max() < len(whole) - 2


def test_label_score_and_further_labels_change_the_caption_and_unknown_its_colour() -> None:
    known, unknown = pixels(GREY, predicted()), pixels(GREY, predicted(unknown=True))
    height = 60 * 4
    np.testing.assert_array_equal(known[:height], unknown[:height])
    assert (known[height:].max((0, 1)) > 240).all()  # white
    red, _, blue = unknown[height:].reshape(-1, 3)[unknown[height:, :, 0].argmax()]
    assert red > 200 > 120 > blue  # amber
    assert annotated(GREY, predicted(), top=1, explain=False).height < len(known)


def test_a_long_label_is_cut_and_its_score_is_not() -> None:
    def caption(label: str, score: float) -> npt.NDArray[np.int64]:
        prediction = Prediction(np.array([score, 1 - score], np.float32), (label, "b"))
        return pixels(GREY, prediction)[240:]

    long = "w" * 200
    assert caption(long, 0.75).shape[1] == 320
    assert (caption(long, 0.75) != caption(long, 0.76)).any()
    assert not (caption(long, 0.75)[:, -8:].max() > 100)  # nothing runs out at the right


def test_what_the_font_lacks_is_written_as_its_code_and_accents_are_left_out() -> None:
    def same(label: str, other: str) -> bool:
        scores = np.array([1.0, 0.0], np.float32)
        one, two = (pixels(GREY, Prediction(scores, (name, "x"))) for name in (label, other))
        return one.shape == two.shape and bool((one == two).all())

    assert same("数", r"\u6570")
    assert same("café", "cafe")
    assert not same("cafe", "cape")


def test_without_freetype_a_plain_font_of_pillows_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFont, "core", DeferredError(ImportError("built without FreeType")))
    _font.cache_clear()
    assert pixels(GREY, predicted())[240:].max() > 240
    _font.cache_clear()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (3, 2)])
def test_the_place_that_spoke_most_is_red_and_the_rest_is_grey(row: int, column: int) -> None:
    shown = pixels(GREY, predicted(spot(row, column)), explain=True)[:240]
    colourful = shown.max(2) - shown.min(2)
    y, x = np.unravel_index((shown[:, :, 0] - shown[:, :, 1]).argmax(), colourful.shape)
    assert (y // 60, x // 80) == (row, column)
    far = np.ones((4, 4), bool)
    far[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = False
    assert colourful[np.kron(far, np.ones((60, 80))) > 0].max() == 0


def test_only_the_map_of_the_label_itself_is_shown() -> None:
    other = np.zeros((4, 4, 3), np.float32)
    other[1, 1, 2], other[2, 2, 0] = 9, -4
    shown = pixels(GREY, predicted(other), explain=True)[:240]
    assert (shown.max(2) == shown.min(2)).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_the_map_lies_over_what_the_network_saw_and_the_rest_is_dark(fit: str) -> None:
    image = np.full((400, 800, 3), 200, np.uint8)
    maps = np.zeros((8, 8, 3), np.float32)
    maps[4, 4, 0] = 1
    shown = pixels(image, predicted(maps, region_seen(400, 800, 64, 64, fit)), explain=True)[:400]
    red = shown[:, :, 0] - shown[:, :, 1]
    y, x = np.unravel_index(red.argmax(), red.shape)
    expected = {"crop": (225, 425), "pad": (250, 450), "stretch": (225, 450)}[fit]  # the place's middle, by hand
    assert abs(y - expected[0]) <= 8
    assert abs(x - expected[1]) <= 8
    assert (shown[10, 10].max() < shown[10, 400].max() / 2) == (fit == "crop")
