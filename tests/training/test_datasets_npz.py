"""NumPy archives: the names people use, what a label may be, how pixels are scaled, and nothing unpickled."""

import io
import pickle
import struct
import tracemalloc
import zipfile

import made
import numpy as np
import pytest
from edgecnn_training.dataset import read, survey
from edgecnn_training.datasets import _npy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgecnn.errors import DataError, UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
LABELS = np.arange(6) % 2


def save(path, **named):
    np.savez(path / "x.npz", **named)
    return str(path / "x.npz")


def pixels(location):
    return np.stack([item.image for item in read(location)])


def refused(path, message, **named):
    with pytest.raises(DataError, match=message) as caught:
        survey(save(path, **named))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("images", "labels"), [None]),
        (("x", "y"), [None]),
        (("X", "Y"), [None]),
        (("data", "target"), [None]),
        (("x_train", "y_train", "x_test", "y_test"), ["train", "test"]),
        (("X_train", "y_train", "X_val", "y_val"), ["train", "validation"]),
        (("y_test", "x_test", "x_train", "y_train"), ["train", "test"]),
        (
            ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
            ["train", "validation", "test"],
        ),
    ],
)
def test_arrays_are_found_by_the_names_people_give_them(tmp_path, names, splits):
    named = {name: LABELS if name.lower()[0] in "yl" or name[-6:] in ("labels", "target") else IMAGES for name in names}
    items = list(read(save(tmp_path, **named)))
    assert [item.split for item in items] == [split for split in splits for _ in range(6)]
    assert [item.label for item in items] == ["0", "1"] * 3 * len(splits)
    assert len({item.name for item in items}) == len(items)
    assert np.array_equal(np.stack([item.image for item in items[:6]])[..., 0], IMAGES)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.uint8, np.int64, ">u2", np.float32]),
)
def test_what_is_saved_is_read_again_in_every_order_and_type(tmp_path_factory, images, packed, fortran, dtype):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    images[0].flat[0] = 255  # else floats of nothing but 0 and 1 would rightly be taken for x / 255
    saved = np.asarray(images, dtype, order="F" if fortran else "C")
    (np.savez_compressed if packed else np.savez)(path, images=saved, labels=np.arange(len(images)))
    assert np.array_equal(pixels(str(path)), images)


def test_arrays_are_read_over_the_borders_of_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(_npy, "_BLOCK_BYTES", 50)
    location = save(tmp_path, images=IMAGES, labels=np.array(list("abcdef")))
    assert [item.label for item in read(location)] == list("abcdef")
    assert np.array_equal(pixels(location)[..., 0], IMAGES)


def test_memory_stays_bounded_however_many_pictures_there_are(tmp_path):
    location = save(tmp_path, images=np.zeros((40_000, 28, 28), np.uint8), labels=np.zeros(40_000, np.int64))
    tracemalloc.start()
    assert sum(1 for _ in read(location)) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20  # the array has 31 MB


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([[3], [0], [3]]), ["3", "0", "3"]),
        (np.array([3.0, 0, 3]), ["3", "0", "3"]),
        (np.eye(4)[[3, 0, 3]], ["3", "0", "3"]),
        (np.eye(4, dtype=bool)[[3, 0, 3]], ["3", "0", "3"]),
        (np.array(["Käfer", "a", "Käfer"]), ["Käfer", "a", "Käfer"]),
        (np.array(["Käfer".encode(), b"a", b"b"]), ["Käfer", "a", "b"]),
        (np.array([True, False, True]), ["1", "0", "1"]),
    ],
)
def test_labels_are_numbers_text_or_one_hot(tmp_path, labels, expected):
    assert [item.label for item in read(save(tmp_path, x=IMAGES[:3], y=labels))] == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((6, 2, 2)), r"labels must be whole numbers or text, .*holds y float64 \(6, 2, 2\): save one label"),
        (np.zeros(6, "M8[s]"), r"labels must be whole numbers or text"),
        (np.array([0, 1, 0.5, 0, 1, 2]), r"labels must be whole numbers; y in .* has 0.5 in row 2: save classes"),
        (np.array([0, 1, np.nan, 0, 1, 2]), r"has nan in row 2"),
        (
            np.ones((6, 3)),
            r"one-hot labels must be a single 1 among 0; row 0 of y in .* has 3 of 3 at 1.*y.argmax\(1\)",
        ),
        (np.full((6, 2), 0.5), r"row 0 of y in .* has 0 of 2 at 1"),
        (np.array([b"\xff"] * 6), r"text must be UTF-8; y in .* is not"),
        (
            np.zeros(5, int),
            r"each picture must have a label; .* holds x uint8 \(6, 5, 4\) and y int64 \(5,\): save as m",
        ),
    ],
)
def test_labels_that_are_none_are_refused_with_the_remedy(tmp_path, labels, message):
    refused(tmp_path, message, x=IMAGES, y=labels)


def test_floats_from_0_to_1_are_multiplied_by_255_with_a_note(tmp_path):
    location = save(tmp_path, x=(IMAGES / 255).astype(np.float32), y=LABELS)
    assert np.array_equal(pixels(location)[..., 0], IMAGES)
    assert survey(location).notes == [f"floats from 0 to 1 in {location}: multiplied by 255 and rounded"]


def test_floats_from_0_to_255_are_rounded_and_booleans_are_black_and_white(tmp_path):
    assert np.array_equal(pixels(save(tmp_path, x=IMAGES + 0.3 * (IMAGES < 255), y=LABELS))[..., 0], IMAGES)
    assert np.array_equal(pixels(save(tmp_path, x=IMAGES > 99, y=LABELS))[..., 0], (IMAGES > 99) * 255)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES / 127.5 - 1, r"floats from 0 to 1; x in .* goes from -.* to .* \(float64\): save the pictures as they"),
        (IMAGES.astype(int) * 257, r"goes from .* to .* \(int64\)"),
        (np.where(IMAGES > 9, IMAGES, np.nan), r"goes from nan to nan"),
        (IMAGES.reshape(6, 20), r"holds x uint8 \(6, 20\): give each its rows and columns back, x.reshape\("),
        (np.zeros((6, 3, 8, 8), np.uint8), r"put the channels last, x.transpose\(0, 2, 3, 1\)"),
        (np.zeros((6, 8, 8, 4), np.uint8), r"leave out the transparency, x\[..., :3\]"),
        (np.zeros((6, 8, 8, 2), np.uint8), r"must be \(N, H, W\), .*: save whole pictures of 1 to 4096 pixels a side"),
        (np.zeros((6, 0, 8), np.uint8), r"save whole pictures of 1 to 4096"),
        (np.zeros((6, 1, 5000), np.uint8), r"save whole pictures of 1 to 4096"),
        (np.zeros((6, 8, 8), complex), r"save their pixels as uint8"),
        (np.uint8(7), r"save whole pictures"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused_with_the_remedy(tmp_path, images, message):
    refused(tmp_path, message, x=images, y=LABELS)


def test_splits_of_different_ranges_are_refused(tmp_path):
    named = {"x_train": IMAGES / 1.0, "y_train": LABELS, "x_test": IMAGES / 255, "y_test": LABELS}
    refused(tmp_path, r"must have one range; x_test in .* goes from 0 to 1, x_train to 255: save both alike", **named)


def test_an_archive_without_a_picture_is_refused(tmp_path):
    refused(tmp_path, "a data set must hold pictures; none in", x=np.zeros((0, 5, 4)), y=np.zeros(0, int))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"arr_0": IMAGES, "arr_1": LABELS},
            r"must be named as such, np.savez\(.*holds arr_0 uint8 \(6, 5, 4\), arr_1",
        ),
        ({"x_train": IMAGES}, r"holds x_train uint8 \(6, 5, 4\): rename them"),
        ({"x_train": IMAGES, "y_test": LABELS}, r"must be named as such"),
        ({"x": IMAGES, "images": IMAGES, "y": LABELS}, r"one array of pictures and one of labels; .* has x and images"),
    ],
)
def test_arrays_with_other_names_are_refused_with_what_there_is(tmp_path, named, message):
    refused(tmp_path, message, **named)


def test_arrays_that_are_not_used_are_noted(tmp_path):
    location = save(tmp_path, x=IMAGES, y=LABELS, mean=np.zeros(3), x_train_index=LABELS)
    assert survey(location).notes == [f"arrays of {location} that are not used: mean, x_train_index"]


def test_no_pickle_is_ever_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    message = (
        r"must hold numbers or fixed-width text; y.npy in .* a pickle, and reading one runs whatever code its make"
    )
    refused(tmp_path, message, x=IMAGES, y=np.array([Trap()] * 6, object))
    np.save(tmp_path / "y.npy", np.array([Trap()], object))
    with pytest.raises(DataError, match=r"must hold numbers; .*thus a pickle.*np.savez\('data.npz'"):
        survey(str(tmp_path / "y.npy"))
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap())).close()
    assert (tmp_path / "sprung").exists(), "the trap must work, else this test shows nothing"


def test_a_single_array_is_refused_since_it_has_no_labels(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    with pytest.raises(DataError, match=r"pictures must come with labels; .* is one array: save both in an .npz, np.s"):
        survey(str(tmp_path / "x.npy"))


def header(text, version=b"\x01\x00"):
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no array", r"must be a NumPy array; x.npy in .* is none that can be read \(.*\): save it anew"),
        (b"", r"must be a NumPy array"),
        (header("__import__('os').abort()"), r"must be a NumPy array"),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (6, 5, 5)}"),
            r"have 150 bytes.*it has 120: copy or",
        ),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-6, 5, 4)}"), r"must have -120 bytes of values"),
        (header(" " * 20_000), r"must be a NumPy array"),
        (header("{}", b"\x03\x00"), r"must be a NumPy array"),
        (
            header("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (6, 5, 4)}"),
            r"save their pixels as uint8",
        ),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, data, message):
    labels = io.BytesIO()
    np.save(labels, LABELS)
    values = IMAGES.tobytes() if data.startswith(b"\x93") else b""
    location = made.write_zip(tmp_path / "x.npz", {"x.npy": data + values, "y.npy": labels.getvalue()})
    with pytest.raises(DataError, match=message):
        survey(location)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_an_archive_cut_off_is_refused(tmp_path, share):
    location = save(tmp_path, x=IMAGES, y=LABELS)
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"damaged or truncated.*copy or download it again"):
        survey(location)


def test_changed_values_are_noticed_by_their_checksum(tmp_path):
    location = save(tmp_path, x=IMAGES, y=LABELS)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[data.index(IMAGES.tobytes()) + 50] ^= 1
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"x.npy in .* is damaged or truncated \(Bad CRC-32.*copy or download it again"):
        survey(location)


def test_a_bomb_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header("{'descr': '|u1', 'fortran_order': False, 'shape': (300, 1000, 1000)}"))
        for _ in range(300):
            file.write(bytes(1_000_000))
    with pytest.raises(DataError, match="must not unpack to more than 100 times its size"):
        survey(str(tmp_path / "x.npz"))


def test_a_large_array_in_fortran_order_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(_npy, "_WHOLE_BYTES", 100)
    refused(
        tmp_path, r"x in .* is in Fortran order: save np.ascontiguousarray of it", x=np.asfortranarray(IMAGES), y=LABELS
    )


def test_an_encrypted_archive_is_refused_with_the_remedy(tmp_path):
    location = save(tmp_path, x=IMAGES, y=LABELS)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # the flag that says "encrypted"
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"must not be encrypted; .* is: save it anew with np.savez"):
        survey(location)


def test_options_are_refused(tmp_path):
    with pytest.raises(UsageError, match="options of npz do not exist; received 'train'"):
        survey(f"{save(tmp_path, x=IMAGES, y=LABELS)}?train=5")
