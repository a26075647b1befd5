from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import UsageError
from edgecnn.preprocess import FITS, fit_image

Pixels = npt.NDArray[np.uint8]
sides = st.integers(1, 40)


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (height, width, channels), dtype=np.uint8)


def triangle(values: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.float64]:
    """Resize the first axis with the triangle filter, widened when shrinking (Pillow's BILINEAR, in float64)."""
    scale = len(values) / length
    support = max(scale, 1.0)
    rows = []
    for i in range(length):
        distance = np.abs(np.arange(len(values)) + 0.5 - (i + 0.5) * scale) / support
        weights = np.clip(1 - distance, 0, None)
        rows.append(np.tensordot(weights / weights.sum(), values, axes=1))
    return np.array(rows)


def test_crop_cuts_the_long_side_off_evenly() -> None:
    image = noise(2, 6)
    np.testing.assert_array_equal(fit_image(image, 2, 2, 3, "crop"), image[:, 2:4])


def test_pad_fills_up_with_black_evenly() -> None:
    image = noise(2, 4)
    padded = fit_image(image, 4, 4, 3, "pad")
    np.testing.assert_array_equal(padded[1:3], image)
    assert not padded[[0, 3]].any()


@pytest.mark.parametrize(("height", "width"), [(4, 5), (13, 7), (50, 3)])
def test_stretch_is_the_triangle_filter_over_both_axes(height: int, width: int) -> None:
    image = noise(20, 15)
    expected = triangle(triangle(image.astype(np.float64), height).swapaxes(0, 1), width).swapaxes(0, 1)
    actual = fit_image(image, height, width, 3, "stretch")
    assert np.abs(actual - expected).max() <= 1.01  # Pillow rounds to 8 bits after each axis


def test_shrinking_averages_instead_of_dropping_pixels() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit_image(stripes, 8, 8, 3, "stretch").astype(int) - 127).max() <= 8


def test_grey_is_the_weighted_sum_of_itu_r_601() -> None:
    image = noise(5, 5)
    expected = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(fit_image(image, 5, 5, 1)[:, :, 0] - expected).max() <= 0.51


def test_grey_is_repeated_for_a_network_that_takes_colour() -> None:
    grey = noise(5, 5, 1)
    np.testing.assert_array_equal(fit_image(grey, 5, 5, 3), np.repeat(grey, 3, axis=2))


def test_a_picture_of_the_right_size_is_passed_on_as_it_is() -> None:
    image = noise(9, 9)
    assert fit_image(image, 9, 9, 3) is image


def test_an_unknown_fit_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="fit must be one of crop, stretch, pad; received 'zoom'"):
        fit_image(noise(2, 2), 4, 4, 3, "zoom")


@settings(max_examples=60)
@given(sides, sides, sides, sides, st.sampled_from(FITS), st.sampled_from([1, 3]), st.sampled_from([1, 3]))
def test_the_result_has_the_size_that_was_asked_for(
    rows: int, columns: int, height: int, width: int, fit: str, given_channels: int, channels: int
) -> None:
    result = fit_image(noise(rows, columns, given_channels), height, width, channels, fit)
    assert result.shape == (height, width, channels)
    assert result.dtype == np.uint8


@settings(max_examples=40)
@given(sides, sides, sides, sides, st.sampled_from(["crop", "stretch"]), st.integers(0, 255))
def test_one_colour_stays_that_colour(rows: int, columns: int, height: int, width: int, fit: str, value: int) -> None:
    image = np.full((rows, columns, 3), value, np.uint8)
    assert (fit_image(image, height, width, 3, fit) == value).all()


@settings(max_examples=40)
@given(sides, sides, sides, sides, st.sampled_from(FITS))
def test_rows_and_columns_are_treated_alike(rows: int, columns: int, height: int, width: int, fit: str) -> None:
    image = noise(rows, columns)
    turned = fit_image(np.ascontiguousarray(image.swapaxes(0, 1)), width, height, 3, fit).swapaxes(0, 1)
    straight = fit_image(image, height, width, 3, fit)
    assert np.abs(turned.astype(int) - straight).max() <= 1  # the order of the two axes changes one rounding
