from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import board, timing
from edgecnn.board import Board
from edgecnn.timing import Histogram, Timing


@given(st.lists(st.floats(0.002, 1e6), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_a_percentile_is_right_within_a_hundredth(times: list[float], share: float) -> None:
    histogram = Histogram()
    for ms in times:
        histogram.add(ms)
    exact = sorted(times)[max(0, int(np.ceil(share * len(times))) - 1)]
    assert histogram.percentile(share) == pytest.approx(exact, rel=0.011)


def test_without_times_there_is_nothing_to_tell() -> None:
    assert np.isnan(Histogram().percentile(0.5))
    assert Timing().told() == ""
    assert Timing().recent_per_s() == 0


def test_memory_does_not_grow_with_the_number_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(timing.time, "monotonic", lambda: now[0])
    counted = Timing()
    for number in range(30_000):
        now[0] = number / 30
        counted.add({"capture_to_label": 5.0, "glass_to_label": 40.0})
    assert len(counted._seconds) <= 61
    assert counted.recent_per_s() == pytest.approx(30, rel=0.02)
    assert counted.told() == "capture to label p50 5.0, p90 5.0, p99 5.0 ms; glass to label p50 40, p90 40, p99 40 ms"


def test_what_slows_a_raspberry_pi_down_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "temp").write_text("51234\n")
    (tmp_path / "throttled").write_text("50005\n")
    monkeypatch.setattr(board, "_THERMAL", str(tmp_path / "temp"))
    monkeypatch.setattr(board, "_THROTTLED", (str(tmp_path / "thr*"),))
    found = Board.read()
    assert found == Board(51.234, 0x50005)
    assert found.now() == ["under-voltage: use a stronger power supply", "throttled"]
    assert Board(60.0, 0).told() == "60 °C, not throttled"
    assert Board(60.0, 0x40000).told() == "60 °C, not throttled, throttled before"
    assert Board(None, None).told() == ""
    (tmp_path / "temp").write_text("nonsense")
    (tmp_path / "throttled").write_text("zz")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Board.read() == Board(None, None)
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x50000\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    assert Board.read() == Board(None, 0x50000)


def test_a_live_feed_tells_regularly_how_it_goes_also_while_nothing_comes(edgecnn: Edgecnn, colors: Path) -> None:
    done = edgecnn("predict", colors, "test:?fps=10&frames=12", "--stats-every", "0.3")
    told = [line for line in done.err.splitlines() if "over the last minute" in line]
    assert 2 <= len(told) <= 5
    assert re.match(r"\d+ labels so far, \d+\.\d/s over the last minute, 0 dropped; capture to label p50 ", told[-1])
    slow = edgecnn("predict", colors, f"exec:sh -c 'sleep 1; cat {colors}'", "--stats-every", "0.2")
    assert slow.err.count("0 labels so far, 0.0/s") >= 2


def test_a_clock_that_jumps_changes_nothing_but_the_time_in_the_records(
    edgecnn: Edgecnn, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Pi has no clock of its own: it begins in the past, and jumps when the network tells the time."""
    clock = itertools.cycle([0.0, 4.0e9, 1.8e9])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    done = edgecnn("predict", colors, "test:?fps=50&frames=12&policy=all", "--stats-every", "0.1")
    monkeypatch.undo()
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.out.splitlines()]
    assert (
        len({record["time"][:4] for record in records}) == 3
    )  # 1970, 2027 and 2096: the records say what the clock says
    assert all(0 <= record["ms"]["capture_to_label"] < 10_000 for record in records)
    assert "lost" not in done.err
    assert "reconnect" not in done.err
