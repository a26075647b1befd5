"""`edgecnn evaluate` on runs and on exported files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import Edgecnn
from PIL import Image as PILImage
from shapes import write_shapes

from edgecnn import Classifier


def test_a_run_is_evaluated_on_the_test_split_of_its_own_data(edgecnn: Edgecnn, trained: Path, shapes: Path) -> None:
    done = edgecnn("evaluate", trained, shapes)
    record = json.loads(done.out)
    assert done.code == 0
    assert (record["split"], record["n"]) == ("test", 18)
    assert record["top1"] == json.loads((trained / "result.json").read_text())["top1"]
    assert sum(map(sum, record["confusion"])) == 18


def test_on_a_terminal_there_is_a_table_with_a_line_for_each_class(
    edgecnn: Edgecnn, trained: Path, shapes: Path
) -> None:
    done = edgecnn("evaluate", trained, shapes, terminal=True)
    head, *classes, total = done.out.splitlines()
    assert head.split() == ["class", "pictures", "right", "recall", "precision"]
    assert [line.split()[:2] for line in classes] == [["bar", "6"], ["column", "6"], ["disc", "6"]]
    record = json.loads((trained / "result.json").read_text())
    assert f"({record['correct']} of 18; 95 % interval" in total
    as_json = edgecnn("evaluate", trained, shapes, "--json", terminal=True)
    assert json.loads(as_json.out)["correct"] == record["correct"]


def test_a_run_without_data_is_evaluated_on_its_own(edgecnn: Edgecnn, trained: Path, shapes: Path) -> None:
    assert json.loads(edgecnn("evaluate", trained).out) == json.loads(edgecnn("evaluate", trained, shapes).out)


def test_a_run_without_data_refuses_its_own_when_that_has_changed(
    edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    run = shutil.copytree(trained, tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    about["data"]["location"] = str(data)
    (run / "run.json").write_text(json.dumps(about))
    assert edgecnn("evaluate", run).code == 0
    next((data / "bar").iterdir()).unlink()
    done = edgecnn("evaluate", run)
    assert (done.code, done.out) == (3, "")
    assert "1 of 180 pictures gone" in done.err


def test_a_model_without_data_is_told_to_name_some(edgecnn: Edgecnn, exported: dict[str, Path]) -> None:
    done = edgecnn("evaluate", exported["int8"])
    assert (done.code, done.out) == (2, "")
    assert "name DATA: edgecnn evaluate" in done.err


def test_new_pictures_without_splits_are_all_taken(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    new = write_shapes(tmp_path / "new", each=7, seed=5)
    record = json.loads(edgecnn("evaluate", trained, new, "--json").out)
    assert (record["split"], record["n"]) == ("all", 21)
    assert [row["n"] for row in record["per_class"]] == [7, 7, 7]


def test_the_datas_own_test_split_is_taken_where_it_has_one(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "new" / "train", each=7, seed=5)
    write_shapes(tmp_path / "new" / "test", each=3, seed=6)
    record = json.loads(edgecnn("evaluate", trained, tmp_path / "new").out)
    assert (record["split"], record["n"]) == ("test", 9)


def test_pictures_the_run_has_seen_are_refused_unless_allowed(
    edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path
) -> None:
    mixed = write_shapes(tmp_path / "mixed", each=5, seed=5)
    shutil.copytree(shapes, mixed, dirs_exist_ok=True, copy_function=copy_beside)
    done = edgecnn("evaluate", trained, mixed)
    assert (done.code, done.out) == (3, "")
    assert "has trained or validated on 162 of these 195" in done.err
    allowed = edgecnn("evaluate", trained, mixed, "--allow-leak")
    assert allowed.code == 0
    assert json.loads(allowed.out)["n"] == 195
    assert "has trained or validated on 162 of these 195" in allowed.err


def copy_beside(source: str, target: str) -> None:
    shutil.copy(source, str(Path(target).with_name("seen-" + Path(target).name)))


def test_a_model_is_evaluated_as_predict_would_and_says_what_it_cannot_check(
    edgecnn: Edgecnn, exported: dict[str, Path], tmp_path: Path
) -> None:
    new = write_shapes(tmp_path / "new", each=7, seed=5)
    done = edgecnn("evaluate", exported["int8"], new)
    with Classifier(exported["int8"]) as model:
        right = sum(model.predict(path).label == path.parent.name for path in new.rglob("*.png"))
    assert done.code == 0
    assert json.loads(done.out)["correct"] == right
    assert "nobody checks that each of these is new to it" in done.err


def test_a_model_is_not_evaluated_on_the_data_it_was_trained_on(
    edgecnn: Edgecnn, exported: dict[str, Path], shapes: Path
) -> None:
    done = edgecnn("evaluate", exported["int8"], shapes)
    assert (done.code, done.out) == (3, "")
    assert "was trained on this very data" in done.err


def test_a_model_is_evaluated_by_its_name_on_the_test_split_of_the_very_data_it_was_made_from(edgecnn: Edgecnn) -> None:
    done = edgecnn("evaluate", "letters", "glyphs")
    with Classifier("letters") as model:
        claimed = model.card.more["accuracy"]
    assert done.code == 0
    assert isinstance(claimed, dict)
    found = json.loads(done.out)
    assert {key: found[key] for key in ("top1", "n", "split")} == {key: claimed[key] for key in ("top1", "n", "split")}


def test_the_confusion_matrix_is_drawn_where_it_is_asked_for(
    edgecnn: Edgecnn, exported: dict[str, Path], shapes: Path, tmp_path: Path
) -> None:
    assert edgecnn("evaluate", exported["float32"], shapes, "--allow-leak", "--confusion", tmp_path / "c.png").code == 0
    with PILImage.open(tmp_path / "c.png") as picture:
        picture.load()
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]


def test_a_class_the_model_does_not_know_is_refused(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    new = write_shapes(tmp_path / "new", each=4, seed=5)
    (new / "bar").rename(new / "beam")
    done = edgecnn("evaluate", trained, new)
    assert done.code == 3
    assert "received 'beam'" in done.err


def test_pictures_that_cannot_be_used_are_told(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    new = write_shapes(tmp_path / "new", each=4, seed=5)
    (new / "bar" / "empty.png").touch()
    done = edgecnn("evaluate", trained, new)
    record = json.loads(done.out)
    assert done.code == 1
    assert (record["n"], record["rejected"]) == (12, 1)
    assert "rejected: bar/empty.png: empty file" in done.err
    assert "note: 1 of the inputs could not be used and are not in these figures" in done.err


def test_a_class_without_pictures_is_no_error(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    new = write_shapes(tmp_path / "new", each=4, seed=5)
    shutil.rmtree(new / "bar")
    record = json.loads(edgecnn("evaluate", trained, new).out)
    assert record["n"] == 8
    assert (record["per_class"][0]["n"], record["per_class"][0]["recall"]) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere", "DATA"), 3, "'nowhere' does not exist"),
        (("nowhere.onnx", "DATA"), 3, "'nowhere.onnx' does not exist"),
        (("letter", "DATA"), 3, "signs; did you mean 'letters'?"),
        (("DATA", "DATA"), 3, "has no run.json"),
        (("RUN", "photos.onnx"), 2, " first: edgecnn evaluate photos.onnx "),
        (("DATA", "letters"), 2, "the model must stand before the data; received"),
        (("RUN", "nowhere"), 3, "there is no 'nowhere'"),
        (("RUN", "DATA", "--confusion", "x.jpg"), 2, "--confusion must be a .png file"),
        (("RUN", "DATA", "--confusion", "DATA/bar/000.png"), 2, "--confusion must lie outside of the data"),
        (("RUN", "DATA", "--output", "x.txt"), 2, "--output must be a .csv file"),
        (("RUN", "--output", "DATA/x.csv"), 2, "--output must lie outside of the data"),
        (("RUN", "--output", "RUN/splits.csv"), 2, "--output must not replace a file of a run"),
        (("RUN", "DATA", "--confusion", "RUN/curves.png"), 2, "--confusion must not replace a file of a run"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(
    edgecnn: Edgecnn, trained: Path, shapes: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = edgecnn("evaluate", *(word.replace("DATA", str(shapes)).replace("RUN", str(trained)) for word in arguments))
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_the_confusion_matrix_does_not_replace_a_picture_that_a_manifest_names(
    edgecnn: Edgecnn, exported: dict[str, Path], shapes: Path, tmp_path: Path
) -> None:
    rows = [(path, path.parent.name) for path in sorted(shapes.rglob("*.png"))[::20]]
    for path, label in rows:
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / path.name).write_bytes(path.read_bytes())
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label\n" + "".join(f"{label}/{path.name},{label}\n" for path, label in rows))
    picture = tmp_path / rows[0][1] / rows[0][0].name
    before = picture.read_bytes()
    done = edgecnn("evaluate", exported["float32"], manifest, "--confusion", picture)
    assert done.code == 2
    assert "--confusion must not replace a file of the data" in done.err
    assert picture.read_bytes() == before
    assert edgecnn("evaluate", exported["float32"], manifest, "--confusion", tmp_path / "c.png").code == 0
