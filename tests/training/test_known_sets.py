"""Data sets known by name: what they hold once they are downloaded, and the way out where they cannot be.

Their real files are replaced by small ones of the same names on a server of this machine.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import made
import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.dataset import read, survey
from edgecnn_training.datasets import cifar10, cifar100, emnist, fashion_mnist, kmnist, mnist, notmnist
from edgecnn_training.examples import Example
from web import Web, serving

from edgecnn.errors import DataError, SourceError, UsageError

KNOWN = (cifar10, cifar100, emnist, fashion_mnist, kmnist, mnist, notmnist)
NAMES = ("cifar10", "cifar100", "emnist-letters", "fashion-mnist", "kmnist", "mnist", "notmnist")


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as web:
        yield web


def publish(web: Web, monkeypatch: pytest.MonkeyPatch, module: ModuleType, files: Mapping[str, bytes]) -> None:
    """Put files on the server, with their sizes and checksums into a data set's list."""
    listed = []
    for remote in module.FILES:
        data = web.files[remote.name] = files[remote.name]
        algorithm = remote.checksum.partition(":")[0]
        digest = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
        url = f"{web.url}{remote.name}"
        listed.append(replace(remote, urls=(url,), size_bytes=len(data), checksum=f"{algorithm}:{digest}"))
    monkeypatch.setattr(module, "FILES", listed)


def idx_files(folder: Path, *, classes: int = 10) -> dict[str, bytes]:
    """The four files of MNIST, gzipped: one picture of each class in train and in test."""
    folder.mkdir()
    for seed, stem in enumerate(("train", "t10k")):
        images = np.random.default_rng(seed).integers(0, 256, (classes, 28, 28), np.uint8)
        made.write_idx(folder, stem, images, range(classes), gz=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("module", "labels"),
    [
        (mnist, "0 1 2 3 4 5 6 7 8 9"),
        (kmnist, "o ki su tsu na ha ma ya re wo"),
        (fashion_mnist, "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot"),
    ],
)
def test_relatives_of_mnist_are_read_with_their_class_names(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: ModuleType, labels: str
) -> None:
    publish(web, monkeypatch, module, idx_files(tmp_path / "published"))
    first, second = (list(read(module.NAME)) for _ in range(2))
    assert len(web.asked) == 4
    assert [item.label.replace(" ", "_") for item in first if isinstance(item, Example)] == labels.split() * 2
    for item, again in zip(first, second, strict=True):
        assert isinstance(item, Example)
        assert isinstance(again, Example)
        np.testing.assert_array_equal(item.image, again.image)
    expected = np.random.default_rng(1).integers(0, 256, (10, 28, 28), np.uint8)
    np.testing.assert_array_equal(first[10].image[..., 0], expected[0])  # type: ignore[union-attr, call-overload]


def test_a_slash_in_a_class_name_survives_being_saved(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edgecnn: Edgecnn
) -> None:
    publish(web, monkeypatch, fashion_mnist, idx_files(tmp_path / "published"))
    folder = tmp_path / "cache" / "edgecnn" / "downloads" / "fashion-mnist"
    assert survey("fashion-mnist").labels[-2:] == ("T-shirt/top", "Trouser")
    assert sorted(path.name for path in folder.iterdir()) == sorted(remote.name for remote in fashion_mnist.FILES)
    from edgecnn_training import samples

    samples.save("fashion-mnist", tmp_path / "out", split="test", each=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[-2:] == ["T-shirt%2Ftop", "Trouser"]


def emnist_zip(folder: Path, variant: str = "letters") -> bytes:
    made.write_emnist(folder, variant, (1, 2, 26), gz=True, mapping="1 65 97\n2 66 98\n26 90 122\n")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"gzip/{path.name}")
    return buffer.getvalue()


def test_emnist_is_read_upright_from_its_archive_and_from_the_unpacked_folder_alike(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(web, monkeypatch, emnist, {"gzip.zip": emnist_zip(tmp_path / "published")})
    by_name, by_path = survey("emnist-letters"), survey(str(tmp_path / "published"))
    assert by_name.labels == ("A", "B", "Z")
    assert by_name.sizes == {(5, 4): 6}
    assert by_name.data_hash == by_path.data_hash


@pytest.mark.parametrize("name", ["emnist", "emnist-leters", "emnist-"])
def test_emnist_without_one_of_its_variants_is_refused_with_their_names(name: str) -> None:
    with pytest.raises(UsageError, match=f"its variant, emnist-balanced, .*emnist-mnist; received '{name}'"):
        survey(name)


def test_an_emnist_archive_without_the_variant_is_refused_with_the_remedy(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(web, monkeypatch, emnist, {"gzip.zip": emnist_zip(tmp_path / "published")})
    with pytest.raises(DataError, match=r"must hold gzip/emnist-digits-mapping.txt; .*delete it, and it is downloaded"):
        survey("emnist-digits")


@pytest.mark.parametrize(
    ("module", "files", "labels"),
    [(cifar10, made.cifar_files, ("cat", "dog")), (cifar100, made.cifar100_files, ("apple", "baby", "cup"))],
)
def test_cifar_by_name_is_the_archive(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: ModuleType, files, labels: tuple[str, ...]
) -> None:
    archive = made.tar_bytes({f"cifar/{name}": data for name, data in files().items()})
    publish(web, monkeypatch, module, {module.FILES[0].name: archive})
    found = survey(module.NAME)
    assert found.labels == labels
    assert found.data_hash == survey(made.write_folder(tmp_path / "folder", files())).data_hash


def test_notmnist_by_name_is_its_two_archives(web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    large, small = made.animals(), made.animals(1)
    archives = {
        f"{part}.tar.gz": made.tar_bytes({f"{part}/{name}": data for name, data in files.items()})
        for part, files in (("notMNIST_large", large), ("notMNIST_small", small))
    }
    publish(web, monkeypatch, notmnist, archives)
    assert survey("notmnist").data_hash == survey(made.write_notmnist(tmp_path, large, small)).data_hash


@pytest.mark.parametrize("module", KNOWN)
def test_each_published_file_has_a_whole_checksum_and_a_size_and_lies_behind_its_own_name(module: ModuleType) -> None:
    for remote in module.FILES:
        algorithm, _, digest = remote.checksum.partition(":")
        assert len(bytes.fromhex(digest)) == hashlib.new(algorithm, usedforsecurity=False).digest_size
        assert remote.size_bytes > 1000
        assert all(url.startswith("http") and url.endswith(f"/{remote.name}") for url in remote.urls)
    digests = [remote.checksum for known in KNOWN for remote in known.FILES]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", NAMES)
def test_something_that_exists_is_a_path_before_it_is_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = next(known for known in KNOWN if name.startswith(known.NAME) and known.accepts(name))
    (tmp_path / name).mkdir()
    assert not module.accepts(name)


CODE = """
import sys
from edgecnn.errors import EdgecnnError
from edgecnn_training.dataset import survey
try:
    survey(sys.argv[1])
except EdgecnnError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_without_a_network_the_way_out_is_named_and_nothing_is_on_stdout(tmp_path: Path, name: str) -> None:
    dead = "http://127.0.0.1:9"  # nobody listens on the discard port
    proxies = {
        name: dead for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
    }
    environment = os.environ | proxies | {"XDG_CACHE_HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    command = [sys.executable, "-c", CODE, name]
    end = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert end.returncode == SourceError.exit_code, end.stderr
    assert f"{name} must be downloaded once, and " in end.stderr
    assert "connect to the network and try again, or get " in end.stderr
    assert end.stderr.rstrip().endswith(f"into {tmp_path / 'edgecnn' / 'downloads' / name}")
    assert end.stdout == ""
