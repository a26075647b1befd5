"""A newcomer's own photos, through the commands they type: each case ends well, or in one helpful message."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import made
import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from edgecnn_training.run import Run
from PIL import Image as PILImage

start_keras("to test")

QUICK = ("--arch", "softmax", "--epochs", "1", "--size", "20")
HIDE_HEIF = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'pillow_heif':
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Missing())
"""


def photos(folder: Path, **counts: int) -> Path:
    """A class folder for each keyword, with so many pictures of noise."""
    for number, (label, count) in enumerate(counts.items()):
        made.write_folder(folder, {f"{label}/{i}.png": made.picture(1000 * number + i) for i in range(count)})
    return folder


def test_nested_classes_count_into_the_first_folder_and_that_is_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    made.write_folder(tmp_path / "data", {f"animals/cats/{i}.png": made.picture(i) for i in range(12)})
    made.write_folder(tmp_path / "data", {f"plants/roses/{i}.png": made.picture(50 + i) for i in range(12)})
    done = edgecnn("train", tmp_path / "data", "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert Run.open(tmp_path / "run").info.labels == ("animals", "plants")
    assert "count into that class: 24, such as 'animals/cats/0.png' into 'animals'" in done.err
    assert "if the inner folders are the classes, move them side by side into one folder" in done.err


def test_a_folder_around_everything_does_not_matter(edgecnn: Edgecnn, tmp_path: Path) -> None:
    photos(tmp_path / "data" / "My Photos", cat=12, dog=12)
    assert edgecnn("train", tmp_path / "data", "--run", tmp_path / "run", *QUICK).code == 0
    assert Run.open(tmp_path / "run").info.labels == ("cat", "dog")


def test_pictures_without_class_folders_are_refused_with_how_to_sort_them(edgecnn: Edgecnn, tmp_path: Path) -> None:
    made.write_folder(tmp_path / "data", {f"{i}.png": made.picture(i) for i in range(5)})
    done = edgecnn("train", tmp_path / "data", "--run", tmp_path / "run", *QUICK)
    assert done.code == 3
    assert "each class must have a folder of its pictures, cat/1.jpg and dog/2.jpg; received" in done.err
    assert not (tmp_path / "run").exists()


def heic(label: int) -> bytes:
    """A HEIC photo of one colour."""
    import io

    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(PILImage.new("RGB", (64, 48), (20 * label, 30, 200))).save(buffer, quality=95)
    return buffer.getvalue()


def test_heic_photos_train_with_the_extra(edgecnn: Edgecnn, tmp_path: Path) -> None:
    made.write_folder(tmp_path / "data", {f"sea/{i}.heic": heic(i) for i in range(10)})
    photos(tmp_path / "data", land=10)
    done = edgecnn("train", tmp_path / "data", "--run", tmp_path / "run", *QUICK)
    assert (done.code, "rejected" in done.err) == (0, False)


def test_heic_photos_without_the_extra_name_it_once_and_plainly(tmp_path: Path) -> None:
    made.write_folder(tmp_path / "data", {f"sea/{i}.heic": heic(i) for i in range(10)})
    photos(tmp_path / "data", land=10)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDE_HEIF)
    command = [sys.executable, "-m", "edgecnn", "train", "data", "--run", "run", *QUICK]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    end = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert end.returncode == 3
    assert end.stderr.count("pip install -e '.[heif]'") == 1
    assert "each class must hold a picture that can be read; none in 'sea'" in end.stderr
    assert "10 rejected, such as 'sea/0.heic'" in end.stderr
    assert not (tmp_path / "run").exists()


def test_classes_of_three_pictures_train_and_what_that_means_is_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", cat=3, dog=3)
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "fewer than 10 pictures: 'cat' 3, 'dog' 3; little can be learned from so few" in done.err


def test_uneven_classes_are_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", cat=300, dog=20)
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "uneven classes: 'cat' has 300 pictures, 'dog' 20; the network leans to the large ones" in done.err
    assert "show them more often with --set balance=1" in done.err
    again = edgecnn("train", data, "--run", tmp_path / "again", *QUICK, "--set", "balance=1")
    assert again.code == 0
    assert Run.open(tmp_path / "again").info.recipe.balance == 1


def test_labels_with_spaces_umlauts_and_emoji_go_all_the_way(edgecnn: Edgecnn, tmp_path: Path) -> None:
    labels = ("Käfer & Mücke", "two words", "🍎")
    data = photos(tmp_path / "Meine Fotos", **{unicodedata.normalize("NFD", label): 12 for label in labels})
    assert edgecnn("train", data, "--run", tmp_path / "run", *QUICK).code == 0
    model = tmp_path / "ü.onnx"
    assert edgecnn("export", tmp_path / "run", "-o", model, "--quantize", "none").code == 0
    records = [json.loads(line) for line in edgecnn("predict", model, data, "--format", "jsonl").out.splitlines()]
    assert {item["label"] for record in records for item in record["top"]} == set(labels)
    rows = list(csv.DictReader(edgecnn("predict", model, data, "--format", "csv").out.splitlines()))
    assert {row["label"] for row in rows} <= set(labels)
    assert edgecnn("predict", model, data, "--format", "table").code == 0
    assert "Käfer & Mücke" in edgecnn("inspect", model, "--json").out
    assert edgecnn("evaluate", model, data, "--allow-leak").code == 0


def test_two_classes_that_differ_only_by_case_are_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", Cat=12, cat=12)
    if len(list(data.iterdir())) < 2:
        pytest.skip("this file system does not tell Cat from cat")
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "labels that differ only in case stay apart: 'Cat', 'cat'; if they are one class, put its" in done.err


def test_photos_of_41_megapixels_are_trained_on_and_larger_ones_named(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", cat=12, dog=12)
    PILImage.new("RGB", (7728, 5368), "navy").save(data / "cat" / "phone.jpg")
    PILImage.new("L", (10_000, 6_401)).save(data / "dog" / "scan.png")
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "25 images, 2 classes" in done.err
    assert "1 rejected, 'dog/scan.png': larger than the limit of 64 megapixels: 10000×6401" in done.err


def test_grey_and_coloured_pictures_may_be_mixed_and_what_becomes_of_them_is_told(
    edgecnn: Edgecnn, tmp_path: Path
) -> None:
    data = photos(tmp_path / "data", cat=12, dog=12)
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    PILImage.fromarray(grey).save(data / "cat" / "grey.png")
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "1 of 25 pictures are grey and become RGB" in done.err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs a small disk, which only root can mount")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def on_a_full_disk(tmp_path: Path, *command: object, **environment: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edgecnn", *map(str, command)]
    more = {name: str(path) for name, path in environment.items()}
    return subprocess.run(line, cwd=tmp_path, env=os.environ | more, capture_output=True, text=True, check=False)


def test_a_full_disk_under_the_run_is_told_and_the_last_checkpoint_stays(tmp_path: Path, small_disk: Path) -> None:
    data = photos(tmp_path / "data", cat=40, dog=40)
    options = ("--arch", "micro", "--epochs", 40, "--size", 20)
    end = on_a_full_disk(tmp_path, "train", data, "--run", small_disk / "run", *options)
    assert end.returncode == 3
    assert "Traceback" not in end.stderr
    assert "No space left on device; free some space, then --resume" in end.stderr
    assert end.stderr.count("the last 64 MB of a disk are left to the checkpoints; the training goes on") == 1
    assert list((small_disk / "run" / "checkpoints").glob("step-*/model.keras"))


def test_a_full_disk_under_the_cache_is_told(tmp_path: Path, small_disk: Path) -> None:
    data = photos(tmp_path / "data", cat=200, dog=200)
    command = ("train", data, "--run", tmp_path / "run", "--arch", "softmax", "--epochs", 1, "--size", 64)
    end = on_a_full_disk(tmp_path, *command, XDG_CACHE_HOME=small_disk)
    assert end.returncode == 3
    assert "the cache of decoded pictures must fit on the disk; 5 MB are needed and 0 MB free in" in end.stderr
    assert "set XDG_CACHE_HOME to a folder on a larger disk" in end.stderr
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "run").exists()


def test_a_full_disk_under_the_model_or_the_temporary_files_is_told(
    trained: Path, tmp_path: Path, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(404_000))
    end = on_a_full_disk(tmp_path, "export", trained, "-o", small_disk / "model.onnx")
    assert end.returncode == 6
    assert f"the model must be written to {small_disk / 'model.onnx'}" in end.stderr
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    end = on_a_full_disk(tmp_path, "export", trained, "-o", tmp_path / "model.onnx", TMPDIR=small_disk)
    assert end.returncode == 3
    assert "free some space, or set TMPDIR to a folder on a larger disk" in end.stderr
    assert not (tmp_path / "model.onnx").exists()
