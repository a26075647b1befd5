"""Sources whose libraries or devices are not here: stand-ins play them."""

from __future__ import annotations

import itertools
import re
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import golden
import numpy as np
import pytest
from command import Edgecnn

from edgecnn import open_source
from edgecnn.errors import MissingExtraError, SourceError, UsageError, how_to_install
from edgecnn.frames import Frame


class Request:
    def __init__(self, format: str) -> None:
        self._format, self.released = format, False

    def make_array(self, name: str) -> np.ndarray:  # type: ignore[type-arg]
        assert name == "main"
        image = golden.golden()
        return image if self._format == "BGR888" else image[:, :, ::-1]  # Picamera2's names run from right to left

    def get_metadata(self) -> dict[str, int]:
        return {"SensorTimestamp": time.monotonic_ns() - 30_000_000}

    def release(self) -> None:
        self.released = True


class Camera:
    opened: list[Camera] = []  # noqa: RUF012  # a stand-in

    def __init__(self, number: int) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.closed, self.requests = False, []
        Camera.opened.append(self)

    def create_video_configuration(self, main: dict[str, object], controls: dict[str, object]) -> dict[str, object]:
        return {"main": main, "controls": controls}

    def configure(self, wanted: dict[str, dict[str, object]]) -> None:
        self.format = str(wanted["main"]["format"])
        assert wanted["main"]["size"] == golden.SIZE

    def start(self) -> None: ...

    def capture_request(self) -> Request:
        time.sleep(0.01)
        self.requests.append(Request(self.format))
        return self.requests[-1]

    def close(self) -> None:
        self.closed = True


def test_picamera2_gives_red_as_red_and_lets_go_of_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("picamera2")
    library.Picamera2 = Camera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", library)
    source = open_source("picamera2:0?size=160x128&skip=2")
    found = [item for item in itertools.islice(source, 4) if isinstance(item, Frame)]
    source.close()
    assert all(golden.distance(frame.image) == 0 for frame in found)
    assert all(frame.sensor_ns is not None for frame in found)
    assert found[0].index >= 2
    assert Camera.opened[-1].closed
    assert all(request.released for request in Camera.opened[-1].requests)
    with pytest.raises(SourceError, match="picamera2:3 cannot be opened"):
        next(iter(open_source("picamera2:3?size=160x128")))


def test_without_picamera2_the_other_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match=r"picamera2 cannot be imported here .*The source pi: works in any"):
        open_source("picamera2:0")
    with pytest.raises(UsageError, match="takes the number of a camera"):
        open_source("picamera2:left")


class Eye:
    """mss, with one monitor that shows the golden picture."""

    monitors = ({"width": 0, "height": 0}, {"width": golden.SIZE[0], "height": golden.SIZE[1]})

    def __enter__(self) -> Eye:
        return self

    def __exit__(self, *_: object) -> None: ...

    def grab(self, monitor: dict[str, int]) -> np.ndarray:  # type: ignore[type-arg]
        assert monitor["width"] == golden.SIZE[0]
        image = golden.golden()[:, :, ::-1]
        return np.concatenate([image, np.full((*image.shape[:2], 1), 255, np.uint8)], axis=2)


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("mss")
    library.mss = Eye  # type: ignore[attr-defined]
    library.exception = SimpleNamespace(ScreenShotError=RuntimeError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mss", library)


@pytest.mark.usefixtures("monitor")
def test_the_screen_is_looked_at_so_often(edgecnn: Edgecnn) -> None:
    source = open_source("screen:?fps=20")
    began = time.monotonic()
    found = [item for item in itertools.islice(source, 5) if isinstance(item, Frame)]
    source.close()
    assert time.monotonic() - began >= 0.15
    assert all(golden.distance(frame.image) == 0 for frame in found)
    with pytest.raises(SourceError, match="there is no monitor 2; those there are: 1 to 1"):
        next(iter(open_source("screen:2")))
    assert '"source": "screen:1"' in edgecnn("cameras").out


def test_without_mss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(MissingExtraError, match=re.escape(how_to_install("screen"))):
        open_source("screen:")
    with pytest.raises(UsageError, match="the number of a monitor from 1"):
        open_source("screen:0")


def test_where_there_is_no_camera_it_says_what_can_be_done(edgecnn: Edgecnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.opening.find_cameras", list)
    done = edgecnn("cameras", terminal=True)
    assert (done.code, done.out) == (0, "")
    assert "no camera found. A webcam: plug it in" in done.err


def test_a_list_names_pictures_as_seen_from_where_it_lies(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "grün 1.jpg").write_bytes(golden.jpeg("green"))
    lines = ["# a comment", "", "shots/grün 1.jpg", str(tmp_path / "shots" / "grün 1.jpg"), "gone.jpg"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    done = edgecnn("predict", colors, f"@{tmp_path / 'list.txt'}")
    assert done.code == 1
    assert done.out.count('"type": "prediction"') == 2
    assert "gone.jpg" in done.err
    for name, text in (("none.txt", None), ("empty.txt", "# nothing\n")):
        if text is not None:
            (tmp_path / name).write_text(text)
        assert edgecnn("predict", colors, f"@{tmp_path / name}").code == 3
