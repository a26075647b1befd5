"""notMNIST: train from the large part, test from the small one, nothing on both sides, labels spread evenly."""

import io
from collections import Counter

import made
import pytest
from edgecnn_training.dataset import content_hash, read, survey
from edgecnn_training.datasets import _choice, folder, notmnist
from edgecnn_training.examples import Example, Rejected
from edgecnn_training.splits import assign, counts, warnings
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecnn.errors import DataError, UsageError

LETTERS = "ABC"
PARTS = ("notMNIST_large", "notMNIST_small")


def part(first, each):
    """So many pictures of each letter, all of other contents than those that begin elsewhere."""
    return {
        f"{letter}/{i}.png": made.picture(first + 1000 * LETTERS.index(letter) + i, channels=1)
        for letter in LETTERS
        for i in range(each)
    }


@pytest.fixture
def location(tmp_path):
    """30 pictures in the large part, 12 in the small one; two of the small ones are in the large one as well."""
    small = part(500, 4)
    large = part(0, 10) | {"A/leak.png": small["A/0.png"], "B/leak.png": small["C/1.png"]}
    return made.write_notmnist(tmp_path, large, small)


def examples(location):
    return [item for item in read(location) if isinstance(item, Example)]


def by_split(location):
    found = {}
    for item in examples(location):
        found.setdefault(item.split, Counter())[item.label] += 1
    return found


def test_train_is_the_large_part_and_test_the_small_one(location):
    assert by_split(location) == {"train": dict.fromkeys(LETTERS, 10), "test": dict.fromkeys(LETTERS, 4)}
    assert [item.name for item in examples(location)][:1] == ["notMNIST_small/A/0.png"]


def test_what_is_in_test_is_left_out_of_train_and_noted(location):
    found = survey(location)
    assert found.notes == [
        "2 pictures of notMNIST_large are also in notMNIST_small, the test split: left out of train and validation"
    ]
    codes = assign(found.records, method="random", seed=0)
    assert counts(found.records, codes, found.labels).tolist() == [[9, 1, 4]] * 3
    assert warnings(found.records, codes) == []


def test_folders_and_archives_are_one_data_set(location, tmp_path):
    small = part(500, 4)
    large = part(0, 10) | {"A/leak.png": small["A/0.png"], "B/leak.png": small["C/1.png"]}
    for archived in (PARTS, PARTS[:1], PARTS[1:]):
        root = tmp_path / f"{len(archived)}{archived[0]}"
        root.mkdir()
        other = made.write_notmnist(root, large, small, archived=archived)
        assert survey(other).data_hash == survey(location).data_hash
        for options in ("train=9", "train=6&test=3"):
            assert survey(f"{other}?{options}").data_hash == survey(f"{location}?{options}").data_hash
        assert {item.name for item in read(other)} == {item.name for item in read(location)}


def test_a_chosen_size_spreads_the_labels_evenly(location):
    assert by_split(f"{location}?train=12&validation=6&test=3") == {
        "train": dict.fromkeys(LETTERS, 4),
        "validation": dict.fromkeys(LETTERS, 2),
        "test": dict.fromkeys(LETTERS, 1),
    }
    assert by_split(f"{location}?train=11&validation=4")["train"] == {"A": 4, "B": 4, "C": 3}


def test_with_train_alone_a_tenth_as_many_validate_beside_them(location):
    assert by_split(f"{location}?train=24")["validation"].total() == 2
    assert by_split(f"{location}?train=24")["train"].total() == 24
    assert by_split(f"{location}?train=3")["validation"].total() == 1


def test_with_validation_alone_all_others_train(location):
    assert {split: own.total() for split, own in by_split(f"{location}?validation=6").items()} == {
        "test": 12,
        "validation": 6,
        "train": 24,
    }


def test_with_test_alone_the_large_part_stays_whole(location):
    assert {split: own.total() for split, own in by_split(f"{location}?test=6").items()} == {"test": 6, "train": 30}


def test_the_choice_is_the_same_each_time_and_validation_does_not_depend_on_train(location):
    def chosen(options):
        return {item.name for item in examples(f"{location}?{options}") if item.split == "validation"}

    assert chosen("train=12&validation=6") == chosen("train=12&validation=6") == chosen("train=21&validation=6")


def test_of_equal_pictures_one_is_chosen_under_its_first_label(tmp_path):
    large = part(0, 4)
    copies = {f"{letter}/copy{i}.png": large["A/0.png"] for letter in "ABC" for i in range(3)}
    location = made.write_notmnist(tmp_path, large | copies, part(500, 1))
    assert by_split(f"{location}?train=9&validation=3")["train"] == dict.fromkeys(LETTERS, 3)
    contents = Counter(content_hash(item.image) for item in examples(f"{location}?train=9&validation=3"))
    assert set(contents.values()) == {1}


def test_what_is_no_picture_is_not_chosen_and_told(tmp_path):
    whole = made.picture(7, 40, 40)
    broken = {"A/empty.png": b"", "B/text.png": b"text", "C/cut.png": whole[: len(whole) // 2]}
    location = made.write_notmnist(tmp_path, part(0, 4) | broken, part(500, 1))
    found = survey(f"{location}?train=9&validation=3")
    assert (len(found.records), {item.name for item in found.rejected}) == (
        15,
        {f"notMNIST_large/{name}" for name in broken},
    )
    assert len([item for item in survey(location).rejected if item.reason]) == 2  # empty and text: header unreadable


def test_a_picture_saved_once_more_is_the_same_picture(tmp_path):
    small, large = part(500, 4), part(0, 10)
    again = Image.open(io.BytesIO(small["A/0.png"]))
    large["C/again.bmp"] = saved(again, "BMP")
    large["B/9.png"] = saved(Image.open(io.BytesIO(large["A/0.png"])), "PNG", compress_level=1)
    location = made.write_notmnist(tmp_path, large, small)
    assert "C/again.bmp" not in str([item.name for item in examples(location)])
    assert "notMNIST_large/C/again.bmp" not in {item.name for item in examples(f"{location}?train=20")}
    with pytest.raises(UsageError, match=r"train must be at most 24, .* 'B' has 8 different pictures left for it"):
        survey(f"{location}?train=27&validation=2")


def saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_either_the_sizes_are_exact_and_even_or_they_are_refused(tmp_path_factory, train, validation):
    location = made.write_notmnist(tmp_path_factory.mktemp("notmnist"), part(0, 10), part(500, 1))
    largest = -(-train // 3) + -(-validation // 3)  # of class A, which gets what is left over
    if largest > 10:
        with pytest.raises(UsageError, match="since labels are spread evenly"):
            list(read(f"{location}?train={train}&validation={validation}"))
        return
    found = by_split(f"{location}?train={train}&validation={validation}")
    for split, size in (("train", train), ("validation", validation)):
        assert found[split].total() == size
        assert max(found[split].values()) - min(found[split][letter] for letter in LETTERS) <= 1


def test_more_than_there_are_is_refused_with_the_most_there_can_be(location):
    with pytest.raises(UsageError, match=r"train must be at most 24, .* 'A' has 8 different pictures left for it; rec"):
        survey(f"{location}?train=25&validation=6")
    with pytest.raises(UsageError, match=r"test must be at most 12, .*received 1,000"):
        survey(f"{location}?test=1000")


@pytest.mark.parametrize("value", ["0", "-5", "many", "1e3", "", "²"])
def test_a_size_that_is_none_is_refused(location, value):
    if value == "":
        assert by_split(f"{location}?train=") == by_split(location)
        return
    with pytest.raises(UsageError, match=rf"train must be a number of pictures, 1 or more; received '{value}'"):
        survey(f"{location}?train={value}")


def test_an_unknown_option_is_refused_with_those_there_are(location):
    with pytest.raises(UsageError, match="options of notmnist must be one of train, validation, test; received 'size'"):
        survey(f"{location}?size=5")


def test_a_folder_with_one_part_is_a_plain_folder(tmp_path):
    made.write_folder(tmp_path / "notMNIST_small", part(0, 4))
    assert not notmnist.accepts(str(tmp_path))
    assert folder.accepts(str(tmp_path))
    assert survey(str(tmp_path)).labels == tuple(LETTERS)


def test_a_damaged_archive_is_refused(tmp_path):
    location = made.write_notmnist(tmp_path, part(0, 4), part(500, 1), archived=PARTS)
    whole = (tmp_path / "notMNIST_large.tar.gz").read_bytes()
    (tmp_path / "notMNIST_large.tar.gz").write_bytes(whole[:-200])
    for options in ("", "?train=3"):
        with pytest.raises(DataError, match=r"notMNIST_large.tar.gz is damaged or truncated"):
            survey(location + options)


def test_files_beside_the_class_folders_are_rejected_by_name(tmp_path):
    location = made.write_notmnist(tmp_path, part(0, 4) | {"readme.txt": b"x"}, part(500, 1))
    assert [item for item in read(location) if isinstance(item, Rejected)] == [
        Rejected("notMNIST_large/readme.txt", "lies beside the class folders, so that it has no label")
    ]


def test_a_training_looks_for_its_pictures_once(location):
    _choice._choose.cache_clear()
    for _ in range(3):
        examples(f"{location}?train=12")
    assert _choice._choose.cache_info().misses == 1


def test_the_real_small_part_divides_into_parts_of_an_exact_size(tmp_path):
    small = made.shared("notmnist/notMNIST_small.tar.gz")
    for name in PARTS:
        (tmp_path / f"{name}.tar.gz").symlink_to(small)
    # everything in the large part is in the test part too: nothing is left to train on
    with pytest.raises(
        UsageError, match=r"validation must be at most 0, .* 'A' has 0 different pictures left for it; received 10"
    ):
        survey(f"{tmp_path}?train=100")
    assert by_split(f"{tmp_path}?test=1000")["test"] == dict.fromkeys("ABCDEFGHIJ", 100)
