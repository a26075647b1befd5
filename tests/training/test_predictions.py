"""The list of what was said of each picture: in every run, and from ``edgecnn evaluate --output``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.predictions import HEADER, Said, write
from shapes import write_shapes

from edgecnn import Classifier
from edgecnn.errors import SinkError


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_mistakes_come_first_the_surest_on_top_and_any_name_survives(tmp_path: Path) -> None:
    names = ["a\r.png", 'b, "c".png', "d\ne.png", "f\udcff.png"]
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]], np.float32)
    said = Said("test", names, np.array([0, 0, 0, 0]), scores)
    write(tmp_path / "p.csv", ("x", "y"), [said], 0.65)
    assert [tuple(row.values()) for row in rows_of(tmp_path / "p.csv")] == [
        ("d\ne.png", "test", "x", "y", "0.8000", "no"),
        ('b, "c".png', "test", "x", "y", "0.6000", "yes"),
        ("a\r.png", "test", "x", "x", "0.9000", "no"),
        ("f\\udcff.png", "test", "x", "x", "0.7000", "no"),
    ]


def test_where_no_threshold_is_known_nothing_is_said_of_unknown(tmp_path: Path) -> None:
    write(tmp_path / "p.csv", ("x", "y"), [Said("all", ["a"], np.array([1]), np.array([[0.2, 0.8]], np.float32))], None)
    assert rows_of(tmp_path / "p.csv")[0]["unknown"] == ""


def test_a_list_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="must be written to"):
        write(tmp_path / "nowhere" / "p.csv", ("x", "y"), [], None)


def test_a_run_has_the_list_of_its_held_out_pictures(trained: Path) -> None:
    rows, result = rows_of(trained / "predictions.csv"), json.loads((trained / "result.json").read_text())
    assert tuple(rows[0]) == HEADER
    tested = [row for row in rows if row["split"] == "test"]
    assert {row["split"] for row in rows} == {"test", "validation"}
    assert sum(row["label"] == row["given"] for row in tested) == result["correct"]
    assert len(tested) == result["n"]
    assert all(Path(row["name"]).parent.name == row["label"] for row in rows)


def test_evaluate_lists_what_the_file_itself_says(edgecnn: Edgecnn, exported: dict[str, Path], tmp_path: Path) -> None:
    new = write_shapes(tmp_path / "new", each=7, seed=5)
    done = edgecnn("evaluate", exported["int8"], new, "--output", tmp_path / "said.csv")
    assert done.code == 0
    rows = rows_of(tmp_path / "said.csv")
    assert len(rows) == 21
    with Classifier(exported["int8"]) as model:
        for row in rows[:5]:
            own = model.predict(new / row["name"])
            assert row["given"] == own.label
            assert float(row["score"]) == pytest.approx(own.score, abs=1e-4)
            assert row["unknown"] == ("yes" if own.unknown else "no" if model.card.unknown_below else "")


def test_the_scores_of_a_run_are_those_of_its_list(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    assert edgecnn("evaluate", trained, "--output", tmp_path / "again.csv").code == 0
    own = [row for row in rows_of(trained / "predictions.csv") if row["split"] == "test"]
    assert rows_of(tmp_path / "again.csv") == own
