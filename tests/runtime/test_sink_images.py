"""The sink of annotated pictures: what they are called, what it leaves alone, and what goes wrong."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx_bytes
import onnx_networks
import pytest
from command import Edgecnn
from full_disk import files_of_at_most
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from edgecnn.errors import SinkError, UsageError
from edgecnn.opening import open_sinks
from edgecnn.prediction import ErrorResult, Prediction, Result, Sink
from edgecnn.sinks.images import MARK, stem_of

GREY = np.full((60, 80, 3), 128, np.uint8)
LABELS = ("cat", "dog", "bird")


PREDICTION = Prediction(np.array([0.7, 0.2, 0.1], np.float32), LABELS)


def result(source: str = "photos/cat.jpg", index: int | None = None) -> Result:
    return Result(source, PREDICTION, "pets@0123456789ab", "cpu", {}, image=GREY, index=index)


def drawn(sink: Sink, *results: Result | ErrorResult) -> None:
    for item in results:
        sink.write(item)
    sink.close()


# what files there are


def test_each_prediction_is_a_picture_with_our_mark(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "drawn"
    drawn(open_sinks([f"images:{folder}"]), result(), ErrorResult("notes.txt", "not an image"), result("b/dog.png"))
    assert sorted(os.listdir(folder)) == ["cat.jpg", "dog.jpg"]
    with PILImage.open(folder / "cat.jpg") as picture:
        assert (picture.format, picture.mode, picture.info["comment"]) == ("JPEG", "RGB", MARK.encode())
    drawn(open_sinks([f"images:{tmp_path}/png?format=png"]), result())
    with PILImage.open(tmp_path / "png" / "cat.png") as picture:
        assert (picture.format, picture.info["Software"]) == ("PNG", MARK)


def test_equal_names_get_numbers_and_frames_of_a_feed_theirs(tmp_path: Path) -> None:
    sources = ["a/cat.jpg", "b/cat.jpg", "CAT.png", "cat-2.jpg", "cat"]
    drawn(open_sinks([f"images:{tmp_path}/a"]), *map(result, sources))
    assert sorted(os.listdir(tmp_path / "a")) == ["CAT-3.jpg", "cat-2-2.jpg", "cat-2.jpg", "cat-4.jpg", "cat.jpg"]
    drawn(open_sinks([f"images:{tmp_path}/b"]), *(result("test:", index) for index in (0, 7)))
    assert sorted(os.listdir(tmp_path / "b")) == ["test-000000.jpg", "test-000007.jpg"]


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("../../etc/passwd", "passwd"),
        ("/absolute/.hidden.jpg", "hidden"),
        ("..", "picture"),
        ("-", "picture"),
        ("", "picture"),
        ("new\nline\x00.jpg", "new_line"),
        ("C:\\photos\\cat.jpg", "cat"),
        ("rtsp://user:secret@camera.local/live/1?token=secret", "1"),
        ("rtsp://user:secret@camera.local:554", "camera.local_554"),
        ("rtsp://user:sec?ret@camera.local/live", "picture"),
        ("rtsp://user:sec/ret@camera.local/live", "live"),
        ("rtsp://camera.local/live?token=sec@ret", "picture"),
        ("pi:0", "pi_0"),
        ("what?.jpg", "what"),
        ("a.b.c.jpeg", "a.b.c"),
        ("v1.2 final", "v1.2 final"),
        ("数字.png", "数字"),
        ("caf\udce9.jpg", "caf"),
    ],
)
def test_the_name_of_a_source_as_a_file(source: str, stem: str) -> None:
    assert stem_of(source) == stem


@given(st.text())
def test_any_source_gives_a_plain_file_name_within_what_file_systems_take(source: str) -> None:
    stem = stem_of(source)
    assert 0 < len(stem.encode()) <= 100
    assert stem.isprintable()
    assert not set(stem) & set('/\\:*?"<>|')
    assert not stem.startswith((".", "-", "~"))


def test_very_long_names_keep_their_end_where_they_differ(tmp_path: Path) -> None:
    sources = ["x" * 300 + f"{number}.jpg" for number in (1, 2)]
    drawn(open_sinks([f"images:{tmp_path}/out"]), *map(result, sources))
    assert [name[-7:] for name in sorted(os.listdir(tmp_path / "out"))] == ["xx1.jpg", "xx2.jpg"]


# what is left alone


def test_a_folder_that_is_not_empty_is_refused_and_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SinkError, match=r"holds 1, 'notes.txt' for one: name another, or add overwrite=1"):
        open_sinks([f"images:{tmp_path}"])
    with pytest.raises(SinkError, match=r"cannot be written to '.*notes.txt' \(File exists\); name another folder"):
        open_sinks([f"images:{tmp_path / 'notes.txt'}"])
    with pytest.raises(SinkError, match="Not a directory"):
        open_sinks([f"images:{tmp_path / 'notes.txt' / 'deeper'}"])
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".DS_Store").write_text("")
    open_sinks([f"images:{tmp_path / 'hidden'}"]).close()


def test_overwriting_replaces_what_the_sink_has_drawn_and_nothing_else(tmp_path: Path) -> None:
    photo = PILImage.fromarray(GREY)
    photo.save(tmp_path / "cat.jpg")
    (tmp_path / "dog.jpg").mkdir()
    mine = (tmp_path / "cat.jpg").read_bytes()
    for _ in range(2):
        drawn(open_sinks([f"images:{tmp_path}?overwrite=1"]), result("a/cat.jpg"), result("dog.jpg"))
        assert sorted(os.listdir(tmp_path)) == ["cat-2.jpg", "cat.jpg", "dog-2.jpg", "dog.jpg"]
        assert (tmp_path / "cat.jpg").read_bytes() == mine
    before = (tmp_path / "cat-2.jpg").read_bytes()
    drawn(open_sinks([f"images:{tmp_path}?overwrite=1&top=1"]), result("a/cat.jpg"))
    assert (tmp_path / "cat-2.jpg").read_bytes() != before


def test_a_drawn_picture_that_is_read_again_is_not_written_over(tmp_path: Path) -> None:
    drawn(open_sinks([f"images:{tmp_path}/out"]), result())
    before = (tmp_path / "out" / "cat.jpg").read_bytes()
    drawn(open_sinks([f"images:{tmp_path}/out?overwrite=1&top=1"]), result(f"{tmp_path}/out/cat.jpg"))
    assert (tmp_path / "out" / "cat.jpg").read_bytes() == before
    assert (tmp_path / "out" / "cat-2.jpg").exists()


def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cat.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    drawn(open_sinks([f"images:{tmp_path}/out?overwrite=1"]), result())
    assert not (tmp_path / "elsewhere.jpg").exists()
    assert (tmp_path / "out" / "cat-2.jpg").exists()


def test_a_hidden_link_in_the_place_of_the_unfinished_picture_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / ".cat.jpg.partial").symlink_to(tmp_path / "mine.txt")
    drawn(open_sinks([f"images:{tmp_path}/drawn"]), result())
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert os.listdir(tmp_path / "drawn") == ["cat.jpg"]
    assert not (tmp_path / "drawn" / "cat.jpg").is_symlink()


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    drawn(open_sinks([f"images:{tmp_path}/new"]), ErrorResult("x", "not an image"))
    assert os.listdir(tmp_path) == []
    (tmp_path / "old").mkdir()
    drawn(open_sinks([f"images:{tmp_path}/old"]))
    assert os.listdir(tmp_path) == ["old"]


# what goes wrong


def test_a_full_disk_is_a_sink_error_without_a_part_of_a_picture(tmp_path: Path) -> None:
    sink = open_sinks([f"images:{tmp_path}/out"])
    sink.write(result("first.jpg"))
    with files_of_at_most(1000), pytest.raises(SinkError, match=r"second.jpg' \(File too large\); free some space"):
        sink.write(result("second.jpg"))
    sink.close()
    assert os.listdir(tmp_path / "out") == ["first.jpg"]


def test_a_folder_that_is_gone_is_a_sink_error(tmp_path: Path) -> None:
    sink = open_sinks([f"images:{tmp_path}/out"])
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(SinkError, match="No such file or directory"):
        sink.write(result())
    sink.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="Permission denied"):
        open_sinks([f"images:{tmp_path}"])


def test_as_many_are_drawn_as_may_be_and_then_it_is_told_once(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="^2 pictures are in .*, no more are drawn$") as told:
        drawn(open_sinks([f"images:{tmp_path}/a?max=2"]), *[result()] * 5)
    assert (len(told), len(os.listdir(tmp_path / "a"))) == (1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(open_sinks([f"images:{tmp_path}/b?max=2"]), *[result()] * 2)


def test_a_live_feed_stops_at_a_thousand_unless_asked_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.sinks.images._LIVE_MAX", 3)  # a thousand take seconds to draw
    feed = [result("test:", index) for index in range(5)]
    with pytest.warns(UserWarning, match="3 pictures are in .*; max=0 has no limit"):
        drawn(open_sinks([f"images:{tmp_path}/a"]), *feed)
    drawn(open_sinks([f"images:{tmp_path}/b?max=0"]), *feed)
    drawn(open_sinks([f"images:{tmp_path}/c"]), *[result()] * 5)
    assert [len(os.listdir(tmp_path / name)) for name in "abc"] == [3, 5, 5]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("images:", "must name a folder; received 'images:': type images:drawn"),
        ("images:-", "must name a folder"),
        ("images:x?format=gif", "format must be one of jpeg, png; received 'gif'"),
        ("images:x?explain=yes", "explain must be 0 or 1; received 'yes'"),
        ("images:x?overwrite=", "overwrite must be 0 or 1; received ''"),
        ("images:x?max=-1", "max must be a number from 0 on; received '-1'"),
        ("images:x?max=", "max must be a number from 0 on; received ''"),
        ("images:x?heat=1", "must be one of explain, format, max, overwrite, top, only, every; received 'heat'"),
    ],
)
def test_an_option_without_meaning_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        open_sinks([uri])
    assert os.listdir(tmp_path) == []


def test_a_result_without_its_picture_or_explanation_says_how_to_get_them(tmp_path: Path) -> None:
    bare = Result("a.jpg", PREDICTION, "pets@0123456789ab", "cpu", {})
    with pytest.raises(UsageError, match=r"pass results on with edgecnn\.run"):
        open_sinks([f"images:{tmp_path}/a"]).write(bare)
    with pytest.raises(UsageError, match=r"pass results on with edgecnn\.run"):
        open_sinks([f"images:{tmp_path}/b?explain=1"]).write(result())


# the command


@pytest.fixture
def explaining(tmp_path: Path) -> Path:
    path = tmp_path / "explaining.onnx"
    graph = onnx_networks.explained(onnx_networks.convolutional())
    path.write_bytes(onnx_bytes.with_card(graph))
    return path


def test_predict_draws_pictures_and_still_gives_records(edgecnn: Edgecnn, explaining: Path, photos: Path) -> None:
    plain = edgecnn("predict", explaining, photos)
    out = photos.parent / "drawn"
    end = edgecnn("predict", explaining, photos, "--to", f"images:{out}?explain=1", "--to", "jsonl:-")
    assert end.code == 0
    assert sorted(os.listdir(out)) == ["1.jpg", "10.jpg", "2.jpg"]
    assert [line.partition('"ms"')[0] for line in end.out.splitlines()] == [
        line.partition('"ms"')[0] for line in plain.out.splitlines()
    ]


def test_a_model_that_does_not_explain_is_exit_2_with_the_remedy(edgecnn: Edgecnn, colors: Path, photos: Path) -> None:
    out = photos.parent / "drawn"
    end = edgecnn("predict", colors, photos, "--to", f"images:{out}?explain=1")
    assert (end.code, end.out) == (2, "")
    assert "has none: export it again, with `edgecnn export RUN --explain`" in end.err
    assert not out.exists()
    assert edgecnn("predict", colors, photos, "--to", f"images:{out}").code == 0


def test_the_folder_of_the_pictures_themselves_is_refused(edgecnn: Edgecnn, colors: Path, photos: Path) -> None:
    end = edgecnn("predict", colors, photos, "--to", f"images:{photos}?overwrite=1")
    assert end.code == 2
    assert "results must not overwrite an input" in end.err
    end = edgecnn("predict", colors, photos / "2.png", "--to", f"images:{photos}")
    assert end.code == 6
    assert "pictures must go into an empty folder" in end.err


def test_a_live_feed_is_drawn_with_its_frames_numbers(edgecnn: Edgecnn, explaining: Path, tmp_path: Path) -> None:
    to = f"images:{tmp_path}/drawn?max=2&explain=1"
    with pytest.warns(UserWarning, match="2 pictures are in"):
        end = edgecnn("predict", explaining, "test:?frames=3&fps=0", "--to", to)
    assert end.code == 0
    assert sorted(os.listdir(tmp_path / "drawn")) == ["test-000000.jpg", "test-000001.jpg"]
