"""A NumPy .npz with x_train, y_train, x_test, y_test, or train_images, train_labels …, or images, labels."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator

from edgecnn.errors import DataError
from edgecnn_training.datasets import _npy, _npz_labels, _npz_pixels
from edgecnn_training.datasets._archive import check_members, check_total, damaged
from edgecnn_training.datasets._files import Note, first_bytes, ignore
from edgecnn_training.datasets._npy import Array
from edgecnn_training.examples import SPLIT_ALIASES, Example, Item

_IMAGES = frozenset({"x", "image", "images", "img", "imgs", "picture", "pictures", "data"})
_LABELS = frozenset({"y", "label", "labels", "target", "targets"})
_SPLITS = (None, "train", "validation", "test")
_LOCAL_HEADER_BYTES = 30
_NAME_BYTES = 256
_ENCRYPTED = 0x1
_REMEDY = "np.savez('data.npz', x_train=…, y_train=…, x_test=…, y_test=…), or images=…, labels=…"

_Pair = tuple[Array, Array]


def accepts(location: str) -> bool:
    """Whether it is a zip file that begins with an array, or a single array."""
    head = first_bytes(location, _LOCAL_HEADER_BYTES + _NAME_BYTES)
    return head.startswith(b"\x93NUMPY") or first_is_array(head)


def first_is_array(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a zip archive whose first member is an array, in no folder."""
    if not head.startswith(b"PK\x03\x04") or len(head) < _LOCAL_HEADER_BYTES:
        return False
    size = int.from_bytes(head[26:28], "little")
    name = head[_LOCAL_HEADER_BYTES : _LOCAL_HEADER_BYTES + size]
    return name.endswith(_npy.SUFFIX.encode()) and b"/" not in name


def load(location: str, *, note: Note = ignore) -> Iterator[Item]:
    """Every picture with its label, in the order of the arrays, which are read block by block.

    Raises:
        DataError: Arrays that are missing, are no pictures or no labels, do not fit each other, or hold pickles.
    """
    if first_bytes(location, 6) == b"\x93NUMPY":
        _refuse_single(location)
    try:
        with zipfile.ZipFile(location) as archive:
            members = archive.infolist()
            _check(location, members)
            arrays = [_npy.read_header(archive, one) for one in members if one.filename.endswith(_npy.SUFFIX)]
            pairs = _pairs(location, arrays, note)
            scale = _npz_pixels.common_scale([images for images, _ in pairs.values()], note)
            for split, pair in pairs.items():
                yield from _examples(pair, split, scale)
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        raise damaged(location, 0, error) from error


def _refuse_single(location: str) -> None:
    """Raise for an .npy file: it has no labels, and may be a pickle."""
    head = first_bytes(location, 4096)
    if re.search(rb"'descr': '\|?O", head):
        raise DataError(f"arrays must hold numbers; {location} does not: {_npy.PICKLED}")
    raise DataError(f"pictures must come with labels; {location} is one array: save both in an .npz, {_REMEDY}")


def _check(location: str, members: list[zipfile.ZipInfo]) -> None:
    check_members(location, len(members))
    check_total(location, sum(member.file_size for member in members), os.path.getsize(location))
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise DataError(f"an archive must not be encrypted; {location} is: save it anew with np.savez")


def _pairs(location: str, arrays: list[Array], note: Note) -> dict[str | None, _Pair]:
    """Pictures and labels of each split."""
    found: dict[str | None, dict[bool, Array]] = defaultdict(dict)
    unused = []
    for array in arrays:
        role = _role(array.name)
        if role is None:
            unused.append(array)
            continue
        split, is_labels = role
        if is_labels in found[split]:
            raise DataError(
                f"each split must have one array of pictures and one of labels; {location} has "
                f"{found[split][is_labels].name} and {array.name}: leave one out"
            )
        found[split][is_labels] = array
    if not found or any(len(own) < 2 for own in found.values()):
        held = ", ".join(map(str, arrays)) or "no array"
        raise DataError(f"pictures and labels must be named as such, {_REMEDY}; {location} holds {held}: rename them")
    if unused:
        note(f"arrays of {location} that are not used: {', '.join(array.name for array in unused)}")
    pairs = {split: (found[split][False], found[split][True]) for split in _SPLITS if split in found}
    for images, labels in pairs.values():
        _npz_pixels.check(images)
        _npz_labels.check(labels)
        if images.shape[0] != labels.shape[0]:
            raise DataError(
                f"each picture must have a label; {location} holds {images} and {labels}: save as many of both"
            )
    return pairs


def _role(name: str) -> tuple[str | None, bool] | None:
    """``x_train`` → (train, False), ``labels`` → (None, True); None for another name."""
    words = name.lower().split("_")
    splits = [SPLIT_ALIASES[word] for word in words if word in SPLIT_ALIASES]
    kinds = [word in _LABELS for word in words if word in _LABELS | _IMAGES]
    if len(kinds) != 1 or len(splits) > 1 or len(kinds) + len(splits) != len(words):
        return None
    return (splits[0] if splits else None), kinds[0]


def _examples(pair: _Pair, split: str | None, scale: float) -> Iterator[Example]:
    images, labels = pair
    digits, number = len(str(max(0, images.shape[0] - 1))), 0
    rows = images.block_rows()
    for pixels, values in zip(images.blocks(rows), labels.blocks(rows), strict=True):
        block = _npz_pixels.to_uint8(pixels, scale)
        for image, label in zip(block, _npz_labels.to_text(values, labels, number), strict=True):
            name = f"{number:0{digits}d}"
            yield Example(image, label, f"{split}/{name}" if split else name, split)
            number += 1
