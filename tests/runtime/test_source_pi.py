"""The Raspberry Pi's camera, by a stand-in for ``rpicam-vid`` on the PATH."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import golden
import pytest
from command import Edgecnn

from edgecnn import open_source
from edgecnn.errors import SourceError, UsageError
from edgecnn.frames import Packet
from edgecnn.sources import pi

SIZE = f"{golden.SIZE[0]}x{golden.SIZE[1]}"
FAKE = Path(__file__).parent / "fake_rpicam.py"


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with the stand-in, whose rows of 160 pixels are padded to 192 bytes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("rpicam-vid", "rpicam-hello"):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
        (folder / name).chmod(0o755)
    (tmp_path / "frame").write_bytes(golden.yuv420(stride=192))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_RPICAM_FRAME", str(tmp_path / "frame"))
    return folder


def test_the_golden_picture_comes_through_with_padded_rows_and_the_time_of_its_exposure(camera: Path) -> None:
    source = pi.open("pi:0", {"size": SIZE, "fps": "100"})
    found: list[Packet] = []
    for item in source:
        assert isinstance(item, Packet)
        found.append(item)
        if len(found) == 40:  # past the comparison of the two counts
            break
    source.close()
    assert golden.distance(found[0].decoded().image) < 2  # type: ignore[union-attr]
    exposed = [packet for packet in found if packet.sensor_ns is not None]
    assert len(exposed) >= 20
    for packet in exposed:
        assert packet.arrived_ns is not None
        assert packet.sensor_ns is not None
        assert 15e6 < packet.arrived_ns - packet.sensor_ns < 5e9


def test_its_frames_are_labelled_until_ctrl_c(camera: Path, colors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "edgecnn", "predict", str(colors), f"pi?size={SIZE}&fps=50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        records = [json.loads(process.stdout.readline()) for _ in range(5)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert {record["label"] for record in records} == {"blue"}
    assert records[0]["index"] >= 10, "a camera's first frames are left out"
    assert all(record["source"] == "pi:0" for record in records)
    assert "glass to label p50" in err
    for _ in range(50):
        if not subprocess.run(["pgrep", "-f", str(camera)], capture_output=True, check=False).stdout:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the camera's program must end with the command")


def test_a_frame_of_another_size_is_told_and_never_sheared(
    camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "frame").write_bytes(golden.yuv420(stride=256))
    source = pi.open("pi", {"size": SIZE, "fps": "200"})
    with pytest.raises(SourceError, match=r"writes frames of another size .*choose a width that is a multiple of 128"):
        golden.images(source)
    source.close()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("none", "no camera is connected: check the ribbon cable"),
        ("busy", "another program has the camera"),
        ("memory", "too little contiguous memory"),
        ("other", "rpicam-vid ended with exit code 255: ERROR: *** something new ***"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(
    camera: Path, edgecnn: Edgecnn, colors: Path, monkeypatch: pytest.MonkeyPatch, mode: str, message: str
) -> None:
    monkeypatch.setenv("FAKE_RPICAM", mode)
    done = edgecnn("predict", colors, "pi:0")
    assert (done.code, done.out) == (3, "")
    assert message in done.err


def test_a_camera_that_stops_is_started_anew_until_it_is_given_up(
    camera: Path, edgecnn: Edgecnn, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_RPICAM_STARTED", str(tmp_path / "started"))
    monkeypatch.setenv("FAKE_RPICAM", "timeout")
    monkeypatch.setenv("FAKE_RPICAM_FRAMES", "15")
    done = edgecnn("predict", colors, f"pi?size={SIZE}&fps=100&retries=2&skip=0&policy=all", "--format", "csv")
    assert done.code == 3
    assert len(done.out.splitlines()) == 16
    assert "pi is lost: rpicam-vid ended with exit code 1: ERROR: Device timeout detected" in done.err
    assert "15 frames in" in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("error: pi: the camera gives no frame: no camera is connected")
    assert last.endswith("given up after 2 tries")


@pytest.mark.parametrize("retry_first", [False, True])
def test_without_rpicam_vid_the_package_is_named_and_nothing_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry_first: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="sudo apt install rpicam-apps-lite"):
        open_source("pi", retry_first=retry_first)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("pi:left", "takes the number of a camera; received 'pi:left'"),
        ("pi?size=9x9", "each 16 to 8192"),
        ("pi?size=101x100", "must have even sides"),
        ("pi?fps=0", "fps must be a whole number from 1 to 240"),
        ("pi?args='x", "args must have its quotes in pairs"),
        ("pi?mode=1", "options of the source pi: must be one of size, fps, args, rotate"),
    ],
)
def test_a_wrong_option_is_refused(camera: Path, uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(uri)


def test_cameras_lists_it_with_what_to_type(camera: Path, edgecnn: Edgecnn, monkeypatch: pytest.MonkeyPatch) -> None:
    done = edgecnn("cameras", terminal=True)
    assert done.code == 0
    assert "pi:0  imx708, 4608x2592" in done.out
    assert "next:  edgecnn predict MODEL pi:0" in done.err
    assert {"type": "camera", "source": "pi:0", "name": "imx708, 4608x2592"} in [
        json.loads(line) for line in edgecnn("cameras").out.splitlines()
    ]
    monkeypatch.setenv("FAKE_RPICAM", "none")
    assert "pi:0" not in edgecnn("cameras").out
