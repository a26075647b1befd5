"""Pickles are refused unopened, whichever way they come, with the reason and the way out."""

import bz2
import gzip
import pickle
import zipfile

import made
import numpy as np
import pytest
from edgecnn_training.dataset import survey

from edgecnn.errors import DataError

REASON = "must not be a pickle, since to read one runs whatever code its maker put into it"


class Trap:
    """Opens a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def written(path, data):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return str(path)


def torch_file(path, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return str(path)


FORMS = {
    "by name": lambda path, data: written(path / "notMNIST.pickle", data),
    "without a name": lambda path, data: written(path / "data", data),
    "gzipped": lambda path, data: written(path / "mnist.pkl.gz", gzip.compress(data)),
    "gzipped without a name": lambda path, data: written(path / "data", gzip.compress(data)),
    "bzip2": lambda path, data: written(path / "data", bz2.compress(data)),
    "PyTorch": lambda path, data: torch_file(path / "data.pt", data),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_refused_unopened(tmp_path, form, protocol):
    data = pickle.dumps(Trap(tmp_path / "sprung"), protocol)
    with pytest.raises(DataError, match=rf"{REASON}.*what np.savez\('data.npz', images=…, labels=…\) makes of it"):
        survey(FORMS[form](tmp_path, data))
    assert not (tmp_path / "sprung").exists()


def test_the_oldest_protocol_is_known_by_its_name(tmp_path):
    with pytest.raises(DataError, match=REASON):
        survey(written(tmp_path / "x.PKL", pickle.dumps({"a": 1}, 0)))


@pytest.mark.parametrize("names", [("data_batch_1", "test_batch", "batches.meta"), ("train", "test", "meta")])
@pytest.mark.parametrize("archived", [False, True])
def test_the_python_version_of_cifar_is_refused_with_the_binary_one_named(tmp_path, names, archived):
    data = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, 2)
    files = dict.fromkeys(names, data) | {"readme.html": b"<html>"}
    if archived:
        location = written(
            tmp_path / "x.tar.gz", made.tar_bytes({f"cifar/{name}": data for name, data in files.items()})
        )
    else:
        location = made.write_folder(tmp_path / "cifar", files)
    with pytest.raises(DataError, match=rf"{REASON}; .* take the binary version, cifar-10-binary.tar.gz or .*cifar100"):
        survey(location)


def test_pictures_beside_a_pickle_are_still_pictures(tmp_path):
    files = made.animals() | {"cat/notes.pkl": pickle.dumps(1)}
    assert len(survey(made.write_folder(tmp_path / "x", files)).records) == 6
    assert len(survey(written(tmp_path / "x.tar.gz", made.tar_bytes(files))).records) == 6
