"""`edgecnn datasets DATA --save FOLDER`: pictures of a data set as files, to be looked at."""

import json
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


def test_labels_and_names_lead_nowhere_else(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made.write_folder(data, {"a.png": made.picture(1), "b/a.png": made.picture(2), "c.png": made.picture(3)})
    (data / "list.csv").write_text("path,label\na.png,../up\nb/a.png,../up\nc.png,/etc\n")
    assert edgecnn("datasets", data / "list.csv", "--save", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["_etc/c.png", "_up/a-2.png", "_up/a.png"]


def test_what_cannot_be_read_is_passed_over(edgecnn: Edgecnn, tmp_path: Path) -> None:
    whole = made.picture(9, 40, 40)
    data = made.write_folder(tmp_path / "data", made.animals() | {"cat/cut.png": whole[:-500], "dog/x.txt": b"text"})
    assert edgecnn("datasets", data, "--save", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == sorted(made.animals())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--save", "there"), 2, "--save must name a new folder; there exists: name another"),
        (("--save", "out", "--each", 0), 2, "--each must be 1 or more; received 0"),
        (("--save", "out", "--split", "tests"), 2, "--split must be one of train, validation, test; received 'tests'"),
        (("--save", "out", "--split", "test"), 2, "has none in the split test: leave out --split"),
        (("--save", "file/out"), 6, "pictures must be written to file/out: "),
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
    (tmp_path / "file").touch()
    data = made.write_folder(tmp_path / "data", made.animals())
    done = edgecnn("datasets", data, *options)
    assert done.code == code
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_options_without_data_are_refused(edgecnn: Edgecnn) -> None:
    assert "need DATA: edgecnn datasets glyphs --save letters" in edgecnn("datasets", "--each", 2).err
