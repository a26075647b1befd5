from __future__ import annotations

import numpy as np
import pytest
from edgecnn_training.augment import Augmentation


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def images() -> np.ndarray:
    return generator(1).integers(0, 256, (16, 12, 10, 3), np.uint8)


def test_without_any_movement_pictures_stay_as_they_are(images: np.ndarray) -> None:
    assert np.array_equal(Augmentation()(images, generator()), images)


def test_the_same_random_numbers_give_the_same_pictures(images: np.ndarray) -> None:
    augment = Augmentation(shift=0.1, rotate=10, flip=True)
    assert np.array_equal(augment(images, generator(5)), augment(images, generator(5)))
    assert not np.array_equal(augment(images, generator(5)), augment(images, generator(6)))


def test_the_pictures_that_come_in_are_not_changed(images: np.ndarray) -> None:
    before = images.copy()
    Augmentation(shift=0.2, rotate=20, flip=True)(images, generator())
    assert np.array_equal(images, before)


def test_a_flip_mirrors_about_half_of_the_pictures_and_leaves_the_others() -> None:
    images = generator(1).integers(0, 256, (400, 4, 5, 1), np.uint8)
    result = Augmentation(flip=True)(images, generator())
    same = (result == images).all((1, 2, 3))
    mirrored = (result == images[:, :, ::-1]).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 150 < mirrored.sum() < 250  # 200 ± 5 standard deviations


def test_inverting_swaps_light_and_dark_in_about_half_of_the_pictures_and_leaves_the_others() -> None:
    images = generator(1).integers(0, 256, (400, 4, 5, 3), np.uint8)
    result = Augmentation(invert=True)(images, generator())
    same = (result == images).all((1, 2, 3))
    swapped = (result.astype(int) + images == 255).all((1, 2, 3))
    assert (same | swapped).all()
    assert 150 < swapped.sum() < 250  # 200 ± 5 standard deviations


def test_a_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    column = np.arange(10, dtype=np.uint8)
    images = np.broadcast_to(column[None, None, :, None], (64, 8, 10, 1)).copy()
    result = Augmentation(shift=0.3)(images, generator())
    moves = result[:, 0, 5, 0].astype(int) - 5
    assert set(np.unique(moves)) <= {-3, -2, -1, 0, 1, 2, 3}
    assert len(np.unique(moves)) > 3
    for picture, move in zip(result, moves, strict=True):
        assert np.array_equal(picture[0, :, 0], np.clip(column + move, 0, 9))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_turn_keeps_a_uniform_picture_uniform_so_no_border_is_drawn(channels: int) -> None:
    images = np.full((8, 20, 24, channels), 200, np.uint8)
    assert (Augmentation(shift=0.2, rotate=45)(images, generator()) == 200).all()


def test_a_turn_leaves_a_disc_in_the_middle_where_it_is() -> None:
    y, x = np.ogrid[:33, :33]
    disc = (((y - 16) ** 2 + (x - 16) ** 2 < 64) * 255).astype(np.uint8)
    images = np.repeat(disc[None, :, :, None], 16, 0)
    result = Augmentation(rotate=30)(images, generator())
    for picture in result[..., 0] / 255:
        centre = (picture.sum(1) @ np.arange(33) / picture.sum(), picture.sum(0) @ np.arange(33) / picture.sum())
        assert centre == pytest.approx((16, 16), abs=0.1)  # a disc's centre turns into itself


def test_a_turn_goes_as_far_as_the_recipe_says_and_both_ways() -> None:
    images = np.zeros((200, 41, 41, 1), np.uint8)
    images[:, 20, 30, 0] = 255  # 10 pixels right of the centre
    result = Augmentation(rotate=20)(images, generator())[..., 0].astype(float)
    rows = (result.sum(2) @ np.arange(41)) / result.sum((1, 2)) - 20
    columns = (result.sum(1) @ np.arange(41)) / result.sum((1, 2)) - 20
    angles = np.degrees(np.arctan2(rows, columns))
    assert abs(angles).max() == pytest.approx(20, abs=2)
    assert angles.min() < -15
    assert angles.max() > 15


def test_a_zoom_makes_a_square_as_much_larger_and_smaller_as_the_recipe_says() -> None:
    images = np.zeros((200, 60, 60, 1), np.uint8)
    images[:, 20:40, 20:40] = 255
    sides = np.sqrt((Augmentation(zoom=0.25)(images, generator()) / 255).sum((1, 2, 3)))
    assert sides.min() == pytest.approx(15, abs=0.4)
    assert sides.max() == pytest.approx(25, abs=0.4)
    assert np.median(sides) == pytest.approx(20, abs=1)


def test_brightness_multiplies_and_contrast_spreads_about_the_mean() -> None:
    images = np.full((300, 4, 4, 1), 40, np.uint8)
    images[:, :, 2:] = 120
    bright = Augmentation(brightness=0.5)(images, generator()).astype(float)
    assert bright[:, 0, 0] == pytest.approx(bright[:, 0, 3] / 3, abs=0.7)  # rounding
    assert bright[:, 0, 3].min() == pytest.approx(60, abs=1)
    assert bright[:, 0, 3].max() == pytest.approx(180, abs=1)
    spread = Augmentation(contrast=0.4)(images, generator()).astype(float)
    assert spread.mean((1, 2, 3)) == pytest.approx(np.full(300, 80), abs=0.5)  # rounding
    assert (spread[:, 0, 3] - spread[:, 0, 0]).min() == pytest.approx(48, abs=1.5)
    assert (spread[:, 0, 3] - spread[:, 0, 0]).max() == pytest.approx(112, abs=1.5)


def test_values_that_become_too_bright_stay_white() -> None:
    assert Augmentation(brightness=0.9)(np.full((50, 2, 2, 3), 250, np.uint8), generator()).max() == 255


def test_cutout_blanks_one_square_that_may_reach_beyond_the_edge_and_nothing_else() -> None:
    images = np.full((400, 12, 16, 3), 200, np.uint8)
    result = Augmentation(cutout=0.5)(images, generator(), blank=(10.4, 20.6, 30.0))
    cut = (result != 200).any(3)
    assert np.array_equal(result[cut], np.broadcast_to([10, 21, 30], result[cut].shape))
    heights, widths = cut.any(2).sum(1), cut.any(1).sum(1)
    assert np.array_equal(cut.sum((1, 2)), heights * widths)  # a rectangle
    assert heights.max() == widths.max() == 6
    assert heights.min() >= 1
    assert (heights < 6).any()
    centres = cut[:, 5:7, 7:9].mean((1, 2)).mean()
    assert 0.05 < centres < 0.5  # somewhere, not always in the middle
