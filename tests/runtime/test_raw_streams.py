"""Frames cut from streams of bytes, by any reader and in pieces of any size."""

from __future__ import annotations

import io
import itertools
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import golden
import numpy as np
import pytest
from command import Edgecnn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from edgecnn import open_source
from edgecnn.errors import SourceError, UsageError
from edgecnn.frames import Failure, Packet
from edgecnn.sources import _raw
from edgecnn.sources import exec as program

WIDTH, HEIGHT = golden.SIZE
PIXELS = golden.golden()


class InPieces:
    """A stream that gives a few bytes at a time, as a pipe does."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = io.BytesIO(data), itertools.cycle(sizes)

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, next(self._sizes)))


def cut(data: bytes, format: str, size: tuple[int, int] | None = None, pieces: tuple[int, ...] = (7, 4096, 1)) -> list:  # type: ignore[type-arg]
    return list(_raw.packets(InPieces(data, list(pieces)), format, size, "pipe"))


def y4m(colour: str, *, full: bool) -> bytes:
    """The golden picture as a Y4M of one frame."""
    y, cb, cr = (np.asarray(plane, np.float32) for plane in PILImage.fromarray(PIXELS).convert("YCbCr").split())
    if not full:
        y, cb, cr = (p * s / 255 + o for p, s, o in ((y, 219, 16), (cb - 128, 224, 128), (cr - 128, 224, 128)))
    if colour == "mono":
        planes = [y]
    else:
        down, across = {"420jpeg": (2, 2), "422": (1, 2), "444": (1, 1)}[colour]
        planes = [y, *(p.reshape(HEIGHT // down, down, WIDTH // across, across).mean((1, 3)) for p in (cb, cr))]
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip A1:1 C{colour}{' XCOLORRANGE=FULL' if full else ''}\n".encode()
    return head + b"FRAME\n" + b"".join(np.rint(plane).astype(np.uint8).tobytes() for plane in planes)


STREAMS = {
    "mjpeg": (golden.jpeg(), None),
    "rgb24": (PIXELS.tobytes(), golden.SIZE),
    "bgr24": (PIXELS[:, :, ::-1].tobytes(), golden.SIZE),
    "yuv420p": (golden.yuv420(), golden.SIZE),
}


@pytest.mark.parametrize("format", STREAMS)
def test_the_golden_picture_goes_through(format: str) -> None:
    data, size = STREAMS[format]
    found = cut(data * 3, format, size)
    assert len(found) == 3
    for number, packet in enumerate(found):
        assert packet.index == number
        assert golden.distance(packet.decoded().image) < 2


@pytest.mark.parametrize("colour", ["420jpeg", "422", "444"])
@pytest.mark.parametrize("full", [True, False])
def test_y4m_goes_through_in_both_ranges(colour: str, full: bool) -> None:
    (packet,) = cut(y4m(colour, full=full), "y4m")
    assert golden.distance(packet.decoded().image) < 2


@pytest.mark.parametrize("full", [True, False])
def test_grey_y4m_and_grey_pixels_have_one_channel(full: bool) -> None:
    grey = np.asarray(PILImage.fromarray(PIXELS).convert("L"))
    for packet in (*cut(y4m("mono", full=full), "y4m"), *cut(grey.tobytes(), "gray8", golden.SIZE)):
        image = packet.decoded().image
        assert image.shape == (HEIGHT, WIDTH, 1)
        assert np.abs(image[:, :, 0].astype(int) - grey).max() <= 2


def test_rows_that_are_padded_are_cut_off_and_not_sheared() -> None:
    image = _raw.yuv_image(golden.yuv420(stride=192), WIDTH, HEIGHT, 192)
    assert golden.distance(image) < 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=40).filter(lambda junk: b"\xff\xd8" not in junk and not junk.endswith(b"\xff"))),
    st.lists(st.integers(1, 5000), min_size=1, max_size=5),
)
def test_jpegs_are_found_between_whatever_lies_between_them(junk: list[bytes], pieces: list[int]) -> None:
    one = golden.jpeg()
    data = b"".join(part + one for part in junk)
    assert [packet.data for packet in cut(data, "mjpeg", pieces=tuple(pieces))] == [one] * len(junk)


def test_a_thumbnail_within_a_jpeg_is_not_taken_for_a_picture() -> None:
    exif = PILImage.Exif()
    exif[0x010E] = "a text"
    buffer = io.BytesIO()
    PILImage.fromarray(PIXELS).save(buffer, "JPEG", exif=exif, comment=golden.jpeg("red")[:30_000])
    whole = buffer.getvalue()
    assert whole.count(b"\xff\xd8\xff") > 1
    assert [packet.data for packet in cut(whole * 2, "mjpeg")] == [whole] * 2


def test_jpegs_with_restart_markers_and_padding_are_whole() -> None:
    buffer = io.BytesIO()
    PILImage.fromarray(PIXELS).save(buffer, "JPEG", restart_marker_blocks=1)
    whole = buffer.getvalue()
    padded = whole[:2] + b"\xff\xff" + whole[2:]
    assert [packet.data for packet in cut(whole + padded, "mjpeg")] == [whole, padded]


def test_after_a_damaged_jpeg_the_next_one_is_found() -> None:
    one = golden.jpeg()
    found = cut(one[:150] + one + one, "mjpeg")
    assert found[-1].data == one


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from(["mjpeg", "y4m", "rgb24", "yuv420p"]))
def test_any_bytes_end_in_frames_failures_or_a_source_error(data: bytes, format: str) -> None:
    head = b"YUV4MPEG2 W16 H16\n" if format == "y4m" else b"\xff\xd8"
    with np.errstate(all="raise"):
        try:
            found = cut(head + data, format, (16, 16) if format in _raw.SIZED else None)
        except SourceError:
            return
    for item in found:
        assert isinstance(item, Packet | Failure)
        if isinstance(item, Packet):
            item.decoded()


@pytest.mark.parametrize("format", STREAMS)
def test_a_stream_that_is_cut_off_within_a_frame_says_so(format: str) -> None:
    data, size = STREAMS[format]
    whole, rest = cut(data + data[:-100], format, size)
    assert isinstance(whole, Packet)
    assert isinstance(rest, Failure)
    assert "the stream ended" in str(rest.error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF", "must begin with YUV4MPEG2; received b'RIFF'"),
        (b"YUV4MPEG2 W0 H16\n", "must have 8 bits"),
        (b"YUV4MPEG2 W99999 H99999\n", "at most 64,000,000 pixels"),
        (b"YUV4MPEG2 W16 H16 C420p10\n", "must have 8 bits, one of 4:2:0"),
        (b"YUV4MPEG2 W16 H16\nPICTURE\n", "must begin with FRAME"),
    ],
)
def test_another_stream_than_y4m_is_told(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        cut(data, "y4m")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("exec:true?format=avi", "format of the source exec: must be one of mjpeg, y4m"),
        ("exec:true?format=rgb24", "needs the size of its frames for format=rgb24: add size=640x480"),
        ("exec:true?size=4x4", "takes no size for format=mjpeg"),
        ("exec:true?format=rgb24&size=4", "size must be WIDTHxHEIGHT"),
        ("exec:", "exec: must name a command"),
        ("exec:cat a | cat?format=mjpeg", "exec: starts no shell, so | < > && and ; mean nothing"),
        ("exec:echo 'a", "must have its quotes in pairs"),
        ("exec:true?fps=3", "options of the source exec: must be one of format, size, rotate, flip"),
    ],
)
def test_a_wrong_option_is_refused(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(uri)


@pytest.mark.parametrize("retry_first", [False, True])
def test_a_size_that_cannot_be_is_refused_and_never_waited_for(retry_first: bool) -> None:
    with pytest.raises(UsageError, match="must have even sides for format=yuv420p; received 5x4"):
        open_source("exec:true?format=yuv420p&size=5x4", retry_first=retry_first)
    with pytest.raises(UsageError, match="must be at most 64,000,000 pixels"):
        open_source("exec:true?format=rgb24&size=16384x16384", retry_first=retry_first)


def writer(tmp_path: Path, *data: bytes, then: str = "") -> str:
    """A command that writes some bytes and then does something."""
    file = tmp_path / "data"
    file.write_bytes(b"".join(data))
    script = f"import sys, time; sys.stdout.buffer.write(open({str(file)!r}, 'rb').read()); sys.stdout.flush(); {then}"
    return shlex.join([sys.executable, "-c", script])


def test_a_program_s_frames_are_labelled(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    command = writer(tmp_path, *(golden.jpeg(label) for label in ("red", "green", "blue")))
    done = edgecnn("predict", colors, f"exec:{command}?policy=all")
    assert done.code == 0, done.err
    assert labels(done.out) == ["red", "green", "blue"]
    assert "3 frames in" in done.err
    assert "0 dropped" in done.err


def test_the_words_of_a_command_stay_as_they_are_typed(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    (tmp_path / "UPPER").write_bytes(golden.jpeg())
    done = edgecnn("predict", colors, f"exec:sh -c 'cat \"$1\"' rtsp://Host/X {tmp_path}/UPPER?policy=all")
    assert done.code == 0, done.err
    assert labels(done.out) == ["blue"]


def test_a_program_that_fails_is_told_with_its_code_and_its_last_words(edgecnn: Edgecnn, colors: Path) -> None:
    script = "import sys; print('no such thing rtsp://me:secret@host/x', file=sys.stderr); sys.exit(7)"
    done = edgecnn("predict", colors, f"exec:{shlex.join([sys.executable, '-c', script])}")
    assert (done.code, done.out) == (3, "")
    assert "ended with exit code 7: no such thing rtsp://***@host/x" in done.err
    assert "secret" not in done.err.replace(script, "")
    done = edgecnn("predict", colors, "exec:true")
    assert (done.code, "true ended without a frame" in done.err) == (3, True)
    done = edgecnn("predict", colors, "exec:no-such-program -x")
    assert (done.code, "'no-such-program' is not found" in done.err) == (3, True)


def test_a_program_and_what_it_has_started_end_with_the_source(tmp_path: Path) -> None:
    script = f"sh -c 'echo $$ > {tmp_path}/pid; trap \"\" TERM; sleep 60 & cat {tmp_path}/data; wait'"
    (tmp_path / "data").write_bytes(golden.jpeg())
    source = program.open(f"exec:{script}", {})
    iterator = iter(source)
    assert isinstance(next(iterator), Packet)
    pid = int((tmp_path / "pid").read_text())
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 5
    with pytest.raises(StopIteration):
        next(iterator)
    processes = subprocess.run(["ps", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    alive = [
        line for line in processes.splitlines() if line.split()[0] == str(pid) and not line.split()[1].startswith("Z")
    ]
    assert alive == []


def test_a_program_that_writes_much_to_standard_error_is_not_held_up(tmp_path: Path) -> None:
    command = writer(tmp_path, golden.jpeg(), then="sys.stderr.write('x' * 10**6)")
    source = program.open(f"exec:{command}", {})
    assert len(golden.images(source)) == 1


def labels(out: str | bytes) -> list[str]:
    records = map(json.loads, out.splitlines())
    return [record["label"] for record in records if record["type"] == "prediction"]


def piped(colors: Path, data: bytes, uri: str, *, cut_at: int | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edgecnn", "predict", str(colors), uri]
    return subprocess.run(command, input=data[:cut_at], capture_output=True, timeout=60, check=False)


def test_standard_input_brings_frames_in_a_format(colors: Path) -> None:
    done = piped(colors, golden.jpeg() * 4, "stdin:?format=mjpeg&policy=all")
    assert done.returncode == 0, done.stderr
    assert labels(done.stdout) == ["blue"] * 4
    done = piped(colors, PIXELS.tobytes() * 2, f"stdin:?format=rgb24&size={WIDTH}x{HEIGHT}&policy=all", cut_at=-5)
    assert done.returncode == 0
    assert labels(done.stdout) == ["blue"]
    assert b"the stream ended after 61,435 of 61,440 bytes" in done.stdout
    assert b"1 damaged" in done.stderr


def test_nothing_on_standard_input_is_told(colors: Path) -> None:
    done = piped(colors, b"", "stdin:?format=mjpeg")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"must bring frames of format=mjpeg; none came" in done.stderr


@pytest.mark.parametrize("format", ["y4m", "mjpeg"])
def test_a_pipe_that_stands_still_is_waited_for_and_loses_nothing(colors: Path, format: str) -> None:
    whole = y4m("444", full=True) if format == "y4m" else golden.jpeg()
    frame = whole[whole.index(b"FRAME") :] if format == "y4m" else whole
    command = [sys.executable, "-m", "edgecnn", "predict", str(colors), f"stdin:?format={format}&stall=0.3&policy=all"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(whole + frame[: len(frame) // 2])
        process.stdin.flush()
        first = process.stdout.readline()  # however long the start takes
        time.sleep(1)
        out, errors = process.communicate(frame[len(frame) // 2 :] + frame, timeout=60)
    assert process.returncode == 0, errors
    assert labels(first + out) == ["blue"] * 3
    assert b"has brought no frame for 0.3 s; waiting" in errors
    assert b"is back after" in errors


def test_a_quiet_pipe_is_left_at_once(colors: Path) -> None:
    command = [sys.executable, "-m", "edgecnn", "predict", str(colors), "stdin:?format=mjpeg"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"labels, on" in process.stderr.readline()
        time.sleep(0.5)
        began = time.monotonic()
        process.terminate()
        process.wait(10)
        assert time.monotonic() - began < 2
        assert process.returncode == 0


@pytest.mark.parametrize("signals", [(signal.SIGHUP,), (signal.SIGTERM, signal.SIGTERM)])
def test_no_child_of_a_program_is_left_behind(
    colors: Path, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    (tmp_path / "data").write_bytes(golden.jpeg())
    (tmp_path / "run.sh").write_text(f"trap '' TERM\necho $$ > {tmp_path}/pid\nsleep 97 &\ncat {tmp_path}/data\nwait\n")
    command = [sys.executable, "-m", "edgecnn", "predict", str(colors), f"exec:sh {tmp_path}/run.sh?stall=60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        process.communicate(timeout=20)
    group = (tmp_path / "pid").read_text().strip()
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    assert [line for line in listed.splitlines() if line.split()[0] == group and "Z" not in line.split()[1]] == []


def test_frames_of_a_pipe_that_come_too_fast_are_dropped_and_counted(colors: Path) -> None:
    done = piped(colors, golden.jpeg() * 3000, "stdin:?format=mjpeg")
    assert done.returncode == 0
    labelled = done.stdout.count(b"\n")
    dropped = int(done.stderr.split(b" labels/s, ")[1].split(b" dropped")[0].replace(b",", b""))
    assert labelled + dropped == 3000
