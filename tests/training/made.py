"""Small pictures and data sets for the tests."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def shared(path: str) -> str:
    """A real data set of the workplace; the test is skipped where it is not there."""
    if not (SHARED / path).exists():
        pytest.skip(f"needs the real images in {SHARED / path}")
    return str(SHARED / path)


def pixels(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Random pixels, other ones for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def picture(seed: int = 0, height: int = 8, width: int = 8, channels: int = 3, kind: str = "PNG") -> bytes:
    """A picture file of random pixels."""
    array, buffer = pixels(seed, height, width, channels), io.BytesIO()
    PILImage.fromarray(array[:, :, 0] if channels == 1 else array).save(buffer, kind)
    return buffer.getvalue()


def animals(each: int = 3) -> dict[str, bytes]:
    """Paths and contents of a plain data set: cat/0.png …, dog/0.png …"""
    names = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(each)]
    return {name: picture(seed) for seed, name in enumerate(names)}


def write_folder(root: Path, files: Mapping[str, bytes]) -> str:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(root)


def tar_bytes(files: Mapping[str, bytes], extra: Iterable[tarfile.TarInfo] = (), mode: str = "w:gz") -> bytes:
    """An archive of `files`, after the members of `extra`, which have no content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for member in extra:
            archive.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write_zip(path: Path, files: Mapping[str | zipfile.ZipInfo, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)


def write_idx(
    folder: Path, stem: str, images: npt.NDArray[np.uint8], labels: Iterable[int], *, gz: bool = False, dot: str = "-"
) -> None:
    """A pair of IDX files from images (N, H, W)."""
    suffix = ".gz" if gz else ""
    packed = (gzip.compress if gz else bytes)(struct.pack(">4I", 0x803, *images.shape) + images.tobytes())
    (folder / f"{stem}-images{dot}idx3-ubyte{suffix}").write_bytes(packed)
    values = bytes(labels)
    packed = (gzip.compress if gz else bytes)(struct.pack(">2I", 0x801, len(values)) + values)
    (folder / f"{stem}-labels{dot}idx1-ubyte{suffix}").write_bytes(packed)


def write_idx_set(folder: Path, *, gz: bool = False, dot: str = "-") -> str:
    """Six train and two test pictures of two classes."""
    folder.mkdir(exist_ok=True)
    for stem, count, seed in (("train", 6, 0), ("t10k", 2, 1)):
        images = np.random.default_rng(seed).integers(0, 256, (count, 5, 4), np.uint8)
        write_idx(folder, stem, images, [i % 2 for i in range(count)], gz=gz, dot=dot)
    return str(folder)


def write_emnist(folder: Path, variant: str, labels: Iterable[int], *, gz: bool = False, mapping: str = "") -> str:
    """An EMNIST set of random 5×4 pictures, stored with rows and columns exchanged; train and test are alike."""
    folder.mkdir(exist_ok=True)
    for stem in ("train", "test"):
        values = list(labels)
        images = np.random.default_rng(len(stem)).integers(0, 256, (len(values), 5, 4), np.uint8)
        write_idx(folder, f"emnist-{variant}-{stem}", images.swapaxes(1, 2), values, gz=gz)
    if mapping:
        (folder / f"emnist-{variant}-mapping.txt").write_text(mapping)
    return str(folder)


def cifar_records(images: npt.NDArray[np.uint8], labels: Iterable[int], *, coarse: bool = False) -> bytes:
    """Records of CIFAR's binary version, from images (N, 32, 32, 3)."""
    return b"".join(
        (b"\x07" if coarse else b"") + bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for image, label in zip(images, labels, strict=True)
    )


def cifar_files(names: str = "cat\ndog\n\n", labels: Iterable[int] = (0, 1)) -> dict[str, bytes]:
    """The files of a small CIFAR-10, two random pictures in each; some lack names in `names`."""
    values = list(labels)
    files = {}
    for seed, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        images = np.stack([pixels(10 * seed + i, 32, 32) for i in range(len(values))])
        files[name] = cifar_records(images, values)
    return files | ({"batches.meta.txt": names.encode()} if names else {})


def cifar100_files() -> dict[str, bytes]:
    """The files of a small CIFAR-100, two random pictures in each."""
    files = {}
    for seed, name in enumerate(["train.bin", "test.bin"]):
        images = np.stack([pixels(50 + 10 * seed + i, 32, 32) for i in range(3)])
        files[name] = cifar_records(images, (0, 1, 2), coarse=True)
    return files | {"fine_label_names.txt": b"apple\nbaby\ncup\n", "coarse_label_names.txt": b"fruit\n"}


def write_notmnist(
    root: Path, large: Mapping[str, bytes], small: Mapping[str, bytes], *, archived: Iterable[str] = ()
) -> str:
    """notMNIST's two parts as folders, or as archives where they are named in `archived`."""
    for part, files in (("notMNIST_large", large), ("notMNIST_small", small)):
        if part in archived:
            (root / f"{part}.tar.gz").write_bytes(tar_bytes({f"{part}/{name}": data for name, data in files.items()}))
        else:
            write_folder(root / part, files)
    return str(root)
