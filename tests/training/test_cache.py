"""The cache of decoded pictures: right, whole, safe to share, and bounded."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made
import numpy as np
import pytest
from edgecnn_training import decoding
from edgecnn_training.cache import cache_root, open_cache
from edgecnn_training.dataset import survey

from edgecnn.decode import decode
from edgecnn.errors import DataError, UsageError
from edgecnn.preprocess import fit_image

SHAPE = {"height": 6, "width": 5, "channels": 3, "fit": "crop"}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgecnn" / "datasets"


@pytest.fixture
def found(tmp_path):
    files = made.animals(100) | {"dog/bad.png": made.picture(7, 50, 50)[:2000]}
    return survey(made.write_folder(tmp_path / "photos", files))


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_is_the_picture_decoded_and_fitted(found, fit, channels):
    cache = open_cache(found, height=6, width=5, channels=channels, fit=fit)
    assert (cache.images.shape, cache.images.dtype) == ((200, 6, 5, channels), np.uint8)
    for record, row in zip(found.records, cache.rows(found.records), strict=True):
        if row >= 0:
            image = decode((Path(found.location) / record.name).read_bytes())
            assert np.array_equal(cache.images[row], fit_image(image, 6, 5, channels, fit))


def test_a_damaged_picture_is_rejected_the_same_by_a_second_run(found):
    first, second = open_cache(found, **SHAPE), open_cache(found, **SHAPE)
    bad = next(record for record in found.records if record.name == "dog/bad.png")
    assert [item.name for item in first.rejected] == ["dog/bad.png"]
    assert first.rejected == second.rejected
    assert (first.row(bad.content_hash), first.rows([bad]).tolist()) == (None, [-1])


def test_a_second_run_decodes_nothing(found, monkeypatch):
    first = open_cache(found, **SHAPE)
    before = (first.path / "images").stat().st_mtime_ns
    seen = []
    second = open_cache(found, **SHAPE, progress=seen.append)
    assert np.array_equal(first.images, second.images)
    assert (second.path, (second.path / "images").stat().st_mtime_ns, seen, second.notes) == (
        first.path,
        before,
        [],
        [],
    )


def test_another_size_channel_fit_or_content_is_another_cache(found, tmp_path, root):
    for change in ({}, {"height": 7}, {"width": 7}, {"channels": 1}, {"fit": "pad"}):
        open_cache(found, **SHAPE | change)
    made.write_folder(tmp_path / "photos", {"cat/new.png": made.picture(9999)})
    open_cache(survey(found.location), **SHAPE)
    assert len(list(root.iterdir())) == 6


def test_the_pictures_are_mapped_and_cannot_be_written(found):
    images = open_cache(found, **SHAPE).images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_a_relative_cache_folder_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "edgecnn" / "datasets"


def truncate(folder):
    os.truncate(folder / "images", 100)


def lose_meta(folder):
    (folder / "meta.json").unlink()


def break_meta(folder):
    (folder / "meta.json").write_text("[]")


def break_hashes(folder):
    data = bytearray((folder / "hashes").read_bytes())
    data[0] ^= 1
    (folder / "hashes").write_bytes(data)


def miscount(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"rejected": {}}))


@pytest.mark.parametrize("damage", [truncate, lose_meta, break_meta, break_hashes, miscount])
def test_a_damaged_cache_is_made_again_and_says_so(found, damage, root):
    first = open_cache(found, **SHAPE)
    expected = np.array(first.images)
    damage(first.path)
    again = open_cache(found, **SHAPE)
    assert len(again.notes) == 1
    assert again.notes[0].endswith("and is made again")
    assert np.array_equal(again.images, expected)
    assert [path.name for path in root.iterdir()] == [first.path.name]
    assert open_cache(found, **SHAPE).notes == []


def test_a_file_in_the_way_is_replaced(found, root):
    path = open_cache(found, **SHAPE).path
    path.rename(root.parent / "away")
    path.write_text("in the way")
    assert len(open_cache(found, **SHAPE).images) == 200
    assert len(open_cache(found, **SHAPE).images) == 200


def test_data_that_change_between_the_passes_are_refused(found, root):
    Path(found.location, "cat/0.png").write_bytes(made.picture(12345))
    with pytest.raises(DataError, match="changed while it was read; run the command again"):
        open_cache(found, **SHAPE)
    assert list(root.iterdir()) == []


def test_a_full_disk_is_refused_with_the_remedy_and_leaves_nothing(found, root, tmp_path):
    code = """
import resource, signal, sys
from edgecnn.errors import DataError
from edgecnn_training.cache import open_cache
from edgecnn_training.dataset import survey
found = survey(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # a write beyond 5,000 bytes fails as on a full disk
try:
    open_cache(found, height=6, width=5, channels=3, fit="crop")
except DataError as error:
    sys.exit(f"{error.exit_code} {error}")
"""
    ended = subprocess.run([sys.executable, "-c", code, found.location], capture_output=True, text=True, check=False)
    assert ended.stderr.startswith("3 the cache of decoded pictures must be writable; File too large in ")
    assert "free some space, or set XDG_CACHE_HOME to a folder on a larger disk" in ended.stderr
    assert list(root.iterdir()) == []


def test_a_cache_larger_than_the_disk_is_refused_before_anything_is_decoded(found, root):
    seen = []
    with pytest.raises(DataError, match=r"603,000,000 MB are needed.*set XDG_CACHE_HOME"):
        open_cache(found, height=10**6, width=10**6, channels=3, fit="crop", progress=seen.append)
    assert (seen, list(root.iterdir())) == ([], [])


def test_a_cache_folder_that_cannot_be_made_is_refused_with_the_remedy(found, root):
    root.parent.parent.mkdir()
    root.parent.write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"must be writable.*set XDG_CACHE_HOME"):
        open_cache(found, **SHAPE)


def test_ctrl_c_leaves_nothing_behind(found, root):
    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(found, **SHAPE, progress=interrupt)
    assert list(root.iterdir()) == []


def _open_at(location, begin):
    found = survey(location)
    time.sleep(max(0, begin - time.time()))
    return len(open_cache(found, **SHAPE).images)


def test_two_processes_at_once_both_end_well(found, root):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        begin = time.time() + 2
        assert pool.starmap(_open_at, [(found.location, begin)] * 2) == [200, 200]
    assert len(list(root.iterdir())) == 1


def test_a_killed_process_leaves_no_cache_that_looks_whole(found, root):
    code = "import sys; from edgecnn_training import dataset, cache; f = dataset.survey(sys.argv[1]); " + (
        "cache.open_cache(f, height=6, width=5, channels=3, fit='crop', progress=lambda n: (print(n, flush=True), "
        "__import__('time').sleep(60)))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, found.location], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert all(path.name.startswith(".") for path in root.iterdir())
    assert len(open_cache(found, **SHAPE).images) == 200


def test_at_most_a_window_of_pictures_is_in_flight(found, monkeypatch):
    monkeypatch.setattr(decoding, "_CHUNK", 4)
    monkeypatch.setattr(decoding, "_MAX_THREADS", 1)
    read, shape = [], decoding.Shape(6, 5, 3, "crop")
    wanted = decoding._wanted

    def counted(*arguments):
        for picture in wanted(*arguments):
            read.append(picture)
            yield picture

    monkeypatch.setattr(decoding, "_wanted", counted)
    ahead = [len(read) - i for i, _ in enumerate(decoding.decoded(found, shape))]
    assert len(ahead) == 201
    assert max(ahead) <= 3 * 4


@pytest.mark.parametrize("change", [{"height": 0}, {"channels": 2}, {"fit": "zoom"}])
def test_a_shape_that_does_not_exist_is_refused(found, change):
    with pytest.raises(UsageError, match="1 or 3 channels, and a fit of crop, stretch, pad; received"):
        open_cache(found, **SHAPE | change)
