"""CIFAR's binary version: planes become pixels, whole files only, names from the text beside them."""

import made
import numpy as np
import pytest
from edgecnn_training.dataset import read, survey
from edgecnn_training.datasets import cifar10, cifar100, folder, tar
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError, SourceError

FORMS = {"folder": lambda path, files: made.write_folder(path / "x", files)}


def archive(path, files):
    (path / "x.tar.gz").write_bytes(made.tar_bytes({f"x/{name}": data for name, data in files.items()}))
    return str(path / "x.tar.gz")


FORMS["archive"] = archive
each_form = pytest.mark.parametrize("form", FORMS)


@each_form
def test_the_planes_of_a_record_become_the_channels_of_a_picture(tmp_path, form):
    items = list(read(FORMS[form](tmp_path, made.cifar_files())))
    assert [item.label for item in items] == ["cat", "dog"] * 6
    assert [item.split for item in items] == ["train"] * 10 + ["test"] * 2
    assert [item.name for item in items[:3]] == ["data_batch_1/00000", "data_batch_1/00001", "data_batch_2/00000"]
    expected = [made.pixels(10 * batch + i, 32, 32) for batch in range(6) for i in range(2)]
    assert np.array_equal(np.stack([item.image for item in items]), np.stack(expected))


@each_form
def test_the_second_byte_of_cifar100_is_the_class(tmp_path, form):
    items = list(read(FORMS[form](tmp_path, made.cifar100_files())))
    assert [(item.label, item.split) for item in items[2:5]] == [("cup", "train"), ("apple", "test"), ("baby", "test")]
    assert np.array_equal(items[4].image, made.pixels(61, 32, 32))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=600), st.integers(0, 2**32 - 1))
def test_what_is_written_as_records_is_read_again(tmp_path_factory, labels, seed):
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    files = made.cifar_files("\n".join(map(str, range(10))))
    files["data_batch_1.bin"] = made.cifar_records(images, labels)
    items = [
        item
        for item in read(made.write_folder(tmp_path_factory.mktemp("cifar"), files))
        if item.name.startswith("data_batch_1")
    ]
    assert [item.label for item in items] == [str(label) for label in labels]
    assert np.array_equal(np.stack([item.image for item in items]), images)


@each_form
def test_without_a_text_of_names_cifar10_has_the_published_ones_and_says_so(tmp_path, form):
    found = survey(FORMS[form](tmp_path, made.cifar_files(names="")))
    assert found.labels == ("airplane", "automobile")
    assert "has no batches.meta.txt: the classes have the published names, airplane, automobile" in found.notes[0]


@each_form
def test_without_a_text_of_names_cifar100_is_refused(tmp_path, form):
    files = made.cifar100_files()
    del files["fine_label_names.txt"]
    with pytest.raises(DataError, match=r"must lie beside its pictures in fine_label_names.txt; .* has none: copy or"):
        survey(FORMS[form](tmp_path, files))


@each_form
@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 6145])
def test_a_file_that_is_no_whole_number_of_records_is_refused(tmp_path, form, size):
    files = made.cifar_files()
    files["data_batch_3.bin"] = (files["data_batch_3.bin"] * 2)[:size]
    with pytest.raises(
        DataError, match=rf"data_batch_3.bin must hold whole records of 3,073 bytes; it has {size:,} by"
    ):
        survey(FORMS[form](tmp_path, files))


@each_form
def test_missing_files_are_named(tmp_path, form):
    files = made.cifar_files()
    del files["data_batch_4.bin"], files["test_batch.bin"]
    with pytest.raises(DataError, match=r"must hold data_batch_1.bin, .* lacks data_batch_4.bin, test_batch.bin: copy"):
        survey(FORMS[form](tmp_path, files))


@each_form
def test_a_class_without_a_name_is_refused_with_its_record(tmp_path, form):
    with pytest.raises(DataError, match=r"CIFAR-10 must be 0 to 1; record 1 of data_batch_1.bin in .* has 2: copy"):
        survey(FORMS[form](tmp_path, made.cifar_files(labels=(1, 2))))


def test_an_archive_cut_off_is_refused(tmp_path):
    location = archive(tmp_path, made.cifar_files())
    whole = (tmp_path / "x.tar.gz").read_bytes()
    for share in (0.3, 0.6, 0.99):
        (tmp_path / "x.tar.gz").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"damaged or truncated.*copy or download it again"):
            survey(location)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    location = made.write_folder(tmp_path / "x", made.cifar_files())
    (tmp_path / "x" / "test_batch.bin").unlink()
    (tmp_path / "x" / "test_batch.bin").mkdir()
    with pytest.raises(SourceError, match=r"must be a regular file; .*test_batch.bin is a pipe, a device or a folder"):
        survey(location)


def test_class_folders_of_pictures_are_not_taken_for_it(tmp_path):
    files = made.animals() | {"cat/train.bin": b"x" * 3075, "cat/test.bin": b""}
    location = made.write_folder(tmp_path / "x", files)
    packed = archive(tmp_path, {"a/train.bin": b"x" * 3075} | made.animals())
    assert folder.accepts(location)
    assert tar.accepts(packed)
    assert not any(kind.accepts(where) for kind in (cifar10, cifar100) for where in (location, packed))
