from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import cast

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import plugins
from edgecnn.errors import SinkError, UsageError, printable
from edgecnn.opening import open_sinks
from edgecnn.prediction import ErrorResult, Prediction, Result
from edgecnn.sinks.table import _cells, _fit

SCHEMA = json.loads(files("edgecnn").joinpath("record.schema.json").read_text(encoding="utf-8"))
SINKS = plugins.names("edgecnn.sinks")
TEXT_SINKS = [name for name in SINKS if hasattr(plugins.load("edgecnn.sinks", name), "Lines")]
MS = {"decode": 1.25, "preprocess": 0.5, "inference": 2.0}
FAILED = ErrorResult("b.txt", "not an image")


def result(source: str = "a.jpg", scores: tuple[float, ...] = (0.25, 0.75), *, unknown: bool = False) -> Result:
    labels = ("one", "two", "three")[: len(scores)]
    prediction = Prediction(np.array(scores, np.float32), labels, unknown)
    return Result(source, prediction, "signs@0123456789ab", "cpu", MS, image=np.zeros((4, 4, 3), np.uint8))


def written(uri: str, path: Path, *results: Result | ErrorResult, top: int = 3) -> str:
    sink = open_sinks([f"{uri}:{path}"], top=top)
    for item in results:
        sink.write(item)
    sink.close()
    return path.read_text(encoding="utf-8")


def test_a_json_record_is_exactly_this(tmp_path: Path) -> None:
    lines = written("jsonl", tmp_path / "out", result(), FAILED).splitlines()
    assert json.loads(lines[0]) == {
        "type": "prediction",
        "source": "a.jpg",
        "label": "two",
        "score": 0.75,
        "top": [{"label": "two", "score": 0.75}, {"label": "one", "score": 0.25}],
        "unknown": False,
        "model": "signs@0123456789ab",
        "device": "cpu",
        "ms": MS,
    }
    assert json.loads(lines[1]) == {"type": "error", "source": "b.txt", "error": "not an image"}


@given(st.text(min_size=1), st.floats(0, 1, width=32), st.booleans(), st.integers(1, 4))
def test_every_record_satisfies_the_published_schema(source: str, score: float, unknown: bool, top: int) -> None:
    record = result(source, (score, 1 - score), unknown=unknown).to_record(top)
    for entry in (record, ErrorResult(source, source).to_record()):
        again = json.loads(json.dumps(entry, ensure_ascii=False).encode("utf-8"))
        jsonschema.validate(again, SCHEMA, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("change", [{"type": "other"}, {"score": 2}, {"model": "signs"}, {"unknown": "no"}])
def test_the_schema_refuses_what_is_no_record(change: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cast(object, result().to_record(3) | change), SCHEMA)


def test_the_label_is_the_first_class_even_where_the_model_does_not_know() -> None:
    record = result(unknown=True).to_record(1)
    assert (record["label"], record["unknown"]) == ("two", True)


def test_csv_has_a_header_and_a_row_for_every_result(tmp_path: Path) -> None:
    text = written("csv", tmp_path / "out", result('a "quoted",name.jpg'), FAILED, top=2)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0] | {"device": "cpu"} == {
        "source": 'a "quoted",name.jpg',
        "label": "two",
        "score": "0.750000",
        "label_2": "one",
        "score_2": "0.250000",
        "unknown": "false",
        "error": "",
        "model": "signs@0123456789ab",
        "device": "cpu",
        "decode_ms": "1.250",
        "preprocess_ms": "0.500",
        "inference_ms": "2.000",
        "capture_to_label_ms": "",
        "glass_to_label_ms": "",
        "index": "",
        "time": "",
    }
    live = dataclasses.replace(result(), index=7, time=1_795_000_000.5, ms={"decode": 1.0, "capture_to_label": 5.0})
    (row,) = csv.DictReader(io.StringIO(written("csv", tmp_path / "live", live)))
    assert (row["index"], row["time"], row["capture_to_label_ms"]) == ("7", "2026-11-18T11:06:40.500Z", "5.000")
    jsonschema.validate(cast(object, live.to_record(3) | {"ms": result().to_record(3)["ms"]}), SCHEMA)
    assert {name: value for name, value in rows[1].items() if value} == {"source": "b.txt", "error": "not an image"}


def test_the_table_aligns_labels_scores_and_bars(tmp_path: Path) -> None:
    results = result("a.jpg", (0.1, 0.9, 0)), result("數字.jpg", (0.5, 0.1, 0.4)), FAILED
    text = written("table", tmp_path / "out", *results)
    # 32 cells for the name, 7 for the label ("unknown" must fit), 20 for the bar
    assert text.splitlines() == [
        "a.jpg" + " " * 29 + "two      0.90 " + "▇" * 18 + " " * 2 + "     3.8 ms   one 0.10  three 0.00",
        "數字.jpg" + " " * 26 + "one      0.50 " + "▇" * 10 + " " * 10 + "     3.8 ms   three 0.40  two 0.10",
        "b.txt" + " " * 29 + "error: not an image",
    ]


def test_the_table_says_unknown_where_the_model_does_not_know(tmp_path: Path) -> None:
    assert "  unknown" not in written("table", tmp_path / "a", result())
    assert "  unk" in written("table", tmp_path / "b", result(unknown=True))


@given(st.text(), st.integers(2, 40))
def test_a_cell_is_as_wide_as_asked_for_and_shows_no_control_character(text: str, cells: int) -> None:
    cell = _fit(text, cells)
    assert cell.isprintable()
    assert _cells(cell) == cells


def test_control_characters_in_names_and_errors_do_not_reach_the_terminal(tmp_path: Path) -> None:
    hostile = "\x1b[2J\r\n\u202e\udcff.jpg"
    text = written("table", tmp_path / "out", result(hostile), ErrorResult(hostile, hostile))
    assert text.count("\n") == 2
    assert text.replace("\n", "").isprintable()


def test_printable_leaves_letters_of_every_script_alone() -> None:
    assert printable("Straße 数字 é") == "Straße 数字 é"
    assert printable("\x1b[2J\n") == "\\x1b[2J\\n"


@pytest.mark.parametrize("scheme", TEXT_SINKS)
def test_names_that_are_not_utf8_can_be_written(tmp_path: Path, scheme: str) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert "caf" in written(scheme, tmp_path / "out", result(name), ErrorResult(name, name))


@pytest.mark.parametrize("scheme", TEXT_SINKS)
def test_every_line_is_out_as_soon_as_it_is_written(tmp_path: Path, scheme: str) -> None:
    sink = open_sinks([f"{scheme}:{tmp_path / 'out'}"])
    sink.write(result())
    assert (tmp_path / "out").read_text(encoding="utf-8").endswith("\n")
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="closed sink"):
        sink.write(result())


@pytest.mark.parametrize("scheme", TEXT_SINKS)
@pytest.mark.parametrize("top", ["1001", "9" * 5000, "²"])
def test_more_labels_than_anybody_reads_are_refused(tmp_path: Path, scheme: str, top: str) -> None:
    with pytest.raises(UsageError, match="top must be a number of 1 to 1,000; received '"):
        open_sinks([f"{scheme}:{tmp_path / 'out'}?top={top}"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheme", TEXT_SINKS)
def test_a_null_byte_in_a_name_is_told(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(SinkError, match="null byte in the name"):
        open_sinks([f"{scheme}:{tmp_path / 'out'}%00b"])


def test_two_spellings_of_one_file_are_one_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a.csv")
    for other in (tmp_path / "link", tmp_path / "sub" / ".." / "a.csv", f"{tmp_path}/%61.csv"):
        with pytest.raises(UsageError, match="is named twice"):
            open_sinks([f"csv:{tmp_path / 'a.csv'}", f"jsonl:{other}"])


@pytest.mark.parametrize("scheme", SINKS)
def test_every_sink_takes_results_and_errors_and_is_closed_as_often_as_one_likes(tmp_path: Path, scheme: str) -> None:
    module = plugins.load("edgecnn.sinks", scheme)
    assert scheme in module.SCHEMES
    sink = module.open(f"{scheme}:{tmp_path / 'out'}", {"top": "1"})
    for item in (result(), FAILED, result(unknown=True)):
        sink.write(item)
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="a closed sink cannot be written to; open it again"):
        sink.write(result())
    with pytest.raises(UsageError, match=f"options of the sink {scheme} must be one of .*; received 'topp'"):
        module.open(f"{scheme}:{tmp_path / 'out'}", {"topp": "1"})
    with pytest.raises(UsageError, match=r"top must be a number (from 1 on|of 1 to 1,000); received '0'"):
        module.open(f"{scheme}:{tmp_path / 'other'}", {"top": "0"})
    with pytest.raises(UsageError, match="must name"):
        module.open(f"{scheme}:", {})


@pytest.mark.parametrize("scheme", TEXT_SINKS)
def test_a_dash_is_standard_output(scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    sink = open_sinks([f"{scheme}:-"])
    sink.write(result())
    sink.close()
    assert "a.jpg" in capsys.readouterr().out


def test_all_sinks_get_every_result_and_each_may_have_its_own_top(tmp_path: Path) -> None:
    sink = open_sinks([f"jsonl:{tmp_path / 'a'}?top=1", f"jsonl:{tmp_path / 'b'}"], top=2)
    sink.write(result())
    sink.close()
    assert [len(json.loads((tmp_path / name).read_text())["top"]) for name in "ab"] == [1, 2]


@pytest.mark.parametrize(
    ("uris", "message"),
    [
        ([], "needs a sink"),
        (["out.jsonl"], "must begin with one of csv, images, jsonl, table and a colon; received 'out.jsonl'"),
        (["xml:-"], "must begin with one of csv, images, jsonl, table"),
        (["jsonl:"], "must name where to write"),
        (["jsonl:-?topp=3"], "options of the sink jsonl must be one of top, only, every; received 'topp'"),
        (["jsonl:-?top=0"], "top must be a number of 1 to 1,000; received '0'"),
        (["jsonl:-?top=many"], "top must be a number of 1 to 1,000; received 'many'"),
    ],
)
def test_a_sink_without_meaning_is_refused(uris: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_sinks(uris)


def test_a_file_that_cannot_be_written_names_it_and_the_cause(tmp_path: Path) -> None:
    with pytest.raises(
        SinkError, match=r"cannot be written to .*nowhere/out.* \(No such file or directory\); name another"
    ):
        open_sinks([f"jsonl:{tmp_path}/nowhere/out"])
    with pytest.raises(SinkError, match="Is a directory"):
        open_sinks([f"jsonl:{tmp_path}"])


def test_a_full_disk_is_a_sink_error() -> None:
    sink = open_sinks(["jsonl:/dev/full"])
    with pytest.raises(SinkError, match="No space left on device"):
        sink.write(result())
    with pytest.raises(SinkError, match="No space left on device"):
        sink.close()


def test_a_photo_or_a_model_is_not_overwritten_with_results(tmp_path: Path, photos: Path, colors: Path) -> None:
    for path in (photos / "2.png", photos / "inner" / "1.jpg", colors):
        before = path.read_bytes()
        with pytest.raises(SinkError, match="holds no text, so it is not overwritten"):
            open_sinks([f"csv:{path}"])
        assert path.read_bytes() == before
    (tmp_path / "old.jsonl").write_text('{"type": "error"}\n')
    assert "one" in written("jsonl", tmp_path / "old.jsonl", result())


def test_a_question_mark_in_a_file_name_is_written_as_its_code(tmp_path: Path) -> None:
    open_sinks([f"jsonl:{tmp_path}/what%3F"]).close()
    assert (tmp_path / "what?").exists()


def test_an_unknown_picture_is_called_so_and_its_likeliest_labels_follow(tmp_path: Path) -> None:
    row = written("table", tmp_path / "out", result(scores=(0.45, 0.55), unknown=True))
    assert "unknown" in row
    assert row.rstrip().endswith("two 0.55  one 0.45")
