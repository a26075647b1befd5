"""Splits: what stands on which side, by properties and by hand."""

import hashlib
from collections import Counter, defaultdict
from time import process_time

import numpy as np
import pytest
from edgecnn_training import splits
from edgecnn_training.dataset import Record
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError, UsageError

METHODS = pytest.mark.parametrize("method", splits.METHODS)


def record(name, label="a", split=None, group=None, content=None):
    digest = hashlib.sha256((content or f"{label}/{name}").encode("utf-8", "surrogatepass")).digest()
    return Record(name, label, split, group, digest, 8, 8, False)


def plain(label, count):
    return [record(f"IMG_{i}.jpg", label) for i in range(count)]


def sides(records, codes, key):
    found = defaultdict(set)
    for item, code in zip(records, codes, strict=True):
        if key(item) is not None:
            found[key(item)].add(int(code))
    return found


@st.composite
def data_sets(draw):
    """Some classes with enough plain pictures, and others with shared contents and groups, across classes too."""
    records = [item for label in "abc" for item in plain(label, draw(st.integers(3, 40)))]
    for i in range(draw(st.integers(0, 60))):
        content = draw(st.one_of(st.none(), st.integers(0, 9)))
        group = draw(st.one_of(st.none(), st.sampled_from("uvwxyz")))
        label = draw(st.sampled_from("abcde"))
        records.append(record(f"x{i}", label, None, group, None if content is None else str(content)))
    order = draw(st.randoms(use_true_random=False))
    order.shuffle(records)
    return records


@METHODS
@settings(max_examples=60, deadline=None)
@given(records=data_sets(), seed=st.integers(0, 2**32))
def test_no_content_and_no_group_is_on_two_sides_and_every_class_is_trained(method, records, seed):
    codes = splits.assign(records, method=method, seed=seed)
    assert all(len(found) == 1 for found in sides(records, codes, lambda r: r.content_hash).values())
    assert all(len(found) == 1 for found in sides(records, codes, lambda r: r.group).values())
    assert all(0 in found for found in sides(records, codes, lambda r: r.label).values())
    assert all(sides(records, codes, lambda r: r.label)[label] == {0, 1, 2} for label in "abc")
    assert np.array_equal(codes, splits.assign(records, method=method, seed=seed))


@METHODS
@settings(max_examples=30, deadline=None)
@given(records=data_sets(), draw=st.data(), seed=st.integers(0, 2**32))
def test_the_same_pixels_in_other_files_are_never_on_two_sides(method, records, draw, seed):
    shared = draw.draw(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=len(records), max_size=len(records)))
    alone = [key is None or item.name.startswith("IMG") for key, item in zip(shared, records, strict=True)]
    alike = np.array([10 + i if own else key for i, (own, key) in enumerate(zip(alone, shared, strict=True))])
    codes = splits.assign(records, method=method, seed=seed, alike=alike)
    keys = dict(zip(map(id, records), alike.tolist(), strict=True))
    assert all(len(found) == 1 for found in sides(records, codes, lambda r: keys[id(r)]).values())
    assert all(len(found) == 1 for found in sides(records, codes, lambda r: r.content_hash).values())


@METHODS
@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(3, 200), min_size=2, max_size=6), seed=st.integers(0, 2**32))
def test_without_groups_each_class_is_divided_80_10_10_to_the_picture(method, sizes, seed):
    records = [item for label, size in zip("abcdef", sizes, strict=False) for item in plain(label, size)]
    table = splits.counts(records, splits.assign(records, method=method, seed=seed), "abcdef"[: len(sizes)])
    for size, (train, validation, test) in zip(sizes, table.tolist(), strict=True):
        assert validation == test == max(1, round(size / 10))
        assert train == size - 2 * test


@settings(max_examples=30, deadline=None)
@given(
    people=st.lists(st.integers(5, 15), min_size=20, max_size=40), classes=st.integers(2, 5), seed=st.integers(0, 99)
)
def test_people_photographed_in_every_class_are_divided_near_a_tenth(people, classes, seed):
    records = [
        record(f"{person}-{i}", f"class{c}", None, f"person{person}")
        for person, count in enumerate(people)
        for c in range(classes)
        for i in range(count)
    ]
    table = splits.counts(
        records, splits.assign(records, method="random", seed=seed), [f"class{c}" for c in range(classes)]
    )
    shares = table / table.sum(1, keepdims=True)
    largest = max(people) / sum(people)  # the division cannot be finer than a person
    assert (np.abs(shares[:, 1:] - 0.1) <= largest).all()


def test_other_seeds_give_other_splits():
    records = plain("a", 50) + plain("b", 50)
    first, second = (splits.assign(records, method="random", seed=seed) for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_ordered_takes_the_last_tenths_by_natural_order():
    records = plain("a", 20) + plain("b", 10)
    codes = splits.assign(records[::-1], method="ordered", seed=0)[::-1]
    assert codes.tolist() == [0] * 16 + [1, 1, 2, 2] + [0] * 8 + [1, 2]


def test_ordered_keeps_a_repeated_content_with_the_earlier_one():
    records = [*plain("a", 19), record("IMG_19.jpg", "a", content="a/IMG_0.jpg"), *plain("b", 10)]
    codes = splits.assign(records, method="ordered", seed=0)
    assert codes[:20].tolist() == [0] * 15 + [1, 1, 2, 2] + [0]


def test_ordered_does_not_cut_through_a_group():
    records = [record(f"{i:03}", "a", None, f"person{i // 10}") for i in range(100)] + plain("b", 10)
    codes = splits.assign(records, method="ordered", seed=0)
    assert codes[:100].tolist() == [0] * 80 + [1] * 10 + [2] * 10


@METHODS
def test_a_class_of_two_pictures_is_only_trained_and_said_so(method):
    records = plain("a", 20) + plain("b", 2)
    codes = splits.assign(records, method=method, seed=0)
    assert splits.counts(records, codes, ("a", "b")).tolist() == [[16, 2, 2], [2, 0, 0]]
    assert [line.partition(":")[0] for line in splits.warnings(records, codes)] == [
        "validation and test have no picture of 'b'"
    ]


def test_given_splits_win():
    records = [record(f"{i}", "ab"[i % 2], split) for i, split in enumerate(["train", "test", "validation", None] * 5)]
    codes = splits.assign(records * 2, method="random", seed=0)
    assert codes.tolist() == [0, 2, 1, 0] * 10


@METHODS
def test_a_missing_validation_split_is_a_tenth_of_train(method):
    records = [record(f"{i}", "a", "train" if i < 80 else "test") for i in range(100)] + plain("b", 20)
    codes = splits.assign(records, method=method, seed=0)
    assert splits.counts(records, codes, ("a", "b")).tolist() == [[72, 8, 20], [18, 2, 0]]
    assert (codes[80:100] == 2).all()


def test_a_missing_test_split_stays_missing():
    records = [record(f"{i}", "ab"[i % 2], ["train", "train", "validation", "validation"][i % 4]) for i in range(20)]
    assert set(splits.assign(records, method="random", seed=0).tolist()) == {0, 1}


@METHODS
def test_validation_is_never_taken_from_what_is_also_in_the_given_test_split(method):
    both = [record(f"train/{i}", "a", "train", None, f"same{i}") for i in range(10)]
    test = [record(f"test/{i}", "a", "test", None, f"same{i}") for i in range(10)]
    records = both + test + plain("b", 20) + [record(f"z{i}", "a", "train") for i in range(10)]
    codes = splits.assign(records, method=method, seed=0)
    assert not codes[:10].any()
    assert (codes[10:20] == 2).all()
    assert (codes[20:] == 1).any()


def test_a_class_that_is_only_in_a_given_test_split_is_refused():
    records = [*plain("a", 10), record("x", "b", "test")]
    with pytest.raises(DataError, match="each class must have pictures in train; none of 'b'"):
        splits.assign(records, method="random", seed=0)


@METHODS
def test_one_group_for_everything_is_refused_with_the_remedy(method):
    records = [record(f"{i}", "ab"[i % 2], None, "all") for i in range(20)]
    with pytest.raises(DataError, match="no class has three different pictures in different groups"):
        splits.assign(records, method=method, seed=0)


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="split must be one of random, ordered; received 'sorted'"):
        splits.assign(plain("a", 5), method="sorted", seed=0)


def test_components_join_over_content_and_group():
    records = [record("1", content="p", group="g"), record("2", content="q", group="g"), record("3", content="q")]
    numbers = splits.components([*records, record("4"), record("5", group="p")])
    assert Counter(Counter(numbers.tolist()).values()) == {3: 1, 1: 2}


def test_components_join_over_pixels_too():
    records = [record("1", group="g"), record("2"), record("3", group="g"), record("4")]
    numbers = splits.components(records, np.array([5, 5, 6, 7]))
    assert Counter(Counter(numbers.tolist()).values()) == {3: 1, 1: 1}


def test_a_hundred_thousand_pictures_are_divided_in_seconds():
    records = [record(f"{i}", f"class{i % 100}") for i in range(100_000)]
    begin = process_time()
    splits.assign(records, method="random", seed=0)
    assert process_time() - begin < 20, "a division must be linear in the pictures; a quadratic one takes minutes"


def test_splits_come_back_from_their_file(tmp_path):
    records = [*plain("a", 20), record('odd, "name"\udcff', "b"), *plain("b", 9)]
    codes = splits.assign(records, method="random", seed=0)
    splits.write_splits(tmp_path / "splits.csv", records, codes)
    known = splits.read_splits(tmp_path / "splits.csv")
    assert [known[r.content_hash] for r in records] == [splits.SPLITS[code] for code in codes]
    assert [path.name for path in tmp_path.iterdir()] == ["splits.csv"]


def test_a_content_on_two_sides_counts_as_the_one_nearer_to_training(tmp_path):
    records = [record("1", content="p"), record("2", content="p")]
    splits.write_splits(tmp_path / "splits.csv", records, np.array([2, 0], np.uint8))
    assert splits.read_splits(tmp_path / "splits.csv") == {records[0].content_hash: "train"}


def test_all_sides_of_a_content_come_back_from_the_file(tmp_path):
    records = [record("1", content="p"), record("2", content="p"), record("3")]
    splits.write_splits(tmp_path / "splits.csv", records, np.array([2, 0, 1], np.uint8))
    assert splits.read_sides(tmp_path / "splits.csv") == {
        records[0].content_hash: {"train", "test"},
        records[2].content_hash: {"validation"},
    }


HEADER = "content_hash,split,label,name\n"


@pytest.mark.parametrize("text", ["", "a,b\n", f"{HEADER}zz,train,a,b\n", f"{HEADER}00\n", f"{HEADER}00,dev,a,b\n"])
def test_a_damaged_splits_file_is_refused(tmp_path, text):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(DataError, match="must hold the splits of a run"):
        splits.read_splits(tmp_path / "splits.csv")
