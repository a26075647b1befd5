from __future__ import annotations

import importlib
import inspect
import io
import os
import socket
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image as PILImage

from edgecnn import plugins
from edgecnn.errors import SourceError, UsageError
from edgecnn.frames import Failure, Frame
from edgecnn.opening import open_source

PACKAGES = ("edgecnn.sources", "edgecnn.sinks")
PLUGINS = [(package, name) for package in PACKAGES for name in plugins.names(package)]


def names(*uris: object, under: Path) -> list[str]:
    """What a source yields, by its path below `under`."""
    return [os.path.relpath(item.source, under) for item in open_source(*map(str, uris))]


@pytest.fixture(params=PLUGINS, ids=lambda plugin: f"{plugin[0].rpartition('.')[2]}/{plugin[1]}")
def plugin(request: pytest.FixtureRequest) -> ModuleType:
    return plugins.load(*request.param)


def test_every_plugin_has_schemes_and_open(plugin: ModuleType) -> None:
    assert isinstance(plugin.SCHEMES, tuple)
    assert plugin.SCHEMES
    assert all(isinstance(scheme, str) and scheme for scheme in plugin.SCHEMES)
    assert list(inspect.signature(plugin.open).parameters) == ["uri", "options"]


def test_every_plugin_says_in_its_first_line_what_it_is(plugin: ModuleType) -> None:
    package, _, name = plugin.__name__.rpartition(".")
    assert plugins.summary(package, name) == (plugin.__doc__ or "").partition("\n")[0] != ""


def test_every_plugin_refuses_an_unknown_option_by_name(plugin: ModuleType) -> None:
    with pytest.raises(UsageError, match="'no-such-option'"):
        plugin.open(f"{plugin.SCHEMES[0]}:-", {"no-such-option": "1"})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_plugins_share_a_scheme(package: str) -> None:
    schemes = [scheme for name in plugins.names(package) for scheme in plugins.load(package, name).SCHEMES]
    assert len(schemes) == len(set(schemes))


def test_a_file_is_one_upright_frame_with_its_name(photos: Path) -> None:
    (frame,) = open_source(str(photos / "2.png"))
    assert isinstance(frame, Frame)
    assert (frame.source, frame.index, frame.image.shape) == (str(photos / "2.png"), 0, (20, 30, 3))
    assert (frame.image == (0, 255, 0)).all()
    assert frame.decode_ms > 0


def test_a_folder_is_all_of_its_files_in_natural_order(photos: Path) -> None:
    (photos / ".hidden.png").write_bytes(b"x")
    (photos / ".git").mkdir()
    (photos / ".git" / "a.png").write_bytes(b"x")
    (photos / "notes.txt").write_text("no picture")
    assert names(photos, under=photos) == ["2.png", "10.png", "inner/1.jpg", "notes.txt"]


def test_what_is_no_picture_is_a_failure_in_its_place_and_the_rest_goes_on(photos: Path) -> None:
    (photos / "3.txt").write_text("no picture")
    items = list(open_source(str(photos)))
    assert [type(item) for item in items] == [Frame, Failure, Frame, Frame]
    failure = items[1]
    assert isinstance(failure, Failure)
    assert "not an image" in str(failure.error)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["2.png", "10.png"]),
        ("**/*.jpg", ["inner/1.jpg"]),
        ("**", ["2.png", "10.png", "inner/1.jpg"]),
        ("*/*", ["inner/1.jpg"]),
        ("?.png", ["2.png"]),
        ("[0-9]*.png", ["2.png", "10.png"]),
        ("inner/**/*.jpg", ["inner/1.jpg"]),
    ],
)
def test_a_pattern_finds_what_a_shell_would(photos: Path, pattern: str, expected: list[str]) -> None:
    assert names(photos / pattern, under=photos) == expected


def test_a_pattern_may_begin_with_the_name_of_a_source(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    for name in ("test1.png", "file2.png"):
        Path(name).write_bytes(Path("2.png").read_bytes())
    assert [item.source for item in open_source("test?.png", "file?.png")] == ["test1.png", "file2.png"]


def test_a_pattern_is_relative_to_where_the_user_is(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert [item.source for item in open_source("*.png")] == ["2.png", "10.png"]
    assert [item.source for item in open_source("./*.png")] == ["./2.png", "./10.png"]
    assert [item.source for item in open_source(".")] == ["./2.png", "./10.png", "./inner/1.jpg"]


def test_a_path_that_exists_is_a_path_whatever_it_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = ["what?.png", "a[1].png", "file:x.png", "50%25.png", "*.png"]
    for name in odd:
        PILImage.new("RGB", (2, 2)).save(name, "PNG")
    for name in odd:
        assert [item.source for item in open_source(name)] == [name]


def test_file_in_front_is_the_path_behind_it(photos: Path) -> None:
    assert names(f"file:{photos / '2.png'}", under=Path()) == names(photos / "2.png", under=Path())


def test_several_sources_come_one_after_the_other(photos: Path) -> None:
    assert names(photos / "inner", photos / "2.png", under=photos) == ["inner/1.jpg", "2.png"]


def test_links_that_lead_in_circles_end(photos: Path) -> None:
    (photos / "inner" / "up").symlink_to(photos)
    (photos / "inner" / "here").symlink_to(".")
    (photos / "broken.png").symlink_to("nowhere")
    assert names(photos, under=photos) == ["2.png", "10.png", "broken.png", "inner/1.jpg"]
    assert names(photos / "**" / "*.jpg", under=photos) == ["inner/1.jpg"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nothing.jpg", "no file or folder 'nothing.jpg'; name a picture"),
        ("nothing/*.jpg", "no file matches the pattern 'nothing/\\*.jpg'"),
        ("empty", "no file in the folder 'empty'"),
        ("pi:0", "the source pi: needs rpicam-vid, which is not found"),
        ("file:nothing.jpg", "no file or folder 'nothing.jpg'"),
        ("0", "no file or folder '0'; for a webcam type usb:0"),
        ("there.jpg?every=2", "for options type 'file:there.jpg\\?every=2'"),
        ("192.168.1.5:8080/snap", "type http://192.168.1.5:8080/snap or rtsp://"),
        ("webcam", "edgecnn cameras lists the cameras there are"),
        ("", "no file or folder ''"),
        ("a\0b", "no file or folder"),
    ],
)
def test_a_source_with_nothing_in_it_says_what_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.jpg").touch()
    with pytest.raises(SourceError, match=message):
        open_source(word)


def test_a_pipe_and_a_socket_are_refused_instead_of_waited_for(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    os.mkfifo("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
    for name in ("pipe.jpg", "socket.jpg", "/dev/zero"):
        with pytest.raises(SourceError, match="must be a regular file or a folder"):
            open_source(name)
    failures = [item.source for item in open_source(".") if isinstance(item, Failure)]
    assert failures == ["./pipe.jpg", "./socket.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_and_a_folder_without_permission_are_failures_among_others(photos: Path) -> None:
    (photos / "2.png").chmod(0)
    (photos / "inner").chmod(0)
    items = open_source(str(photos))
    failures = {Path(item.source).name: str(item.error) for item in items if isinstance(item, Failure)}
    (photos / "inner").chmod(0o700)
    assert "Permission denied" in failures["2.png"]
    assert "a folder that cannot be opened (Permission denied)" in failures["inner"]


def test_a_source_can_be_closed_twice(photos: Path) -> None:
    source = open_source(str(photos))
    source.close()
    source.close()


def standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_is_one_picture(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, (photos / "10.png").read_bytes())
    (frame,) = open_source("-")
    assert isinstance(frame, Frame)
    assert frame.source == "-"
    np.testing.assert_array_equal(frame.image[0, 0], (0, 0, 255))


def test_standard_input_without_a_picture_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, b"")
    (failure,) = open_source("-")
    assert isinstance(failure, Failure)
    assert "empty file" in str(failure.error)


def test_a_terminal_is_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    _, terminal = os.openpty()
    with open(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SourceError, match=r"is a terminal; send a picture to it: edgecnn predict MODEL - <"):
            open_source("-")


def test_closed_standard_input_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="is closed"):
        open_source("-")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("-?fps=3", "options of the source - must be one of format, size, rotate"),
        (
            "file:photos?fps=3",
            "options of the source file: must be one of rotate, flip, crop, every, skip; received 'fps'",
        ),
        ("-?fps", "name=value"),
        ("-?a=1&a=2", "given once"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(word)


def test_importing_a_source_or_sink_loads_no_runtime_of_models() -> None:
    for package, name in PLUGINS:
        module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
        assert not {"onnxruntime", "keras"} & set(vars(module))
