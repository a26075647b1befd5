"""Hosts, sources and configurations as they are typed, and the table that is shown."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from command import Edgecnn
from edgecnn_deploy import named, settings
from edgecnn_deploy.connection import Outcome
from edgecnn_deploy.hosts import Host, parse_hosts
from edgecnn_deploy.order import checked_model
from edgecnn_deploy.report import table
from full_disk import files_of_at_most
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import bundled
from edgecnn.config_file import read_config_file
from edgecnn.errors import UsageError

MODEL = "/opt/edgecnn/models/door.onnx"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("raspberrypi", ["--", "raspberrypi"]),
        ("pi@door-2.local", ["--", "pi@door-2.local"]),
        ("pi@10.0.0.7:2222", ["-p", "2222", "--", "pi@10.0.0.7"]),
        ("ssh://pi@door:22/", ["-p", "22", "--", "pi@door"]),
        ("pi@[fe80::1%eth0]:2222", ["-p", "2222", "--", "pi@fe80::1%eth0"]),
        ("fe80::1%eth0", ["--", "fe80::1%eth0"]),
        ("pi@::1", ["--", "pi@::1"]),
        ("my_alias", ["--", "my_alias"]),
    ],
)
def test_a_host_is_what_ssh_takes_and_a_port(typed: str, words: list[str]) -> None:
    assert Host.parse(typed).words() == words


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "-oProxyCommand=id",
        "a b",
        "pi@",
        "@door",
        "door:0",
        "door:65536",
        "door:x",
        "a;id",
        "$(id)",
        "a\nb",
        "pi@-x",
        "-l@::1",
    ],
)
def test_what_is_no_host_is_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="a host must be as ssh takes it"):
        Host.parse(typed)


@pytest.mark.parametrize(
    "typed", ["pi:Geheim@h", "pi:Ge@h/e im@h:22", "rtsp://u:Geheim@h/x", "ssh://u:Geheim@h", "http://h/?token=Geheim"]
)
def test_a_password_in_the_place_of_a_host_or_a_model_is_not_shown(edgecnn: Edgecnn, typed: str) -> None:
    for words in ([typed], [typed, "door"], ["digits", typed], ["digits", f"{typed}.onnx"], ["--uninstall", typed]):
        done = edgecnn("deploy", *words)
        assert done.code in (2, 4), done.err
        assert "***" in done.err
        assert "Ge" not in done.err
        assert "eim" not in done.err


def test_a_host_is_named_once() -> None:
    assert len(parse_hosts(["a", "pi@a", "a:2222"])) == 3
    with pytest.raises(UsageError, match="'a:22' is named again"):
        parse_hosts(["a:22", "b", "ssh://a:22"])
    for same in ("a:22", "A", "ssh://A:22/"):
        with pytest.raises(UsageError, match="each host must be named once; 'a' is named again"):
            parse_hosts(["a", same])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_sources_come_back_from_the_configuration_as_they_were_typed(sources: list[str]) -> None:
    text = settings.of_sources(sources, MODEL, "door")
    assert tomllib.loads(settings.completed(text, MODEL, "x")) == {
        "model": MODEL,
        "source": sources,
        "to": ["jsonl:-?only=change&every=1"],
    }


def test_a_full_disk_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sources").write_text("test:\n")
    out = tmp_path / ".install/config.toml"
    out.parent.mkdir()
    there = tmp_path / "none.toml"
    monkeypatch.setattr("sys.argv", ["-c", "sources", f"{tmp_path}/sources", MODEL, f"{there}", f"{out}"])
    with files_of_at_most(10), pytest.raises(SystemExit) as end:
        settings.make()
    assert end.value.code == 3
    said = capsys.readouterr().err
    assert said == f"error: there must be room on the disk of {tmp_path}; it is full: free some space\n"


def test_a_configuration_gets_the_model_where_it_names_none() -> None:
    text = "# mine\nsource = 'usb:0'\n[other]\n"
    assert tomllib.loads(settings.completed(text, MODEL, "x"))["model"] == MODEL
    named = f"source = ['pi']\nmodel = '{MODEL}'\n"
    assert settings.completed(named, MODEL, "x") == named


def test_a_configuration_may_come_from_an_editor_that_marks_its_files(tmp_path: Path) -> None:
    path = tmp_path / "door.toml"
    path.write_text("source = 'pi'\n", encoding="utf-8-sig")
    settings.check(path)
    assert tomllib.loads(settings.completed(read_config_file(str(path)), MODEL, "x")) == {
        "model": MODEL,
        "source": "pi",
    }


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ('["pi"]', ["pi"]),
        ('"pi:1?fps=5"', ["pi"]),
        ('["pi?fps=5", "usb:0"]', ["pi", "video"]),
        ('["rtsp://x/y"]', ["video"]),
        ('["/dev/video0"]', ["video"]),
        ('["picamera2:", "pictures/", "http://x/y", "test:"]', []),
    ],
)
def test_what_a_source_needs_is_seen_from_its_beginning(source: str, needs: list[str]) -> None:
    assert settings.needs(f"source = {source}") == needs


@pytest.mark.parametrize(
    ("sources", "sinks", "says"),
    [
        (
            ["tset:"],
            [],
            "the source 'tset:': a source must begin with one of exec, file, .*'tset': did you mean test:\\?",
        ),
        (["rstp://u:Geheim@h/x"], [], r"the source 'rstp://\*\*\*@h/x': .* received 'rstp': did you mean rtsp:\?"),
        (["ftp://h/x"], [], "received 'ftp': "),
        (["pi?rotate=45"], [], "the source 'pi.rotate=45': rotate must be 0, 90, 180 or 270; received '45'"),
        (["test:?stall=0"], [], "stall must be a number of seconds"),
        (["test:?every=0"], [], "every must be a whole number"),
        (["rtsp://h/x?a=b#policy=latest"], [], "policy must be newest or all; received 'latest'"),
        (["usb:0?fps"], [], "options after . must be name=value, joined by &; received 'fps'"),
        (
            [],
            ["jsn:-"],
            "the sink 'jsn:-': a sink must begin with one of csv, .* received 'jsn': did you mean jsonl:\\?",
        ),
        ([], ["jsonl"], "a sink must begin with one of"),
        ([], ["jsonl:-?only=chang"], "the sink 'jsonl:-.only=chang': only must be change; received 'chang'"),
        ([], ["csv:x.csv?every=soon"], "every must be a number of seconds"),
    ],
)
def test_sources_and_sinks_without_meaning_are_told_before_anything_is_opened(
    sources: list[str], sinks: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        named.check(sources, sinks)
    assert "Geheim" not in str(refused.value)


def test_sources_and_sinks_that_may_be_meant_are_left_to_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd:name").touch()
    cameras = ["pi", "pi:1?fps=5&rotate=90", "usb:0", "/dev/video0", "RTSP://u:p@h/x?a=1#stall=5", "test:?no=1"]
    others = [
        "pictures/*.jpg",
        "2026-01-01T10:30.jpg",
        "10:30.jpg",
        "odd:name",
        "-",
        "http://h/x",
        "exec:cat ?format=jpeg",
    ]
    named.check([*cameras, *others], ["jsonl:-?only=change&every=1", "images:drawn", "table:-"])


def test_the_table_has_a_row_for_each_device() -> None:
    values = {"label": "five", "score": "0.97", "latency_ms": "38", "memory_mb": "78", "temperature_c": "51"}
    outcomes = [
        Outcome(Host.parse("pi@door"), values | {"state": "installed"}),
        Outcome(Host.parse("shed"), {"state": "rolled-back"}, "why"),
        Outcome(Host.parse("attic"), {}, "why"),
    ]
    assert table(outcomes) == [
        "host     label  score  latency  memory  temperature  state",
        "pi@door  five    0.97    38 ms   78 MB        51 °C  installed",
        "shed     –          –        –       –            –  rolled-back",
        "attic    –          –        –       –            –  failed",
    ]


def test_a_model_that_comes_with_edgecnn_is_deployed_by_its_name() -> None:
    told: list[str] = []
    assert checked_model(Path("digits"), told.append) == bundled.file("digits")
    assert told == ["digits: digits, int8, 10 labels"]
