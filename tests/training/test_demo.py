"""`edgecnn demo`, as a newcomer meets it: the whole way, interrupted, and where something is missing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import Edgecnn
from PIL import Image as PILImage

DEMO = (sys.executable, "-m", "edgecnn", "demo")
SECONDS = 300


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The quick demo, once, with another folder of its name there already."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "edgecnn-demo").mkdir()
    end = subprocess.run([*DEMO, "--quick"], cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert end.returncode == 0, end.stderr
    return folder / "edgecnn-demo-2", end


def test_the_demo_leaves_models_answers_and_a_picture_in_a_folder_of_its_own(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = shown
    names = {"demo.png", "feed.jsonl", "letters-float32.onnx", "letters.onnx", "run", "samples", "samples.jsonl"}
    assert {path.name for path in folder.iterdir()} == names
    assert list((folder.parent / "edgecnn-demo").iterdir()) == []
    with PILImage.open(folder / "demo.png") as picture:
        picture.load()
        assert picture.width > 1000
        assert picture.height > 1000


def test_the_demo_shows_parity_both_accuracies_and_answers_that_are_mostly_right(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, end = shown
    for told in ("parity with Keras:", "float32 ", "int8 ", "epoch 2/2", "5 of 5", "Done in "):
        assert told in end.stderr
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    right = sum(Path(record["source"]).parent.name == record["label"] for record in samples)
    assert len(samples) == 30
    assert right >= 20  # one in ten by chance, 28 measured
    assert f"{right} of 30 are right." in end.stderr
    feed = [json.loads(line)["label"] for line in (folder / "feed.jsonl").read_text().splitlines()]
    assert sum(label == letter for label, letter in zip(feed, "ABCDEFGHIJ", strict=True)) >= 6


def test_the_demo_ends_with_what_is_where_and_commands_for_ones_own_photos(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, end = shown
    closing = end.stderr.partition("Done in ")[2]
    for name in ("demo.png", "letters.onnx", "letters-float32.onnx", "run/", "samples/", "feed.jsonl"):
        assert name in closing
    for command in ("edgecnn train photos/", "edgecnn export runs/photos", "edgecnn predict photos.onnx"):
        assert command in closing
    assert f"edgecnn inspect {folder.name}/letters.onnx" in closing


def test_every_command_that_the_demo_shows_can_be_typed(
    shown: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, end = shown
    typed = [line.removeprefix("$ ") for line in end.stderr.splitlines() if line.startswith("$ ")]
    assert [line.split()[1] for line in typed] == ["train", "export", "export", "datasets", "predict", "predict"]
    line = typed[-1].replace("edgecnn ", f"{sys.executable} -m edgecnn ", 1)
    end = subprocess.run(line, shell=True, cwd=folder.parent, capture_output=True, text=True, check=False)
    assert (end.returncode, len(end.stdout.splitlines())) == (0, 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_its_command_with_it_and_what_was_learned_stays(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [*DEMO, "--quick"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("epoch 1/2"):
                break
        process.send_signal(number)
        told += process.stderr
        assert process.wait(SECONDS) == 130
    assert "next:  edgecnn train --run edgecnn-demo/run --resume" in "".join(told)
    assert _at_work_in(tmp_path) == []
    assert list((tmp_path / "edgecnn-demo" / "run" / "checkpoints").iterdir())


def _at_work_in(folder: Path) -> list[str]:
    """Processes whose working directory is this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            found += [str(path)] if path.readlink() == folder else []
    return found


def test_a_folder_that_cannot_be_named_in_a_command_is_refused_at_once(
    edgecnn: Edgecnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = edgecnn("demo", "--output=-x")
    assert (done.code, "--output must be printable and not begin with -; received '-x'" in done.err) == (2, True)
    (tmp_path / "glyphs").mkdir()
    done = edgecnn("demo")
    assert (done.code, "a file or folder of that name is here: run it elsewhere" in done.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["glyphs"]


def test_a_folder_that_exists_is_refused(edgecnn: Edgecnn, tmp_path: Path) -> None:
    done = edgecnn("demo", "--output", tmp_path)
    assert done.code == 2
    assert f"--output must name a new folder; {tmp_path} exists: name another" in done.err


def test_a_folder_that_cannot_be_made_is_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = edgecnn("demo", "--output", tmp_path / "file" / "demo")
    assert done.code == 6
    assert "Not a directory: name another with --output" in done.err


def test_without_the_training_packages_the_demo_says_what_is_missing_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('keras', 'tensorflow'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "hidden")}
    end = subprocess.run(DEMO, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert end.returncode == 2
    assert "pip install -e '.[train]'" in end.stderr
    assert "The demo ends here: the command above did not work (exit code 2)" in end.stderr
    assert not (tmp_path / "edgecnn-demo").exists()
