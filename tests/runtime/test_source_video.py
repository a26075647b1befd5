"""Video files, and webcams as far as there is none: the kernel's part is played by a file."""

from __future__ import annotations

import errno
import json
import os
import struct
import wave
from pathlib import Path

import golden
import numpy as np
import pytest
from command import Edgecnn

av = pytest.importorskip("av", reason="needs the extra video")

from edgecnn import open_source  # noqa: E402
from edgecnn.errors import MissingExtraError, SourceError, UsageError, how_to_install  # noqa: E402
from edgecnn.frames import Frame, Packet  # noqa: E402
from edgecnn.sources import _av, _v4l, usb  # noqa: E402

LABELS = ("red", "green", "blue")


def write_video(path: Path, count: int, codec: str = "libx264", pixels: str = "yuv420p", label: str = "blue") -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height = golden.SIZE
        stream.pix_fmt = pixels
        if codec == "libx264":
            stream.options = {"crf": "12"}
        if codec == "mjpeg":
            stream.codec_context.qmin = stream.codec_context.qmax = 1
        for _ in range(count):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(golden.golden(label), format="rgb24")))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuv444p"),
        ("a.mkv", "libx264", "yuvj420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("A.MOV", "libx264", "yuv422p"),
    ],
)
def test_the_golden_picture_comes_through(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV here has no {codec}")
    path = write_video(tmp_path / name, 7, codec, pixels)
    images = golden.images(open_source(str(path)))
    assert len(images) == 7
    assert all(golden.distance(image) < 2 for image in images)


def test_every_frame_has_its_number_and_nothing_is_dropped(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 25)
    done = edgecnn("predict", colors, path)
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["index"] for record in records] == list(range(25))
    assert {record["label"] for record in records} == {"blue"}
    assert "time" not in records[0]
    thinned = edgecnn("predict", colors, f"file:{path}?every=10&skip=3&rotate=180")
    assert [json.loads(line)["index"] for line in thinned.out.splitlines()] == [3, 13, 23]


def test_a_turned_video_is_shown_upright() -> None:
    image = golden.golden()
    assert (_av.upright(image, 0) == image).all()
    assert (_av.upright(image, -90) == np.rot90(image, -1)).all()
    assert (_av.upright(image, 180) == image[::-1, ::-1]).all()


def test_a_video_among_pictures_is_told(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    write_video(tmp_path / "mixed" / "clip.mp4", 2)
    (tmp_path / "mixed" / "a.jpg").write_bytes(golden.jpeg())
    done = edgecnn("predict", colors, tmp_path / "mixed")
    assert done.code == 1
    assert "clip.mp4: a video, which must be named by itself; skipped" in done.err
    assert len(done.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "clip.mp4"), (b"not a video" * 100, "clip.mp4 is no video, or not a whole one: copy it anew")],
)
def test_what_is_no_video_is_told(edgecnn: Edgecnn, colors: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    done = edgecnn("predict", colors, tmp_path / "clip.mp4")
    assert (done.code, done.out) == (3, "")
    assert message in done.err


def test_a_video_that_is_cut_off_gives_what_is_there(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", 200)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    done = edgecnn("predict", colors, path)
    assert 20 < len(done.out.splitlines()) < 200
    assert done.code == 0, "FFmpeg takes what is there for the whole"


def test_a_playlist_may_not_open_what_it_names(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.ts", 5)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    done = edgecnn("predict", colors, tmp_path / "list.mp4")
    assert (done.code, done.out) == (3, "")


def test_without_pyav_the_extra_is_named(
    edgecnn: Edgecnn, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "clip.mp4", 2)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    for uri in (str(path), "rtsp://127.0.0.1:9/x", "usb:0"):
        done = edgecnn("predict", colors, uri)
        assert done.code == MissingExtraError.exit_code
        assert how_to_install("video") in done.err


def test_a_sound_has_no_pictures(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.mp4"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    with pytest.raises(SourceError, match="has no pictures, only audio"):
        golden.images(open_source(str(tmp_path / "a.mp4")))


def test_a_frame_that_waited_has_the_time_at_which_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(_av.time, "monotonic_ns", lambda: now[0])
    clock = _av.Arrivals()
    late = []
    for number in range(3000):  # 30 fps for 100 s; after 50 s three seconds' frames come at once
        due = number / 30
        there = 53.0 if 50 <= due < 53 else due
        now[0] = int((there + 7) * 1e9)
        late.append((now[0] - clock.of(due)) / 1e9)
    assert max(late[:1500]) < 1e-6
    assert late[1500] == pytest.approx(3.0, abs=1e-6)
    assert late[1545] == pytest.approx(1.5, abs=1e-6)
    assert max(late[1600:]) < 1e-6


def test_a_camera_whose_clock_runs_slow_is_not_taken_for_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(_av.time, "monotonic_ns", lambda: now[0])
    clock = _av.Arrivals()
    worst = 0.0
    for second in range(86_400):
        now[0] = int(second * 1e9)
        worst = max(worst, (now[0] - clock.of(second * 0.9998)) / 1e9)  # 17 s a day
    assert worst < 0.05


class Devices:
    """Plays the kernel: a webcam whose pictures are those of a file."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, str]] = []
        real = av.open

        def opened(url: str, *, options: dict[str, str], format: str | None, timeout: object) -> object:
            if format != "video4linux2":
                return real(url, options=options, format=format, timeout=timeout)
            self.asked.append(options)
            return real(str(file))

        monkeypatch.setattr(av, "open", opened)
        monkeypatch.setattr(usb.os.path, "exists", lambda path: str(path).startswith("/dev/video0"))


@pytest.mark.parametrize("format", ["mjpeg", "yuyv422"])
def test_a_webcam_s_pictures_come_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    devices = Devices(write_video(tmp_path / "a.avi", 15, "mjpeg", "yuvj420p"), monkeypatch)
    source = usb.open("usb:0", {"format": format, "size": "160x128", "fps": "10"})
    found: list[object] = []

    def read() -> None:
        found.extend(item.decoded() if isinstance(item, Packet) else item for item in source)

    with pytest.raises(SourceError, match="was it unplugged"):
        read()
    assert len(found) == 15
    assert all(isinstance(item, Frame) and golden.distance(item.image) < 2 for item in found)
    assert devices.asked == [{"input_format": format, "video_size": "160x128", "framerate": "10"}]


@pytest.mark.parametrize(
    ("number", "opened_here", "message"),
    [
        (errno.EINVAL, False, r"^usb:0 must send mjpeg; it does not: add \?format=yuyv422$"),
        (errno.EBUSY, True, "^usb:0 is in use by this very run: it is named twice, or hangs$"),
        (errno.EBUSY, False, "^usb:0 is in use by another program: end that one first$"),
    ],
)
def test_why_a_webcam_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, opened_here: bool, message: str
) -> None:
    def opened(url: str, **_: object) -> object:
        raise OSError(number, os.strerror(number), url)

    monkeypatch.setattr(av, "open", opened)
    camera = usb.Webcam("usb:0", str(tmp_path / "video0"), {"input_format": "mjpeg"})
    with (tmp_path / "video0").open("wb") as here:
        if not opened_here:
            here.close()
        with pytest.raises(SourceError, match=message):
            next(iter(camera))


@pytest.mark.parametrize("uri", ["usb:7", "/dev/video7", "/dev/v4l/by-id/usb-nothing"])
def test_a_webcam_that_is_not_there_is_told(uri: str) -> None:
    with pytest.raises(SourceError, match=r"no camera /dev/.*; those there are: none; plug one in"):
        open_source(uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("usb:front", "takes a number or a device; received 'usb:front'"),
        ("usb:0?format=h264", "format of the source usb: must be one of mjpeg, yuyv422"),
        ("/dev/video0?fps=0", "fps must be a whole number from 1 to 240"),
        ("usb:0?zoom=2", "options of the source usb: must be one of size, fps, format, rotate"),
    ],
)
def test_a_wrong_option_is_refused(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(uri)


def test_what_the_kernel_says_of_a_device_is_understood() -> None:
    def answer(driver: bytes, capabilities: int, device: int) -> bytes:
        return struct.pack("16s32s32sIII12x", driver, b"HD Webcam C270", b"usb-1", 0, capabilities, device)

    assert _v4l.read_capability(answer(b"uvcvideo", 0x84A00001, 0x04200001)) == ("HD Webcam C270", "uvcvideo")
    assert _v4l.read_capability(answer(b"uvcvideo", 0x84A00001, 0x04A00000)) is None  # its second node: metadata
    assert _v4l.read_capability(answer(b"old", 0x00000001, 0)) == ("HD Webcam C270", "old")
