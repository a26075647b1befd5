"""Labels and splits from paths, by the rule that the docstring of `_layout` states."""

import pytest
from edgecnn_training.datasets._layout import Place, clean, find_layout
from edgecnn_training.examples import Rejected

from edgecnn.errors import DataError


def places(*names, folders=()):
    layout = find_layout(names, folders)
    return [layout.place(name) for name in names]


def label_split(*names, folders=()):
    return [(p.label, p.split) if isinstance(p, Place) else p and p.reason for p in places(*names, folders=folders)]


BESIDE = "lies beside the class folders, so that it has no label"


def test_the_first_folder_is_the_class():
    assert label_split("cat/1.jpg", "dog/1.jpg") == [("cat", None), ("dog", None)]


def test_common_leading_folders_are_stripped():
    assert label_split("a/b/cat/1.jpg", "a/b/dog/1.jpg") == [("cat", None), ("dog", None)]


def test_a_file_beside_leading_folders_does_not_stop_the_stripping():
    assert label_split("README", "set/cat/1.jpg", "set/dog/1.jpg") == [BESIDE, ("cat", None), ("dog", None)]
    assert label_split("set/README", "set/cat/1.jpg", "set/dog/1.jpg") == [BESIDE, ("cat", None), ("dog", None)]


def test_a_single_class_folder_is_not_stripped_away():
    assert label_split("set/cat/1.jpg", "set/cat/2.jpg") == [("cat", None), ("cat", None)]


@pytest.mark.parametrize(
    ("folder", "split"),
    [("Train", "train"), ("val", "validation"), ("VALID", "validation"), ("dev", "validation"), ("testing", "test")],
)
def test_split_folders_are_known_by_their_aliases_in_any_case(folder, split):
    names = ["x/training/cat/1.jpg", "x/test/dog/1.jpg", f"x/{folder}/dog/2.jpg"]
    assert label_split(*names) == [("cat", "train"), ("dog", "test"), ("dog", split)]


def test_train_among_other_vehicles_is_a_class():
    assert label_split("train/1.jpg", "car/1.jpg", "ship/1.jpg") == [("train", None), ("car", None), ("ship", None)]


def test_train_alone_around_everything_is_a_leading_folder():
    assert label_split("train/cat/1.jpg", "train/dog/1.jpg") == [("cat", None), ("dog", None)]


def test_what_lies_beside_split_folders_is_rejected():
    names = "train/cat/1.jpg", "test/dog/1.jpg", "docs/deep/a.txt", "test/loose.jpg", "README"
    outside = "lies outside the train, validation and test folders"
    assert label_split(*names) == [("cat", "train"), ("dog", "test"), outside, BESIDE, outside]


def test_split_folders_without_class_folders_are_refused_with_the_remedy():
    with pytest.raises(DataError, match=r"test, train must hold one folder per class.*train/cat/1\.jpg"):
        find_layout(["train/1.jpg", "test/2.jpg"])


def test_folders_below_a_class_count_into_it_with_one_note():
    layout = find_layout(["cat/a/1.jpg", "cat/b/c/2.jpg", "dog/1.jpg"])
    assert layout.place("cat/b/c/2.jpg") == Place("cat", None, nested=True)
    assert layout.notes == (
        "pictures in folders below a class folder count into that class: 2, such as 'cat/a/1.jpg' into 'cat'; if the "
        "inner folders are the classes, move them side by side into one folder",
    )


@pytest.mark.parametrize("litter", ["cat/.DS_Store", "cat/Thumbs.db", "desktop.ini", "__MACOSX/cat/._1.jpg"])
def test_litter_is_ignored_without_a_word(litter):
    assert label_split("cat/1.jpg", "dog/1.jpg", litter)[-1] is None


@pytest.mark.parametrize("hidden", ["cat/.secret.jpg", ".git/config", "cat/.cache/1.jpg", "cat/._1.jpg"])
def test_other_hidden_files_are_rejected(hidden):
    assert places("cat/1.jpg", "dog/1.jpg", hidden)[-1] == Rejected(hidden, "hidden file")


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["cat/1.jpg", "dog/1.jpg"], ["cat", "dog", "bird"]),
        (["cat/1.jpg", "dog/1.jpg", "bird/.hidden"], []),
        (["cat/1.jpg", "dog/1.jpg", "bird/.DS_Store"], []),
        (["x/train/cat/1.jpg", "x/test/dog/1.jpg"], ["x/train/bird"]),
    ],
)
def test_a_class_folder_without_a_file_is_refused_with_the_remedy(names, folders):
    with pytest.raises(DataError, match="none in 'bird': put pictures there or delete the folder"):
        find_layout(names, folders)


def test_a_class_that_is_empty_in_one_split_only_is_no_error():
    find_layout(["train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg"], ["train", "test", "test/dog"])


def test_empty_parts_of_a_path_are_cleaned_away():
    assert clean("./cat//x/./1.jpg") == "cat/x/1.jpg"
