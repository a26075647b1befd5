"""Recognises Python pickles, which are refused: to read one is to run whatever code its maker put into it."""

from __future__ import annotations

import os
from pathlib import Path

from edgecnn.errors import DataError
from edgecnn_training.datasets import _tar
from edgecnn_training.datasets._files import first_bytes

_SUFFIXES = (".pkl", ".pickle", ".pkl.gz", ".pickle.gz", ".pkl.bz2", ".pkl.xz")
_CIFAR_PYTHON = frozenset({"data_batch_1", "test_batch", "batches.meta", "train", "test", "meta"})
_FIRST_MEMBERS = 3
_LOCAL_HEADER_BYTES = 30
_NAME_BYTES = 256


def refuse(location: str) -> None:
    """Raise where a location is a pickle or a collection of them; opens none.

    Raises:
        DataError: It is; the message has the way out.
    """
    if _is_python_cifar(location):
        remedy = (
            "take the binary version, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz from the same page, or the "
            "name cifar10 or cifar100"
        )
    elif _is_pickle(location):
        remedy = (
            "where you trust it, load it yourself and pass what np.savez('data.npz', images=…, labels=…) makes of it"
        )
    else:
        return
    raise DataError(
        f"a data set must not be a pickle, since to read one runs whatever code its maker put into it; {location} is "
        f"one: {remedy}"
    )


def _is_pickle(location: str) -> bool:
    """By its first bytes, also in a gzip file or one of PyTorch's; by its name where an old protocol has no mark."""
    if not os.path.isfile(location):
        return False
    if location.lower().endswith(_SUFFIXES):
        return True
    head = first_bytes(location, _LOCAL_HEADER_BYTES + _NAME_BYTES)
    if head.startswith(b"PK\x03\x04"):
        size = int.from_bytes(head[26:28], "little")
        return head[_LOCAL_HEADER_BYTES : _LOCAL_HEADER_BYTES + size].endswith(b"data.pkl")
    return _is_head(head) or _is_head(_tar.first_unpacked(location, 2))


def _is_head(head: bytes) -> bool:
    """Protocol 2 or newer: the opcode PROTO and a number."""
    return len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _is_python_cifar(location: str) -> bool:
    """The python version of CIFAR, as a folder or as an archive."""
    if os.path.isdir(location):
        return any(_is_head(first_bytes(str(Path(location) / name), 2)) for name in sorted(_CIFAR_PYTHON))
    files = _tar.first_files(location, _FIRST_MEMBERS)
    return any(os.path.basename(name) in _CIFAR_PYTHON and _is_head(head) for name, _, head in files)
