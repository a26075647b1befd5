"""The embedded letters: enough of them, none twice, and no font family on two sides."""

import csv
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from edgecnn_training.dataset import PACKAGE, survey
from edgecnn_training.datasets import glyphs

from edgecnn import plugins
from edgecnn.errors import DataError

FOLDER = Path(glyphs.__file__).parent
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ALIKE = 10.0  # mean difference in grey levels, as make_glyphs.py has it


@pytest.fixture(scope="module")
def examples():
    return list(glyphs.load("glyphs"))


@pytest.fixture(scope="module")
def index():
    with (FOLDER / "glyphs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_there_are_many_letters_of_many_families_in_little_space(examples, index):
    assert len(examples) >= 4000
    assert len({face["family"] for face in index}) >= 150
    assert sum((FOLDER / f"glyphs.{kind}").stat().st_size for kind in ("png", "csv")) <= 3_000_000


def test_every_split_has_as_many_of_each_letter_and_about_a_tenth_is_held_out_twice(examples):
    counts = Counter((example.split, example.label) for example in examples)
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        of_split = [counts[split, letter] for letter in "ABCDEFGHIJ"]
        assert sum(of_split) == pytest.approx(share * len(examples), rel=0.05)
        assert min(of_split) > 0.9 * max(of_split)


def test_no_picture_is_there_twice_and_none_is_empty(examples):
    assert len({example.image.tobytes() for example in examples}) == len(examples)
    assert all(example.image.shape == (28, 28, 1) and example.image.dtype == np.uint8 for example in examples)
    ink = np.array([example.image.mean() / 255 for example in examples])
    assert 0.01 < ink.min() < ink.max() < 0.99


def test_a_font_family_lies_in_one_split(examples, index):
    splits = defaultdict(set)
    for face in index:
        splits[face["family"]].add(face["split"])
    assert {family: found for family, found in splits.items() if len(found) > 1} == {}
    assert {example.group for example in examples} == splits.keys()


def test_no_held_out_face_looks_like_one_of_another_split(index):
    from PIL import Image as PILImage

    with PILImage.open(FOLDER / "glyphs.png") as sheet:
        faces = np.asarray(sheet, np.float32).reshape(len(index), -1)
    split = np.array([face["split"] for face in index])
    for row in np.flatnonzero(split != "train"):
        others = faces[split != split[row]]
        assert np.abs(others - faces[row]).mean(1).min() >= ALIKE, index[row]["face"]


def test_every_face_names_its_package_and_the_licence_that_the_list_of_packages_has(index):
    with (SCRIPTS / "glyph_fonts.csv").open(encoding="utf-8", newline="") as file:
        licenses = {row["package"]: row["license"] for row in csv.DictReader(file)}
    assert all(face["license"] == licenses[face["package"]] and face["version"] for face in index)


def test_the_survey_accepts_the_splits_as_they_are():
    found = survey("glyphs")
    assert found.labels == tuple("ABCDEFGHIJ")
    assert (found.common_size, found.grey, found.rejected, found.notes) == ((28, 28), True, [], [])


def test_a_folder_of_that_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert glyphs.accepts("glyphs")
    (tmp_path / "glyphs").mkdir()
    assert not glyphs.accepts("glyphs")


@pytest.mark.parametrize("damage", ["cut sheet", "no sheet", "other rows"])
def test_a_damaged_installation_is_told(tmp_path, damage):
    for name in ("glyphs.py", "glyphs.png", "glyphs.csv"):
        shutil.copy(FOLDER / name, tmp_path)
    sheet, table = tmp_path / "glyphs.png", tmp_path / "glyphs.csv"
    if damage == "cut sheet":
        sheet.write_bytes(sheet.read_bytes()[:5000])
    elif damage == "no sheet":
        sheet.unlink()
    else:
        table.write_text(table.read_text(encoding="utf-8").rpartition("\n")[0][:-200], encoding="utf-8")
    module = plugins.load(PACKAGE, str(tmp_path / "glyphs.py"))
    with pytest.raises(DataError, match=r"must be as they were installed; .*: install again"):
        list(module.load("glyphs"))
