"""Surveys: what is counted, what is noted, what is refused; and a data set loaded from end to end."""

import csv
import unicodedata

import made
import numpy as np
import pytest
from edgecnn_training import dataset
from edgecnn_training.examples import Rejected
from edgecnn_training.loading import load_dataset
from edgecnn_training.natural import natural_key
from edgecnn_training.splits import assign, counts
from PIL import Image as PILImage

from edgecnn.errors import DataError


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def survey(root, files):
    return dataset.survey(made.write_folder(root, files))


def test_a_survey_knows_sizes_labels_and_kind(tmp_path):
    files = made.animals() | {"dog/grey.png": made.picture(9, 5, 7, 1)}
    found = survey(tmp_path, files)
    assert found.location == str(tmp_path)
    assert found.labels == ("cat", "dog")
    assert found.sizes == {(8, 8): 6, (5, 7): 1}
    assert (found.common_size, found.grey) == (None, False)
    assert [record.grey for record in found.records].count(True) == 1


def test_labels_are_in_natural_order(tmp_path):
    labels = ["Class 10", "class 2", "class 1", "b", "A"]
    files = {f"{label}/1.png": made.picture(i) for i, label in enumerate(labels)}
    assert survey(tmp_path, files).labels == ("A", "b", "class 1", "class 2", "Class 10")


def test_natural_order_compares_numbers_of_any_length():
    names = ["IMG_10", "IMG_9", "IMG_09", f"IMG_{'1' * 5000}", "IMG", "7", "IMG_٣"]
    assert sorted(names, key=natural_key) == ["7", "IMG", "IMG_09", "IMG_9", "IMG_٣", "IMG_10", names[3]]


def test_the_data_hash_depends_on_contents_labels_splits_and_groups_only(tmp_path):
    (tmp_path / "m").mkdir()
    made.write_folder(tmp_path / "m", made.animals())

    def data_hash(*lines):
        (tmp_path / "m" / "x.csv").write_text("\n".join(("path,label,split,group", *lines)))
        return dataset.survey(str(tmp_path / "m" / "x.csv")).data_hash

    base = data_hash("cat/0.png,cat,train,g", "dog/0.png,dog,,")
    assert base == data_hash("dog/0.png,dog,,", "cat/../cat/0.png,cat,train,g")
    others = [
        data_hash("cat/1.png,cat,train,g", "dog/0.png,dog,,"),
        data_hash("cat/0.png,kitten,train,g", "dog/0.png,dog,,"),
        data_hash("cat/0.png,cat,test,g", "dog/0.png,dog,,"),
        data_hash("cat/0.png,cat,train,h", "dog/0.png,dog,,"),
        data_hash("cat/0.png,cat,train,g", "dog/0.png,dog,,", "dog/1.png,dog,,"),
    ]
    assert len({base, *others}) == 6


def test_the_content_hash_of_an_array_covers_its_shape():
    flat = made.pixels(0, 4, 4)
    assert dataset.content_hash(flat) != dataset.content_hash(flat.reshape(2, 8, 3))
    assert dataset.content_hash(flat) == dataset.content_hash(np.asfortranarray(flat))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([(28, 28)], (28, 28)), ([(64, 48)], (64, 48)), ([(65, 28)], (64, 64)), ([(28, 28), (28, 29)], (64, 64))],
)
def test_the_size_is_the_pictures_own_if_all_are_equal_and_small(tmp_path, sizes, expected):
    files = {f"{label}/{size}.png": made.picture(i, *size) for i, label in enumerate("ab") for size in sizes}
    assert dataset.choose_size(survey(tmp_path, files)) == expected


def test_class_names_that_are_one_in_unicode_are_merged_with_a_note(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
    files = {f"{name}/{i}.png": made.picture(i) for i, name in enumerate([composed, decomposed, "Ameise"])}
    found = survey(tmp_path, files)
    assert found.labels == ("Ameise", composed)
    assert found.notes == ["2 folders or labels read 'Käfer' in different Unicode forms: merged"]


def test_class_names_that_differ_in_case_stay_apart_with_a_note(tmp_path):
    found = survey(tmp_path, {f"{name}/1.png": made.picture(i) for i, name in enumerate(["Cat", "cat", "dog"])})
    assert found.labels == ("Cat", "cat", "dog")
    assert found.notes == [
        "labels that differ only in case stay apart: 'Cat', 'cat'; "
        "if they are one class, put its pictures into one folder"
    ]


def test_a_label_with_control_characters_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match=r"must be printable text; received 'c\\x1bat'.*rename the class"):
        survey(tmp_path, {"c\x1bat/1.png": made.picture(1), "dog/1.png": made.picture(2)})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"must hold pictures; none in .*: pass a folder of class folders"),
        (
            {"1.png": made.picture()},
            r"must have a folder of its pictures.*received files in no such folder: 1, such as '1",
        ),
        ({"cat/1.png": made.picture(1)}, "needs two classes or more; .* has one, 'cat'"),
        (
            {"cat/1.png": made.picture(1), "dog/1.png": b"", "dog/2.png": b"no"},
            r"none in 'dog': mend what.*\n  1 rejected, 'dog/1.png': empty file.*\n.*'dog/2.png': not an im",
        ),
    ],
)
def test_a_data_set_that_cannot_be_trained_on_is_refused_with_the_remedy(tmp_path, files, message):
    with pytest.raises(DataError, match=message) as caught:
        survey(tmp_path, files)
    assert caught.value.exit_code == 3


def test_progress_ends_with_the_number_of_pictures(tmp_path):
    seen = []
    dataset.survey(made.write_folder(tmp_path, made.animals(60)), progress=seen.append)
    assert seen == [100, 120]


def test_rejected_csv_survives_odd_names(tmp_path):
    dataset.write_rejected(tmp_path / "rejected.csv", [Rejected('a,"b"\n.png', "x"), Rejected("\udcff", "y, z")])
    with (tmp_path / "rejected.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "reason"], ['a,"b"\n.png', "x"], ["\\udcff", "y, z"]]
    assert [path.name for path in tmp_path.iterdir()] == ["rejected.csv"]


def test_a_loaded_data_set_holds_the_very_pixels(tmp_path):
    files = made.animals() | {"dog/again.png": made.animals()["cat/0.png"], "dog/bad.png": made.picture(3)[:150]}
    data = load_dataset(made.write_folder(tmp_path, files), size=None, channels=None)
    assert data.images.shape == (6, 8, 8, 3)  # seven pictures of six contents
    assert [item.name for item in data.rejected] == ["dog/bad.png"]
    assert data.labels == ("cat", "dog")
    for record, row, index in zip(data.records, data.rows, data.class_index, strict=True):
        assert np.array_equal(data.images[row], np.asarray(PILImage.open(tmp_path / record.name)))
        assert data.labels[index] == record.label


def test_channels_follow_the_pictures_unless_they_are_given(tmp_path):
    grey = {f"{label}/{i}.png": made.picture(i, channels=1) for i, label in enumerate("aabb")}
    location = made.write_folder(tmp_path, grey)
    assert load_dataset(location, size=None, channels=None).images.shape == (4, 8, 8, 1)
    assert load_dataset(location, size=(9, 7), channels=3, fit="pad").images.shape == (4, 9, 7, 3)


def test_a_class_that_loses_all_its_pictures_when_they_are_decoded_is_refused(tmp_path):
    files = {"cat/1.png": made.picture(1, 50, 50), "dog/1.png": made.picture(2, 50, 50)[:2000]}
    for _ in range(2):  # decoded now, then from the cache
        with pytest.raises(DataError, match=r"none in 'dog'.*\n.*'dog/1.png': damaged or truncated PNG"):
            load_dataset(made.write_folder(tmp_path, files), size=None, channels=None)


def test_the_three_invalid_members_of_notmnist_are_named_and_the_rest_is_loaded():
    data = load_dataset(made.shared("notmnist/notMNIST_small.tar.gz"), size=None, channels=None)
    assert len(data.records) == 8039
    assert {item.name: item.reason.split(" (")[0] for item in data.rejected} == {
        "notMNIST_small/A/RmlnaHQgTm90IEVtcHR5.png": "empty file",
        "notMNIST_small/B/bm90IGEgcG5n.png": "not an image",
        "notMNIST_small/F/dHJ1bmNhdGVk.png": "damaged or truncated PNG",
    }
    assert data.images.shape[1:] == (28, 28, 1)


def test_sign_digits_are_split_by_the_order_of_their_numbers():
    found = dataset.survey(made.shared("sign-digits/sign-digits.tar"))
    codes = assign(found.records, method="ordered", seed=0)
    assert counts(found.records, codes, found.labels).sum(0).tolist() == [1311, 160, 160]
    for label in found.labels:
        own = sorted(
            (natural_key(record.name), int(code))
            for record, code in zip(found.records, codes, strict=True)
            if record.label == label
        )
        assert [code for _, code in own] == sorted(code for _, code in own)
