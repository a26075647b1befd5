"""The less common mistakes of the first hour; the common ones are in ``test_own_photos.py``."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path
from typing import Any

import made
import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from edgecnn_training.cache import open_cache
from edgecnn_training.dataset import survey
from edgecnn_training.decoding import _threads
from edgecnn_training.disk import scratch
from full_disk import files_of_at_most
from PIL import Image as PILImage

start_keras("to test")

from edgecnn_training import checkpoint  # noqa: E402  # Keras is started
from edgecnn_training.export import container  # noqa: E402

from edgecnn.card import ModelCard  # noqa: E402
from edgecnn.errors import DataError  # noqa: E402

QUICK = ("--arch", "softmax", "--epochs", "1", "--size", "20")
SMALL = {"height": 4, "width": 4, "channels": 3, "fit": "crop"}


def encoded(picture: PILImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def animals(root: Path, each: int = 4) -> Path:
    return Path(made.write_folder(root, made.animals(each)))


# folders


def test_loose_pictures_beside_the_class_folders_are_told_with_the_reason(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = animals(tmp_path / "data")
    made.write_folder(data, {f"IMG_{i}.png": made.picture(70 + i) for i in range(3)})
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "note: 3 rejected, such as 'IMG_0.png': lies beside the class folders, so that it has no label" in done.err


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cat/1.png": made.picture(1), "cat/2.png": made.picture(2)}, "needs two classes or more; "),
        (
            {f"{c}/{i}.png": made.picture(9 * i + ord(c)) for c in "ab" for i in (1, 2)},
            "has three different pictures: 4",
        ),
        ({f"{c}/1.png": made.picture(ord(c)) for c in "ab"}, "has three different pictures: 2 pictures are too few"),
        ({"notes.txt": b"milk"}, "received files in no such folder: 1, such as 'notes.txt'"),
    ],
)
def test_what_cannot_be_trained_on_is_one_message_and_leaves_no_run(
    edgecnn: Edgecnn, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    done = edgecnn("train", made.write_folder(tmp_path / "data", files), "--run", tmp_path / "run", *QUICK)
    assert (done.code, done.err.count("error: ")) == (3, 1)
    assert message in done.err
    assert "in different groups" not in done.err  # the data has none: the word would only puzzle
    assert not (tmp_path / "run").exists()


def test_classes_of_one_and_two_pictures_beside_larger_ones_train_and_say_what_is_not_measured(
    edgecnn: Edgecnn, tmp_path: Path
) -> None:
    counts = {"a": 12, "b": 1, "c": 2}
    files = {f"{c}/{i}.png": made.picture(100 * ord(c) + i) for c, count in counts.items() for i in range(count)}
    done = edgecnn("train", made.write_folder(tmp_path / "data", files), "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "validation and test have no picture of 'b', 'c': too few different ones; no accuracy is known" in done.err
    assert "fewer than 10 pictures: 'b' 1, 'c' 2;" in done.err


# HEIC


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_photo_stands_as_upright_as_its_jpeg(orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    from edgecnn.decode import decode

    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32], pixels[24:] = (255, 0, 0), (0, 0, 255)
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()  # as a phone writes it: turned by the container, and with the orientation in the EXIF data
    pillow_heif.from_pillow(PILImage.fromarray(pixels)).save(buffer, quality=95, exif=exif.tobytes())
    expected = decode(encoded(PILImage.fromarray(pixels), "PNG", exif=exif))
    found = decode(buffer.getvalue())
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 5  # HEVC is lossy; turned the wrong way it is above 40


def test_heic_photos_among_others_are_told_once_with_the_remedy_where_the_extra_is_missing(tmp_path: Path) -> None:
    heic = b"\0\0\0\x18ftypheic" + b"\0" * 64
    data = animals(tmp_path / "data", each=10)
    made.write_folder(data, {f"cat/IMG_{i}.heic": heic + bytes([i]) for i in range(30)})
    code = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pillow_heif': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from edgecnn_training.advice import advice\n"
        "from edgecnn_training.loading import load_dataset\n"
        "print('\\n'.join(advice(load_dataset(sys.argv[1], size=(20, 20), channels=3))))\n"
    )
    end = subprocess.run([sys.executable, "-c", code, data], capture_output=True, text=True, check=True)
    (note,) = end.stdout.splitlines()
    assert note.startswith("30 rejected, such as 'cat/IMG_0.heic': the package 'pillow_heif' is needed to read HEIC")
    assert note.endswith("pip install -e '.[heif]'")


# names


def test_names_in_either_unicode_form_or_in_none_go_all_the_way(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = tmp_path / os.fsdecode(b"gr\xfcn")  # Latin-1, as an old disk has it
    forms = [unicodedata.normalize(form, "Großer Käfer") for form in ("NFC", "NFD")]
    for number, label in enumerate([*forms, "👩 cat"]):
        made.write_folder(data, {f"{label}/mein Föto {i}.png": made.picture(100 * number + i) for i in range(6)})
    (data / "👩 cat" / os.fsdecode(b"\xff\xe4.png")).write_bytes(made.picture(999))
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "2 folders or labels read 'Großer Käfer' in different Unicode forms: merged" in done.err
    model = tmp_path / "m.onnx"
    assert edgecnn("export", tmp_path / "run", "-o", model, "--quantize", "none").code == 0
    assert edgecnn("evaluate", tmp_path / "run", data, terminal=True).code == 0
    for kind in ("table", "jsonl", "csv"):
        assert edgecnn("predict", model, data, "--format", kind, "-o", tmp_path / "out").code == 0
        lines = (tmp_path / "out").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 19 + (kind == "csv")
        assert any("udce4.png" in line for line in lines)  # escaped once, and once more in JSON


def test_a_label_of_invisible_joiners_is_refused_and_shows_them(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = animals(tmp_path / "data")
    (data / "cat").rename(data / "👩\u200d👧")
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 3
    assert (
        "a label must be printable text; received '👩\\u200d👧' for '👩\\u200d👧/0.png': rename the class" in done.err
    )


# pictures


def test_every_kind_of_photo_is_trained_on(edgecnn: Edgecnn, tmp_path: Path) -> None:
    photo, exif = PILImage.fromarray(made.pixels(1, 40, 60)), PILImage.Exif()
    exif[0x0112] = 6
    kinds = {
        "progressive.jpg": encoded(photo, "JPEG", progressive=True),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(photo, "JPEG", exif=exif),
        "palette.gif": encoded(photo.quantize(8), "GIF"),
        "see-through.webp": encoded(photo.convert("RGBA"), "WEBP"),
        "sixteen.png": encoded(PILImage.fromarray(made.pixels(2, 40, 60)[:, :, 0].astype(np.uint16) * 257), "PNG"),
    }
    data = animals(tmp_path / "data")
    made.write_folder(data, {f"cat/{name}": content for name, content in kinds.items()})
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "14 images, 2 classes, RGB, several sizes\n" in done.err  # and none rejected
    assert "1 of 14 pictures are grey and become RGB" in done.err


@pytest.mark.parametrize(
    ("cores", "megapixels", "threads"), [(2, 41.5, 2), (64, 41.5, 4), (64, 64, 2), (64, 12, 8), (1, 64, 1), (16, 0, 8)]
)
def test_large_photos_are_decoded_by_as_many_threads_as_2_gb_allow(cores: int, megapixels: float, threads: int) -> None:
    # 2 GiB by 12 bytes a pixel are 179 megapixels
    assert _threads(cores, [(1000, round(megapixels * 1000)), (8, 8)]) == threads


# disk


def test_a_disk_that_fills_up_keeps_the_last_checkpoint_and_resumes(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data, run = animals(tmp_path / "data", each=10), tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        while not (run / "checkpoints" / "step-00000001").exists():
            time.sleep(0.005)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))  # a checkpoint of this network takes 50,000

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    try:
        done = edgecnn("train", data, "--run", run, "--arch", "softmax", "--size", "20", "--epochs", "30")
    finally:
        filling.join(30)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 3
    assert f"a checkpoint must be written to {run / 'checkpoints'}: " in done.err
    assert "free some space, then --resume" in done.err
    kept = checkpoint.latest(run / "checkpoints")
    kept.check()
    assert not [path for path in run.rglob("*") if "partial" in path.name]
    done = edgecnn("train", "--run", run, "--resume")
    assert done.code == 0
    assert f"resuming after {kept.state.step} steps" in done.err


def test_a_run_that_cannot_begin_for_lack_of_space_leaves_nothing_and_offers_no_resume(
    edgecnn: Edgecnn, tmp_path: Path
) -> None:
    data = animals(tmp_path / "data")
    made.write_folder(data, {f"{'long' * 50}/{i}.png": made.picture(100 + i) for i in range(150)})
    open_cache(survey(str(data)), height=20, width=20, channels=3, fit="crop")
    with files_of_at_most(40_000):  # splits.csv takes 72,000, all else less
        done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 3
    assert f"a run must be written to its directory, {tmp_path / 'run'}: [Errno 27] File too large" in done.err
    assert done.err.endswith("; free some space, or name another with --run\n")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_export_onto_a_full_disk_leaves_the_model_that_was_there(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"the one before")
    write = container.write

    def on_a_full_disk(path: Path, *rest: Any) -> ModelCard:
        with files_of_at_most(8_000) if path.parent == tmp_path else contextlib.nullcontext():
            return write(path, *rest)

    monkeypatch.setattr(container, "write", on_a_full_disk)
    done = edgecnn("export", trained, "-o", model, "--quantize", "none")
    assert done.code == 6
    assert f"the model must be written to {model}: File too large; free some space or name another" in done.err
    assert model.read_bytes() == b"the one before"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_an_export_without_space_for_temporary_files_says_so(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    with files_of_at_most(8_000):
        done = edgecnn("export", trained, "-o", tmp_path / "model.onnx")
    assert done.code == 3
    assert "temporary files must be written to export; File too large in " in done.err
    assert "free some space, or set TMPDIR to a folder on a larger disk" in done.err
    assert not list(tmp_path.iterdir())


def test_temporary_files_that_cannot_fit_are_refused_before_they_are_begun() -> None:
    with pytest.raises(DataError, match=r"must be written to test; 1,000,000.0 MB are needed and .* MB free in"):
        scratch("to test", 10**12).__enter__()


def test_a_disk_without_any_space_is_told_before_keras_starts(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from edgecnn.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "train", str(animals(tmp_path / "data"))]
    end = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert end.returncode == 3
    assert end.stderr == (
        "error: temporary files must be written to train, and no folder takes any: free some space, or set TMPDIR to a "
        "folder on a larger disk\n"
    )


# caches


def test_a_cache_that_may_not_be_written_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file where the home should be")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(
        DataError, match=r"must be writable; Not a directory in .*: set XDG_CACHE_HOME to a folder that"
    ):
        open_cache(survey(str(animals(tmp_path / "data"))), **SMALL)


def test_a_user_without_a_home_is_told_where_to_put_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setitem(sys.modules, "pwd", None)  # as for a user whom the system does not know, in a container
    found = survey(str(animals(tmp_path / "data")))
    with pytest.raises(DataError, match=r"this user has no home folder: set XDG_CACHE_HOME to a folder that you may"):
        open_cache(found, **SMALL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(open_cache(found, **SMALL).images) == 8
