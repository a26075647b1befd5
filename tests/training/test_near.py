"""Pictures that are nearly the same: the search against all pairs compared, and what counts as nearly."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from edgecnn_training import near
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import ImageFilter

Pixels = npt.NDArray[np.uint8]


def scene(seed: int, side: int = 60, channels: int = 1) -> Pixels:
    """A blurred pattern with strong contrasts, as smooth as a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, channels), np.uint8)
    planes = [
        PILImage.fromarray(coarse[..., c]).resize((side, side), PILImage.Resampling.BICUBIC) for c in range(channels)
    ]
    return np.stack([np.asarray(plane.filter(ImageFilter.GaussianBlur(1))) for plane in planes], 2)


def pairs(images: Pixels, effort: near.Effort | None = None) -> dict[tuple[int, int], float]:
    search = near.Search(images, np.arange(len(images)), effort or near.Effort())
    found = [
        ((int(i), int(j)), float(likeness))
        for part in search.pairs()
        for i, j, likeness in zip(part.first, part.second, part.likeness, strict=True)
    ]
    assert len(dict(found)) == len(found), "each pair once"
    return dict(found)


@settings(max_examples=60)
@given(
    centres=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4),
    flips=st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 62), max_size=9)), min_size=2, max_size=40),
)
def test_the_search_finds_exactly_the_pairs_that_all_against_all_finds(
    centres: list[int], flips: list[tuple[int, set[int]]]
) -> None:
    values = [centres[i % len(centres)] ^ sum(1 << bit for bit in bits) for i, bits in flips]
    found = [
        (int(i), int(j))
        for first, second in near.candidates(np.array(values, np.uint64), near.Effort())
        for i, j in zip(first, second, strict=True)
    ]
    expected = {(i, j) for i, j in combinations(range(len(values)), 2) if (values[i] ^ values[j]).bit_count() <= 6}
    assert len(set(found)) == len(found)
    assert set(found) == expected


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), channels=st.sampled_from([1, 3]))
@example(seed=489, channels=1)  # a pair at 0.96996
def test_pairs_are_those_whose_pixels_correlate_among_those_with_like_hashes(seed: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [scene(int(rng.integers(4)), 24, channels).astype(float) for _ in range(25)]
    images = np.stack([s + rng.normal(0, rng.integers(1, 30), s.shape) for s in scenes]).clip(0, 255).astype(np.uint8)
    _, small = near.shrink(images, np.arange(25))
    hashes = [int(value) for value in near.hashes(small)]
    surely, perhaps = set(), set()
    for i, j in combinations(range(25), 2):
        alike = np.corrcoef(small[i].ravel(), small[j].ravel())[0, 1] - 0.97
        colours = np.corrcoef(images[i].ravel(), images[j].ravel())[0, 1] - 0.9
        if (hashes[i] ^ hashes[j]).bit_count() <= 6:
            if min(alike, colours) > 1e-4:
                surely.add((i, j))
            if min(alike, colours) > -1e-4:  # correlations are rounded to 4 digits
                perhaps.add((i, j))
    assert surely <= pairs(images).keys() <= perhaps


def resaved(image: Pixels) -> Pixels:
    buffer = io.BytesIO()
    PILImage.fromarray(image[..., 0]).save(buffer, "JPEG", quality=60)
    return np.asarray(PILImage.open(buffer))[..., None]


@pytest.mark.parametrize(
    "alter",
    [
        resaved,
        lambda image: (image * 0.8 + 20).astype(np.uint8),
        lambda image: np.concatenate([image[:, :1], image[:, :-1]], 1),
        lambda image: (image.astype(int) + np.random.default_rng(0).integers(-6, 7, image.shape)).clip(0, 255),
    ],
    ids=["saved as JPEG", "darker", "moved by a pixel of the photograph", "with noise"],
)
def test_an_altered_copy_is_found_and_other_scenes_are_not(alter: Callable[[Pixels], Pixels]) -> None:
    scenes = [scene(seed, 120) for seed in range(30)]
    altered = alter(scenes[7]).astype(np.uint8)
    half = (PILImage.fromarray(image[..., 0]).reduce(2) for image in (*scenes, altered))
    found = pairs(np.stack([np.asarray(picture)[..., None] for picture in half]))
    assert found.keys() == {(7, 30)}
    assert 0.97 <= found[7, 30] <= 1


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    grey = scene(1)[..., 0].astype(float)
    red, blue = np.array([1.0, 0.3, 0.4]), np.array([0.2, 0.48, 1.0])  # of about the same brightness as grey
    images = np.stack(
        [*(scene(seed, channels=3) for seed in range(5, 25)), grey[..., None] * red, grey[..., None] * blue]
    )
    images = images.astype(np.uint8)
    assert near.likeness(near.shrink(images, np.arange(22))[1], np.array([20]), np.array([21]))[0] > 0.99
    assert pairs(images) == {}


def test_pictures_of_one_colour_are_like_no_other() -> None:
    rng = np.random.default_rng(0)
    flat = [np.full((20, 20, 1), 200, np.uint8) + rng.integers(0, 2, (20, 20, 1), np.uint8) for _ in range(20)]
    assert pairs(np.stack(flat)) == {}
    assert pairs(np.stack([*flat, *(scene(i, 20) for i in (1, 2, 1))])).keys() == {(20, 22)}


def test_a_set_of_no_picture_or_one_has_no_pairs() -> None:
    assert pairs(np.empty((0, 20, 20, 1), np.uint8)) == {}
    assert pairs(scene(1)[None]) == {}


@pytest.mark.parametrize(
    "effort", [near.Effort(window=3), near.Effort(comparisons=50), near.Effort(candidates=20)], ids=str
)
def test_a_search_that_is_cut_says_so_and_what_it_found_is_right(effort: near.Effort) -> None:
    rng = np.random.default_rng(0)
    frames = [(scene(1, 24) + rng.normal(0, 2, (24, 24, 1))).clip(0, 255).astype(np.uint8) for _ in range(30)]
    images = np.stack([*frames, *(scene(seed, 24) for seed in range(2, 30))])
    whole = near.Effort()
    everything = pairs(images, whole)
    assert len(everything) == 30 * 29 / 2
    assert not whole.cut
    part = pairs(images, effort)
    assert effort.cut
    assert 0 < len(part) < len(everything)
    assert part.items() <= everything.items()


def test_shrinking_is_the_mean_of_squares_of_pillows_grey() -> None:
    image = scene(3, 70, 3)
    rows, small = near.shrink(image[None], np.array([0]))
    expected = PILImage.fromarray(image[:69, :69]).convert("L").reduce(3)
    assert rows.tolist() == [0]
    assert small.shape == (1, 23, 23)
    assert np.abs(small[0].astype(int) - np.asarray(expected)).max() <= 1  # Pillow rounds to a level before the mean


def test_a_hash_does_not_see_brightness_and_contrast() -> None:
    images = np.stack([scene(seed, 32)[..., 0] // 2 for seed in range(40)])
    bright = near.hashes(np.concatenate([images, images * 2]))
    apart = [(int(a) ^ int(b)).bit_count() for a, b in zip(bright[:40], bright[40:], strict=True)]
    assert max(apart) <= 1  # a bit that lies on the median
