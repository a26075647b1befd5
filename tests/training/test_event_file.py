"""Event files: what is in them, their order, and a disk that is full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgecnn_training.report.events import EventFile
from edgecnn_training.report.hparams import flat
from edgecnn_training.report.sheet import contact_sheet
from event_files import crc32c, read_events, values
from full_disk import files_of_at_most


def test_the_checksum_of_the_reader_in_these_tests_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4


def test_a_histogram_counts_each_value_once(tmp_path: Path) -> None:
    file = EventFile(tmp_path, 1)
    data = np.random.default_rng(0).normal(size=(100, 10)).astype(np.float32)
    file.histogram("a", data, 3)
    file.close()
    ((step, value),) = values(tmp_path, "a")
    found, exact = value.histo, data.astype(np.float64).ravel()
    assert step == 3
    assert (found.num, found.min, found.max) == (1000, exact.min(), exact.max())
    assert found.sum_squares == pytest.approx((exact**2).sum())
    below = np.searchsorted(np.sort(exact), found.bucket_limit)
    # a value on a limit may count on either side
    assert np.abs(np.cumsum(found.bucket) - below).max() <= 1


def test_a_large_tensor_is_sampled_and_what_is_no_number_left_out(tmp_path: Path) -> None:
    file = EventFile(tmp_path, 1)
    file.histogram("large", np.arange(1_000_000, dtype=np.float32), 1)
    file.histogram("some", np.array([1, np.nan, 2, np.inf], np.float32), 1)
    file.histogram("none", np.array([np.nan], np.float32), 1)
    file.histogram("one", np.full(7, 4, np.float32), 1)
    file.close()
    ((_, large),) = values(tmp_path, "large")
    assert large.histo.num == 16_384
    assert large.histo.sum / large.histo.num == pytest.approx(500_000, abs=5 * 1e6 / 12**0.5 / 128)  # 5 deviations
    ((_, some),) = values(tmp_path, "some")
    assert (some.histo.num, some.histo.min, some.histo.max) == (2, 1, 2)
    assert values(tmp_path, "none") == []
    ((_, one),) = values(tmp_path, "one")
    assert (list(one.histo.bucket), list(one.histo.bucket_limit)) == ([7], [4])


def test_files_that_are_opened_within_a_second_are_read_in_their_order(tmp_path: Path) -> None:
    for number in range(12):
        file = EventFile(tmp_path, number)
        file.scalar("a", number, number)
        file.scalar("a", -1, number + 1)  # void as soon as the next file is opened
        file.close()
        file.close()
    assert [(step, value.simple_value) for step, value in values(tmp_path, "a")] == [
        *((n, n) for n in range(12)),
        (12, -1),
    ]
    assert read_events(tmp_path, purged=False)[0].file_version == "brain.Event:2"


def test_a_full_disk_is_an_error_at_once_and_closing_is_not(tmp_path: Path) -> None:
    file = EventFile(tmp_path, 1)

    def write() -> None:
        for step in range(100):
            file.histogram("a", np.arange(100, dtype=np.float32), step)
            file.flush()

    with files_of_at_most(5_000):
        with pytest.raises(OSError, match="File too large"):
            write()
        file.close()
    assert 1 <= len(values(tmp_path, "a")) < 10  # what was written before it is whole


def test_tables_in_a_recipe_become_keys() -> None:
    values = {"epochs": 3, "flip": False, "options": {"dropout": 0.5}, "teacher": None, "list": [1, 2]}
    assert flat(values) == {"epochs": 3, "flip": False, "options.dropout": 0.5, "list": "[1, 2]"}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_shows_each_picture_enlarged_above_its_lines(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 24, 32, channels), np.uint8)
    sheet = contact_sheet(images, [("one", "two")] * 7)
    # 3 times as large, 96×72; cells of 102×(72 + 34 + 6) from (6, 6) on, five in a row
    for i, image in enumerate(images):
        left, top = 6 + i % 5 * 102, 6 + i // 5 * 112
        large = np.kron(image, np.ones((3, 3, 1), np.uint8))
        assert np.array_equal(sheet[top : top + 72, left : left + 96], np.broadcast_to(large, (72, 96, 3)))
    assert sheet.shape == (6 + 2 * 112, 6 + 5 * 102, 3)
    below = sheet[6 + 72 : 6 + 72 + 34, 6:102]
    assert (below[:17] < 100).all(2).any()  # black letters
    assert ((below[17:, :, 0] > 150) & (below[17:, :, 1] < 50)).any()  # red ones


def test_a_long_caption_is_cut_and_a_strange_one_shown() -> None:
    image = np.zeros((1, 24, 24, 1), np.uint8)
    assert contact_sheet(image, [("w" * 300,)]).shape == (6 + 96 + 17 + 6, 6 + 102, 3)
    assert contact_sheet(image, [("日本\x1b[31m",)]).shape == (125, 108, 3)
