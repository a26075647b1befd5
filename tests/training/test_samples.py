"""`edgecnn datasets DATA --save FOLDER`: pictures of a data set as files, to be looked at."""

import json
import subprocess
import sys
import time
from pathlib import Path

import made
import numpy as np
import pytest
from command import Edgecnn
from PIL import Image as PILImage


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_picture_becomes_a_png_in_the_folder_of_its_class(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = made.write_zip(tmp_path / "animals.zip", made.animals())
    done = edgecnn("datasets", data, "--save", tmp_path / "out")
    assert done.code == 0
    assert json.loads(done.out)["labels"] == {"cat": 3, "dog": 3}
    assert f"{tmp_path / 'out'}  6 pictures in 2 class folders" in done.err
    assert names(tmp_path / "out") == sorted(made.animals())
    saved = np.asarray(PILImage.open(tmp_path / "out" / "cat" / "1.png"))
    np.testing.assert_array_equal(saved, made.pixels(1))


def test_a_split_and_a_number_choose_and_the_choice_is_the_same_each_time(edgecnn: Edgecnn, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        options = ("--split", "test", "--each", 2, "--save", tmp_path / folder)
        assert edgecnn("datasets", "glyphs", *options).code == 0
    assert names(tmp_path / "one") == names(tmp_path / "two")
    assert [name[0] for name in names(tmp_path / "one")] == list("AABBCCDDEEFFGGHHIIJJ")


def test_notes_on_the_data_are_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = made.write_folder(tmp_path / "data", made.animals() | {"Cat/1.png": made.picture(50)})
    done = edgecnn("datasets", data, "--save", tmp_path / "out")
    assert done.code == 0
    assert "note: labels that differ only in case stay apart: 'Cat', 'cat'" in done.err


def test_labels_and_names_lead_nowhere_else(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made.write_folder(data, {"a.png": made.picture(1), "b/a.png": made.picture(2), "c.png": made.picture(3)})
    (data / "list.csv").write_text("path,label\na.png,../up\nb/a.png,../up\nc.png,/etc\n")
    assert edgecnn("datasets", data / "list.csv", "--save", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["%2E.%2Fup/a-2.png", "%2E.%2Fup/a.png", "%2Fetc/c.png"]


def test_what_cannot_be_read_is_passed_over_and_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    whole = made.picture(9, 40, 40)
    data = made.write_folder(tmp_path / "data", made.animals() | {"cat/cut.png": whole[:-500], "dog/x.txt": b"text"})
    done = edgecnn("datasets", data, "--save", tmp_path / "out")
    assert done.code == 0
    assert "note: 1 rejected, 'cat/cut.png': damaged or truncated PNG" in done.err
    assert names(tmp_path / "out") == sorted(made.animals())


def test_where_nothing_can_be_read_nothing_is_left(edgecnn: Edgecnn, tmp_path: Path) -> None:
    cut = {f"{label}/{i}.png": made.picture(i, 40, 40)[:-500] for label in ("cat", "dog") for i in range(3)}
    done = edgecnn("datasets", made.write_folder(tmp_path / "data", cut), "--save", tmp_path / "out")
    assert done.code == 3
    assert "there must be pictures that can be read; none of 6 can, in" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_of_pictures_of_one_name_the_first_counts(edgecnn: Edgecnn, tmp_path: Path) -> None:
    made.write_folder(tmp_path, {"0.png": made.picture(0), "1.png": made.picture(1)})
    rows = ["path,label,split", "0.png,cat,train", "0.png,dog,test", "1.png,dog,train"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert edgecnn("datasets", tmp_path / "list.csv", "--save", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["cat/0.png", "dog/1.png"]


def test_a_folder_that_appears_meanwhile_is_not_touched(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgecnn", "datasets", "glyphs", "--save", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("mine")
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait(60) == 6
    assert "pictures must be written to out: Directory not empty; name another" in told
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.txt"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--save", "there"), 2, "--save must name a new folder; there exists: name another"),
        (("--save", "out", "--each", 0), 2, "--each must be 1 or more; received 0"),
        (("--save", "out", "--split", "tests"), 2, "--split must be one of train, validation, test; received 'tests'"),
        (("--save", "out", "--split", "test"), 2, "has none in the split test: leave out --split"),
        (("--save", "no/out"), 2, "--save must name a folder in one that exists; make "),
        (("--save", "data/out"), 2, "--save must name a folder outside of the data; data/out lies in"),
        (("--save", "o" * 250), 6, "File name too long; name another"),
        ((), 2, "DATA goes with --save FOLDER"),
    ],
)
def test_what_cannot_be_saved_is_told_and_nothing_is_left(
    edgecnn: Edgecnn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    data = made.write_folder(tmp_path / "data", made.animals())
    done = edgecnn("datasets", data, *options)
    assert done.code == code
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_options_without_data_are_refused(edgecnn: Edgecnn) -> None:
    assert "need DATA: edgecnn datasets glyphs --save letters" in edgecnn("datasets", "--each", 2).err
