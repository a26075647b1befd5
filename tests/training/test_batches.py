from __future__ import annotations

import numpy as np
import pytest
from edgecnn_training.augment import Augmentation
from edgecnn_training.backend import start_keras
from edgecnn_training.calibrate import calibration_rows, with_negatives
from edgecnn_training.pictures import Normalization, Pictures, measure_normalization

start_keras("to test")

from edgecnn_training.batches import Batches, Treatment, balanced, mix, steps_per_epoch  # noqa: E402  # Keras is started before


def pictures(count: int = 50) -> Pictures:
    """Picture i is filled with the value i; its class is i modulo 5."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 1))
    return Pictures(images, np.arange(count), np.arange(count) % 5)


def batches(first: int = 0, last: int = 15, seed: int = 3, augmentation: Augmentation | None = None) -> Batches:
    return Batches(
        pictures(),
        5,
        batch_size=10,
        seed=seed,
        treatment=Treatment(Normalization((0.0,), (1.0,)), augmentation or Augmentation()),
        first=first,
        last=last,
    )


def test_each_epoch_holds_every_picture_once_in_another_order() -> None:
    data = batches()
    epochs = [[v for i in range(5) for v in data[5 * epoch + i][0][:, 0, 0, 0]] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]


def test_labels_are_one_hot_and_belong_to_their_pictures() -> None:
    images, labels = batches()[7]
    assert labels.sum(1).tolist() == [1] * 10
    assert np.array_equal(labels.argmax(1), images[:, 0, 0, 0].astype(int) % 5)


def test_a_batch_depends_on_its_number_and_not_on_what_was_asked_before() -> None:
    augmentation = Augmentation(shift=0.25)
    whole, rest = batches(augmentation=augmentation), batches(first=8, augmentation=augmentation)
    for i in (6, 0, 3):
        assert np.array_equal(whole[8 + i][0], rest[i][0])
        assert np.array_equal(whole[8 + i][1], rest[i][1])


def test_another_seed_gives_other_batches() -> None:
    assert not np.array_equal(batches(seed=1)[0][0], batches(seed=2)[0][0])


def test_the_length_is_what_is_left_of_the_run() -> None:
    assert len(batches(first=4, last=15)) == 11


def test_fewer_pictures_than_a_batch_make_one_smaller_batch() -> None:
    assert steps_per_epoch(7, 128) == 1
    data = Batches(
        pictures(7),
        5,
        batch_size=128,
        seed=0,
        treatment=Treatment(Normalization((0.0,), (1.0,))),
        first=0,
        last=2,
    )
    assert data[1][0].shape == (7, 4, 4, 1)


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_mean_and_std_are_those_of_numpy_whatever_the_chunk(chunk: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), np.uint8)
    rows = np.arange(0, 40, 2)
    result = measure_normalization(Pictures(images, rows, np.zeros(20, np.int64)), chunk=chunk)
    assert result.mean == pytest.approx(images[rows].mean((0, 1, 2)), rel=1e-12)
    assert result.std == pytest.approx(images[rows].std((0, 1, 2)), rel=1e-9)
    normal = result(images[rows])
    assert normal.mean((0, 1, 2)) == pytest.approx([0, 0, 0], abs=1e-5)
    assert normal.std((0, 1, 2)) == pytest.approx([1, 1, 1], abs=1e-5)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    images = np.full((3, 2, 2, 1), 9, np.uint8)
    assert measure_normalization(Pictures(images, np.arange(3), np.zeros(3, np.int64))).std == (1.0,)


def test_calibration_takes_as_many_of_each_class_until_a_class_has_no_more() -> None:
    classes = np.array([0] * 100 + [1] * 100 + [2] * 4)
    train = Pictures(np.zeros((204, 1, 1, 1), np.uint8), np.arange(204) + 1000, classes)
    rows = calibration_rows(train, count=64)
    assert len(set(rows.tolist())) == 64
    assert np.bincount(classes[rows - 1000]).tolist() == [30, 30, 4]
    assert np.array_equal(rows, calibration_rows(train, count=64))


def test_a_network_that_was_shown_negatives_is_calibrated_on_pictures_and_their_negatives_of_all_classes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 2, 1), np.uint8)
    train = Pictures(images, np.arange(30) + 5, np.arange(30) % 3)
    both = with_negatives(train, count=12)
    assert len(both) == 24
    assert np.bincount(both.class_index).tolist() == [8, 8, 8]
    for picture, negative, label in zip(both.images[:12], both.images[12:], both.class_index, strict=False):
        (row,) = np.flatnonzero((images == picture).all((1, 2, 3)))
        assert (row - 5) % 3 == label
        assert (negative.astype(int) + picture == 255).all()


def test_balanced_epochs_show_each_class_equally_often_and_its_pictures_as_evenly_as_can_be() -> None:
    sizes = [80, 15, 5]
    classes = np.repeat(np.arange(3), sizes)
    rng = np.random.default_rng(0)
    for balance, expected in ((1.0, [34, 33, 33]), (0.0, sizes), (0.5, [59, 26, 15])):
        drawn = balanced(classes, balance, rng)
        # by hand: 100·√80/(√80+√15+√5) = 59.4, 25.7, 14.9
        assert np.bincount(classes[drawn]).tolist() == expected
        for label, size in enumerate(sizes):
            times = np.bincount(drawn, minlength=100)[classes == label]
            assert times.max() - times.min() <= 1
            assert times.sum() == expected[label]
            assert len(times) == size


def test_balanced_batches_are_a_function_of_their_number_too() -> None:
    classes = np.repeat(np.arange(5), [30, 10, 5, 3, 2])
    data = [
        Batches(
            Pictures(pictures().images, np.arange(50), classes),
            5,
            batch_size=10,
            seed=3,
            treatment=Treatment(Normalization((0.0,), (1.0,)), balance=1.0),
            first=first,
            last=15,
        )
        for first in (0, 7)
    ]
    assert np.array_equal(data[0][9][0], data[1][2][0])
    epoch = np.concatenate([data[0][i][1] for i in range(5)])
    assert epoch.sum(0).tolist() == [10] * 5


def test_each_picture_is_mirrored_in_every_other_epoch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 1), np.uint8)
    mirrored = Treatment(Normalization((0.0,), (1.0,)), Augmentation(flip=True))
    data = Batches(
        Pictures(images, np.arange(50), np.arange(50) % 5),
        5,
        batch_size=10,
        seed=3,
        treatment=mirrored,
        first=0,
        last=20,
    )
    seen = np.zeros((4, 50), bool)
    for step in range(20):
        for picture in data[step][0].astype(np.uint8):
            as_is = (images == picture).all((1, 2, 3))
            turned = (images == picture[:, ::-1]).all((1, 2, 3))
            assert as_is.sum() + turned.sum() == 1
            seen[step // 5] |= turned
    assert 10 < seen[0].sum() < 40  # 25 ± 4 standard deviations
    assert np.array_equal(seen[0], ~seen[1])
    assert np.array_equal(seen[0], seen[2])
    assert np.array_equal(seen[1], seen[3])


def test_mixup_mixes_pictures_and_labels_by_the_same_shares() -> None:
    pixels = np.arange(8, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 1), np.float32)
    labels = np.eye(8, dtype=np.float32)
    mixed, shares = mix(pixels, labels, 1.0, np.random.default_rng(1))
    assert shares.sum(1) == pytest.approx(np.ones(8), abs=1e-6)
    assert ((shares > 0).sum(1) <= 2).all()
    # picture i is filled with i, so that the mixed value is the labels' mean of numbers
    assert mixed[:, 0, 0, 0] == pytest.approx(shares @ np.arange(8), abs=1e-5)
    assert len(np.unique(shares.max(1))) > 4


def test_a_teacher_sees_the_pixels_that_the_network_sees_and_its_logits_stand_behind_the_labels() -> None:
    treatment = Treatment(
        Normalization((10.0,), (2.0,)), teacher=lambda pixels: pixels.mean((1, 2, 3))[:, None] * [1, 2]
    )
    data = Batches(pictures(), 5, batch_size=10, seed=3, treatment=treatment, first=0, last=5)
    images, targets = data[2]
    assert targets.shape == (10, 7)
    own = images[:, 0, 0, 0] * 2 + 10
    assert targets[:, 5] == pytest.approx(own)
    assert targets[:, 6] == pytest.approx(2 * own)
    assert targets[:, :5].argmax(1).tolist() == (own.astype(int) % 5).tolist()
