"""IDX files: both spellings, plain and gzipped, whole and damaged."""

import struct

import made
import numpy as np
import pytest
from edgecnn_training.dataset import read, survey
from edgecnn_training.splits import assign, counts

from edgecnn.errors import DataError, UsageError


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_pixels_labels_and_splits_are_those_of_the_files(tmp_path, gz, dot):
    items = list(read(made.write_idx_set(tmp_path, gz=gz, dot=dot)))
    expected = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    assert [item.name for item in items] == [*(f"train/{i}" for i in range(6)), "test/0", "test/1"]
    assert [item.label for item in items] == ["0", "1"] * 4
    assert [item.split for item in items] == ["train"] * 6 + ["test"] * 2
    assert np.array_equal(np.stack([item.image for item in items[:6]]), expected[..., None])


def test_pictures_are_read_over_the_borders_of_blocks(tmp_path):
    made.write_idx_set(tmp_path)
    images = np.random.default_rng(5).integers(0, 256, (3000, 28, 28), np.uint8)  # 2.2 MiB, read by 1 MiB
    made.write_idx(tmp_path, "train", images, [i % 2 for i in range(3000)])
    items = list(read(str(tmp_path)))
    assert np.array_equal(np.stack([item.image for item in items[:3000]])[..., 0], images)


def test_a_plain_file_is_preferred_to_its_gzipped_copy(tmp_path):
    made.write_idx_set(tmp_path)
    for path in list(tmp_path.iterdir()):
        (tmp_path / f"{path.name}.gz").write_bytes(b"broken")
    assert len(survey(str(tmp_path)).records) == 8


def test_a_missing_file_is_named(tmp_path):
    made.write_idx_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"must hold all four; .* lacks t10k-labels-idx1-ubyte"):
        survey(str(tmp_path))


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, gz, kind):
    made.write_idx_set(tmp_path, gz=gz)
    path = tmp_path / f"train-{kind}-ubyte{'.gz' if gz else ''}"
    whole = path.read_bytes()
    for size in range(0, len(whole), 1 if len(whole) < 50 else 7):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"copy or download it again|copy both again"):
            survey(str(tmp_path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack(">4I", 0x801, 6, 5, 4), "must begin with the bytes 00 00 08 03"),
        (struct.pack(">4I", 0xD03, 6, 5, 4), "received 00 00 0d 03"),
        (struct.pack(">4I", 0x803, 7, 5, 4), "has 7 pictures and .* 6 labels"),
        (struct.pack(">4I", 0x803, 6, 0, 4), "1 to 4096 pixels a side; .* has 0×4"),
        (struct.pack(">4I", 0x803, 6, 1 << 31, 1 << 31), "1 to 4096 pixels a side"),
        (struct.pack(">4I", 0x803, 6, 4000, 4000), "ends before its header says"),
        (struct.pack(">4I", 0x803, 6, 5, 3), "is longer than its header says"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, header, message):
    made.write_idx_set(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(header + path.read_bytes()[16:])
    with pytest.raises(DataError, match=message):
        survey(str(tmp_path))


def test_mnist_has_its_official_counts():
    found = survey(made.shared("mnist"))
    table = counts(found.records, assign(found.records, method="random", seed=0), found.labels)
    assert table.sum(0)[2] == 10_000
    assert abs(table.sum(0)[1] - 6_000) <= 5  # a tenth of 60,000, rounded in each of ten classes
    assert (found.common_size, found.grey, found.rejected) == ((28, 28), True, [])
    assert table[:, 2].tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize("gz", [False, True])
def test_emnist_is_turned_upright_and_its_letters_are_letters(tmp_path, gz):
    items = list(read(made.write_emnist(tmp_path, "letters", (1, 2, 26), gz=gz)))
    assert [item.label for item in items] == ["A", "B", "Z"] * 2
    assert [item.split for item in items] == ["train"] * 3 + ["test"] * 3
    for stem, own in (("train", items[:3]), ("test", items[3:])):
        expected = np.random.default_rng(len(stem)).integers(0, 256, (3, 5, 4), np.uint8)
        assert np.array_equal(np.stack([item.image for item in own])[..., 0], expected)


@pytest.mark.parametrize(
    ("variant", "labels", "mapping", "expected"),
    [
        ("balanced", (0, 10, 35, 36, 46), "", "0AZat"),
        ("bymerge", (9, 46), "", "9t"),
        ("byclass", (10, 36, 61), "", "Aaz"),
        ("digits", (0, 9), "", "09"),
        ("mnist", (0, 9), "", "09"),
        ("letters", (1, 2), "1 97\n2 98 66\n\n", "ab"),  # a mapping that is there counts
        ("runes", (3, 4), "3 5792\n4 5794\n", "ᚠᚢ"),
        ("runes", (3, 4), "", "34"),
    ],
)
def test_classes_of_emnist_are_characters(tmp_path, variant, labels, mapping, expected):
    location = made.write_emnist(tmp_path, variant, labels, mapping=mapping)
    assert [item.label for item in read(location)] == list(expected) * 2


def test_a_class_that_has_no_character_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"classes must be 1 to 26; .*emnist-letters-train-labels.* has 27: copy or dow"
    ):
        survey(made.write_emnist(tmp_path, "letters", (1, 27)))


@pytest.mark.parametrize("mapping", ["1\n", "1 x\n", "1 99999999999999999999\n", "1 Ä\n"])
def test_a_mapping_that_is_none_is_refused(tmp_path, mapping):
    with pytest.raises(DataError, match=r"each line of .*-letters-mapping.txt must be the number of a class and that"):
        survey(made.write_emnist(tmp_path, "letters", (1, 2), mapping=mapping))


def test_a_missing_file_of_emnist_is_named(tmp_path):
    made.write_emnist(tmp_path, "letters", (1, 2), gz=True)
    (tmp_path / "emnist-letters-test-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"must hold all four; .* lacks emnist-letters-test-images-idx3-ubyte \(.gz or"):
        survey(str(tmp_path))


def test_of_several_sets_in_a_folder_one_is_named(tmp_path):
    made.write_idx_set(tmp_path)
    made.write_emnist(tmp_path, "letters", (1, 2))
    made.write_emnist(tmp_path, "digits", (3, 4))
    with pytest.raises(
        UsageError, match=r"holds emnist-digits, emnist-letters, mnist: name one, .*\?variant=emnist-dig"
    ):
        survey(str(tmp_path))
    for variant, labels in (("emnist-letters", ("A", "B")), ("emnist-digits", ("3", "4")), ("mnist", ("0", "1"))):
        assert survey(f"{tmp_path}?variant={variant}").labels == labels
    with pytest.raises(UsageError, match=r"must be one of emnist-digits, .*; received 'emnist-balanced' for"):
        survey(f"{tmp_path}?variant=emnist-balanced")
