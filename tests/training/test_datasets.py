"""What every kind of data set must do, and that each location has exactly one kind."""

import inspect
import json

import made
import numpy as np
import pytest
from edgecnn_training import dataset
from edgecnn_training.examples import SPLITS, Example, Rejected

from edgecnn import plugins
from edgecnn.errors import DataError, SourceError

KINDS = plugins.names(dataset.PACKAGE)


def folder(path):
    return made.write_folder(path / "photos.tar", made.animals())  # a name must not decide


def folder_with_splits(path):
    files = {f"{split}/{name}": data for split in ("train", "test") for name, data in made.animals().items()}
    return made.write_folder(path / "photos", files)


def archive(suffix, mode):
    def make(path):
        (path / f"photos{suffix}").write_bytes(made.tar_bytes(made.animals(), mode=mode))
        return str(path / f"photos{suffix}")

    return make


def renamed_zip(path):
    return made.write_zip(path / "photos.tar", made.animals())


def csv_manifest(path):
    made.write_folder(path, made.animals())
    (path / "list.csv").write_text("path,label\n" + "".join(f"{n},{n[:3]}\n" for n in made.animals()))
    return str(path / "list.csv")


def unnamed_manifest(path):
    made.write_folder(path, made.animals())
    lines = (json.dumps({"path": n, "label": n[:3], "split": "train", "group": 7}) for n in made.animals())
    (path / "list").write_text("\n".join(lines))
    return str(path / "list")


def arrays(path):
    pictures = {
        "x_train": np.zeros((4, 5, 5), np.uint8),
        "y_train": [0, 1, 0, 1],
        "x_test": np.ones((2, 5, 5, 1), np.int64),
        "y_test": [0, 1],
    }
    np.savez(path / "pictures.zip.npz", **pictures)
    return str(path / "pictures.zip.npz")


def compressed_arrays(path):
    with (path / "pictures.tar").open("wb") as file:
        np.savez_compressed(file, images=np.stack([made.pixels(i) for i in range(6)]), labels=["cat", "dog"] * 3)
    return str(path / "pictures.tar")


def cifar(files):
    return lambda path: made.write_folder(path / "folder", files())


def cifar_archive(files):
    def make(path):
        (path / "x").write_bytes(made.tar_bytes({f"any/{name}": data for name, data in files().items()}))
        return str(path / "x")

    return make


LOCATIONS = {
    "folder": [folder, folder_with_splits],
    "tar": [
        archive(".zip", "w"),
        archive(".tar.gz", "w:gz"),
        archive(".tgz", "w:gz"),
        archive("", "w:xz"),
        archive(".b", "w:bz2"),
    ],
    "zip": [renamed_zip],
    "idx": [
        lambda path: made.write_idx_set(path / "idx"),
        lambda path: made.write_idx_set(path, gz=True, dot="."),
        lambda path: made.write_emnist(path / "letters", "letters", (1, 2, 26), gz=True),
    ],
    "manifest": [csv_manifest, unnamed_manifest],
    "glyphs": [lambda path: "glyphs"],
    "npz": [arrays, compressed_arrays],
    "cifar10": [cifar(made.cifar_files), cifar_archive(made.cifar_files)],
    "cifar100": [cifar(made.cifar100_files), cifar_archive(made.cifar100_files)],
    "notmnist": [
        lambda path: made.write_notmnist(path, made.animals(), made.animals(1)),
        lambda path: made.write_notmnist(path, made.animals(), made.animals(1), archived=("notMNIST_large",)),
    ],
    # those below are known by name only, and tried against a server in test_known_sets.py
    "emnist": [],
    "fashion-mnist": [],
    "kmnist": [],
    "mnist": [],
}
CASES = [
    pytest.param(kind, make, id=f"{kind}{i}") for kind, makers in LOCATIONS.items() for i, make in enumerate(makers)
]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_summary_and_the_two_functions(kind):
    module = plugins.load(dataset.PACKAGE, kind)
    assert plugins.summary(dataset.PACKAGE, kind).endswith((".", ")."))
    assert list(inspect.signature(module.accepts).parameters) == ["location"]
    location, note, *options = inspect.signature(module.load).parameters.values()
    assert (location.name, note.name) == ("location", "note")
    assert all(option.kind is option.KEYWORD_ONLY and option.default == "" for option in options)
    assert kind in LOCATIONS, "add a maker for the new kind above"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("location", ["", "missing", "/nowhere/at/all.tar", "/dev/null", "nul\0", __file__])
def test_no_kind_accepts_what_is_no_data_set(kind, location):
    assert plugins.load(dataset.PACKAGE, kind).accepts(location) is False


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_exactly_one_kind_accepts_a_location_by_what_it_holds(kind, make, tmp_path):
    location = make(tmp_path)
    assert [k for k in KINDS if plugins.load(dataset.PACKAGE, k).accepts(location)] == [kind]


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_each_kind_yields_named_labelled_pictures_the_same_each_time(kind, make, tmp_path):
    location = make(tmp_path)
    first, second = (list(plugins.load(dataset.PACKAGE, kind).load(location)) for _ in range(2))
    assert [item.name for item in first] == [item.name for item in second]
    examples = [item for item in first if isinstance(item, Example)]
    assert len(examples) >= 6
    assert len({item.name for item in first}) == len(first)
    assert all(item.split in (None, *SPLITS) and item.label for item in examples)
    assert not [item for item in first if isinstance(item, Rejected)]


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_the_same_pictures_have_the_same_data_hash_wherever_they_lie(kind, make, tmp_path):
    first, second = (made_at(tmp_path / name, make) for name in ("one", "two"))
    assert dataset.survey(first).data_hash == dataset.survey(second).data_hash


def made_at(path, make):
    path.mkdir()
    return make(path)


def test_a_folder_and_its_archives_have_one_data_hash(tmp_path):
    makers = [folder, *LOCATIONS["tar"], renamed_zip, csv_manifest]
    assert len({dataset.survey(made_at(tmp_path / str(i), make)).data_hash for i, make in enumerate(makers)}) == 1


def test_a_missing_location_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"a data set must exist; there is no .*fotos"):
        dataset.survey(str(tmp_path / "fotos"))


def test_a_file_of_another_kind_is_refused_with_the_list_of_kinds(tmp_path):
    (tmp_path / "one.png").write_bytes(made.picture())
    with pytest.raises(DataError, match=r"one picture: name the folder that holds a folder of pictures for each"):
        dataset.survey(str(tmp_path / "one.png"))
    (tmp_path / "one.bin").write_bytes(b"\1\2\3")
    with pytest.raises(DataError, match="is no data set that edgecnn knows") as caught:
        dataset.survey(str(tmp_path / "one.bin"))
    assert all(plugins.summary(dataset.PACKAGE, kind) in str(caught.value) for kind in KINDS)
