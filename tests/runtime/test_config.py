"""``predict --config``: a TOML file whose keys are the flags."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command import Edgecnn, Outcome

from edgecnn.cli.config import check_config
from edgecnn.cli.predict import predict
from edgecnn.errors import UsageError


@pytest.fixture
def config(tmp_path: Path, colors: Path) -> Path:
    path = tmp_path / "door.toml"
    path.write_text(f'model = "{colors}"\nsource = "test:?frames=3&fps=0"\ntop = 1\nself-test = false\n')
    return path


def tops(done: Outcome) -> list[int]:
    return [len(json.loads(line)["top"]) for line in done.out.splitlines()]


def test_the_file_names_model_source_and_options_and_what_is_typed_wins(
    edgecnn: Edgecnn, config: Path, colors: Path, tmp_path: Path
) -> None:
    done = edgecnn("predict", "--config", config)
    assert (done.code, tops(done)) == (0, [1, 1, 1])
    assert tops(edgecnn("predict", "--config", config, "--top", 2)) == [2, 2, 2]
    assert tops(edgecnn("predict", colors, "test:?frames=1&fps=0", "--config", config)) == [1]


def test_what_can_be_repeated_takes_one_text_or_a_list(edgecnn: Edgecnn, config: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    with config.open("a") as file:
        file.write(f'to = ["jsonl:{one}", "jsonl:{two}"]\nstats-every = 10\nretry-first = true\n')
    assert edgecnn("predict", "--config", config).code == 0
    assert one.read_text() == two.read_text() != ""


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("topp = 3", 2, "received 'topp'; did you mean 'top'?"),
        ('sources = ["pi"]', 2, "received 'sources'; did you mean 'source'?"),
        ("stats_every = 3", 2, "received 'stats_every'; did you mean 'stats-every'?"),
        ('config = "other.toml"', 2, "received 'config'"),
        ('threads = "two"', 2, "threads must be a whole number; received 'two'"),
        ("batch = true", 2, "batch must be a whole number; received True"),
        ("stats-every = 'x'", 2, "stats-every must be a number; received 'x'"),
        ('retry-first = "yes"', 2, "retry-first must be true or false; received 'yes'"),
        ("to = [1]", 2, "to must be a text in quotation marks, or a list of such; received [1]"),
        ('device = ["cpu"]', 2, "device must be a text in quotation marks; received ['cpu']"),
        ('to = [["http://user:secret@x"]]', 2, "received a list of lists or tables"),
        ('to = [{ url = "x", password = "secret" }]', 2, "received a list of lists or tables"),
        ('device = { password = "secret" }', 2, "device must be a text in quotation marks; received a table"),
        ('device = "http://user:secret@x"', 2, "device must be"),
        ('"rtsp://user:secret@x" = 1', 2, "keys must be among"),
        ("stats-every = 1" + "0" * 400, 2, "stats-every must be 0.1 to 86400; received 1000"),
        ("batch = 1" + "0" * 4080, 2, "batch must be 1 to 1e+15; received 1000"),
        ("stats-every = nan", 2, "stats-every must be 0.1 to 86400; received nan"),
        ("stats-every = -inf", 2, "stats-every must be 0.1 to 86400; received -inf"),
        ("batch = 0", 2, "door.toml: batch must be 1 to 1e+15; received 0"),
        ("threads = 0", 2, "threads"),
        ("to = " + "[" * 4000, 2, "must not be nested so deeply"),
        ("a." * 3000 + "a = 1", 3, "at most 64 KB with lines of at most 4,096 characters; received "),
        ("[predict]", 2, "received 'predict'"),
        ("batch = ", 2, "must be TOML"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(edgecnn: Edgecnn, config: Path, line: str, code: int, message: str) -> None:
    with config.open("a") as file:
        file.write(line + "\n")
    done = edgecnn("predict", "--config", config)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "secret" not in done.err


def test_a_file_that_cannot_be_read_is_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path, Path(os.devnull)):
        done = edgecnn("predict", "--config", path)
        assert done.code == 3
        assert "--config must name" in done.err
        assert str(path) in done.err
    assert "--config must name a file that can be read; ''" in edgecnn("predict", "--config", "").err
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    done = edgecnn("predict", "--config", binary)
    assert (done.code, "--config must be text in UTF-8" in done.err) == (2, True)
    large = tmp_path / "large.toml"
    large.write_text("# nothing\n" * 200_000)
    assert "at most 64 KB" in edgecnn("predict", "--config", large).err


def test_a_file_may_begin_with_the_mark_of_a_windows_editor(edgecnn: Edgecnn, config: Path) -> None:
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    assert edgecnn("predict", "--config", config).code == 0


def test_a_file_without_model_or_source_wants_them_typed(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.write_text("top = 1\n")
    assert f"a model must be named; {empty} names none: add model" in edgecnn("predict", "--config", empty).err
    assert f"a source must be named; {empty} names none" in edgecnn("predict", colors, "--config", empty).err
    typed = edgecnn("predict", "test:?frames=1", "--config", empty)
    assert (typed.code, "a model must stand before what it looks at" in typed.err) == (2, True)
    assert edgecnn("predict", colors, "test:?frames=1&fps=0", "--config", empty).code == 0


def test_a_file_can_be_checked_without_running_anything(edgecnn: Edgecnn, tmp_path: Path) -> None:
    file = tmp_path / "door.toml"
    file.write_text('model = "not here yet.onnx"\nsource = "usb:7"\ntop = 2\n')
    check_config(file, predict)
    for line in ("tpo = 2", "top = 0", 'top = "2"'):
        file.write_text(f'model = "m.onnx"\nsource = "test:"\n{line}\n')
        with pytest.raises(UsageError) as refused:
            check_config(file, predict)
        told = str(refused.value).removeprefix(f"{file}: ")
        assert told in edgecnn("predict", "--config", file).err.replace(" \n", " "), "as the command itself does"
