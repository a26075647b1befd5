"""Network cameras by RTSP, against a server that stalls, drops, refuses and hangs."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Edgecnn

pytest.importorskip("av", reason="needs the extra video")

import golden
import numpy as np
from rtsp_server import BLOCK, Server, read_clock

from edgecnn import open_source
from edgecnn.errors import SourceError, UsageError
from edgecnn.frames import Frame
from edgecnn.sources import _av


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def age_ms(frame: Frame) -> float:
    """How long ago the frame was painted."""
    return (int(time.monotonic() * 1000) & 0xFFFFFFFF) - read_clock(frame.image)


def taken(url: str, count: int) -> tuple[list[Frame], list[float]]:
    source = open_source(url)
    frames, ages = [], []
    for item in itertools.islice(source, count):
        assert isinstance(item, Frame)
        frames.append(item)
        ages.append(age_ms(item))
    source.close()
    return frames, ages


def test_the_golden_picture_comes_through_and_is_young(server: Server) -> None:
    frames, ages = taken(server.url, 60)
    part = frames[-1].image[2 * BLOCK : golden.SIZE[1], : golden.SIZE[0]]
    assert np.abs(part.astype(int) - golden.golden()[2 * BLOCK :]).mean() < 2
    assert sorted(ages[20:])[20] < 400, "no queue may build up; at rest it is 40 ms"


def test_a_stalled_stream_is_noticed_and_comes_back_without_old_frames(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_source(f"{server.url}#stall=0.5")
    frames = iter(source)
    assert len(list(itertools.islice(frames, 20))) == 20
    server.mode = "stall"
    threading.Timer(1.5, lambda: setattr(server, "mode", "ok")).start()
    ages = []
    for item in itertools.islice(frames, 40):  # some that were on their way, then those after the stall
        assert isinstance(item, Frame)
        ages.append(age_ms(item))
    source.close()
    assert "no frame for 0.5 s" in caplog.text
    assert "is back after" in caplog.text
    assert server.connections >= 2
    assert max(ages) < 1500
    assert source.counts[server.url].reconnects >= 1  # type: ignore[attr-defined]


def test_a_dropped_stream_is_opened_anew(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(server.url)
    frames = iter(source)
    list(itertools.islice(frames, 10))
    server.mode = "drop"
    time.sleep(0.3)
    server.mode = "ok"
    assert len(list(itertools.islice(frames, 40))) == 40
    source.close()
    assert server.connections == 2
    assert [record.getMessage().split(" is ")[1].split(":")[0].split(" ")[0] for record in caplog.records] == [
        "lost",
        "back",
    ]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("refuse", "gives nothing that can be read: check the address"),
        ("deny", "asks for another user or password"),
    ],
)
def test_what_is_wrong_at_the_beginning_ends_at_once_in_plain_words(
    server: Server, edgecnn: Edgecnn, colors: Path, mode: str, message: str
) -> None:
    server.mode = mode
    done = edgecnn("predict", colors, server.url.replace("rtsp://", "rtsp://me:secret@"))
    assert (done.code, done.out) == (3, "")
    assert message in done.err
    assert "secret" not in done.err


def test_a_server_that_does_not_answer_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_av, "OPEN_S", 1.0)
    server.mode = "hang"
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        open_source(server.url)
    assert time.monotonic() - began < 8


def test_nobody_there_is_told() -> None:
    with pytest.raises(SourceError, match="refuses the connection: check host and port"):
        open_source("rtsp://me:secret@127.0.0.1:9/live")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("rtsp://", "must name a host"),
        ("rtsp://h/x#transport=avian", "transport must be tcp or udp"),
        ("rtsp://h/x#fps=3", "options of the source rtsp: must be one of transport, rotate"),
        ("rtsp://h/x#stall=never", "stall must be a number of seconds"),
    ],
)
def test_a_wrong_option_is_refused(uri: str, message: str, server: Server) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(uri.replace("//h/", server.url.partition(":")[2].replace("/live", "/")))


def test_a_slow_model_drops_and_its_labels_stay_young(server: Server) -> None:
    source = open_source(server.url)
    ages = []
    for item in itertools.islice(source, 20):
        assert isinstance(item, Frame)
        time.sleep(0.15)
        ages.append(age_ms(item))
    source.close()
    counts = source.counts[server.url]  # type: ignore[attr-defined]
    assert counts.dropped > 30
    assert sorted(ages[5:])[10] < 500


def test_ctrl_c_ends_a_stream_with_its_summary(server: Server, colors: Path) -> None:
    command = [sys.executable, "-m", "edgecnn", "predict", str(colors), server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(5):
            assert json.loads(process.stdout.readline())["label"] == "blue"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "capture to label p50" in err
