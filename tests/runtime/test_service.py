"""What a run tells systemd: when it is ready, how it goes, that it lives, and when it says nothing of the kind."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Edgecnn
from feeds import Scripted, Step, opener, picture
from PIL import Image
from supervisor import Supervisor, service

from edgecnn import live
from edgecnn.cli import feed as told
from edgecnn.errors import SourceError
from edgecnn.feeds import Feed, Policy
from edgecnn.frames import Item
from edgecnn.live import Live
from edgecnn.notify import Systemd


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    listening = Supervisor(tmp_path / "notify")
    yield listening
    listening.close()


def alive(lines: list[str]) -> int:
    return lines.count("WATCHDOG=1")


def status(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line.startswith("STATUS=")), "")


def test_where_nobody_supervises_nothing_is_sent() -> None:
    systemd = Systemd.take({})
    assert systemd == Systemd("", None)
    systemd.ready()
    assert Systemd.take({"NOTIFY_SOCKET": "tcp:80"}) == Systemd("", None)  # systemd names no such sockets


def test_what_systemd_put_into_the_environment_is_taken_out_and_another_process_is_not_meant() -> None:
    there = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    assert Systemd.take(there) == Systemd("/run/x", 60.0)
    assert there == {"HOME": "/"}
    for other in (
        {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "9" * 5000},
    ):
        assert Systemd.take({"NOTIFY_SOCKET": "/run/x", **other}) == Systemd("/run/x", None)


@pytest.mark.skipif(sys.platform != "linux", reason="sockets without a file are Linux's")
def test_a_socket_without_a_file_is_spoken_to_and_one_that_is_gone_is_no_failure() -> None:
    name = f"edgecnn-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        Systemd(f"@{name}").status("déjà vu")
        assert listening.recv(100).decode() == "STATUS=déjà vu"
    Systemd(f"@{name}").ready()


def test_a_service_is_ready_with_its_first_label_and_lives_while_labels_are_made(
    supervisor: Supervisor, colors: Path, tmp_path: Path
) -> None:
    to = tmp_path / "labels.jsonl"
    with service(supervisor, "predict", colors, "test:?fps=20", "--to", f"jsonl:{to}") as process:
        supervisor.listen(lambda heard: "READY=1" in heard and alive(heard) >= 4)
        supervisor.listen(lambda heard: " labels so far" in status(heard))
        assert to.read_text().count("\n") > 0
        label, _, goes = status(supervisor.heard).removeprefix("STATUS=").partition("; ")
        assert label.split()[0] in ("red", "green", "blue")
        assert goes.partition(" labels so far, ")[0].isdecimal()
        assert "capture to label p50" in goes
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    supervisor.listen(lambda heard: "STOPPING=1" in heard, 5)


def test_a_camera_that_is_away_at_the_start_is_no_reason_to_be_killed(supervisor: Supervisor, colors: Path) -> None:
    missing = ("exec:sh -c 'echo the cable is out >&2; exit 3'?format=mjpeg", "--retry-first")
    with service(supervisor, "predict", colors, *missing):
        supervisor.listen(lambda heard: "READY=1" in heard and alive(heard) >= 4)
        assert "the cable is out" in status(supervisor.heard)


def test_a_run_that_hangs_says_nothing_to_the_watchdog(supervisor: Supervisor, colors: Path, tmp_path: Path) -> None:
    with service(
        supervisor, "predict", colors, "test:?fps=20", "--to", f"jsonl:{tmp_path / 'x'}", watchdog_s=0.6
    ) as process:
        supervisor.listen(lambda heard: alive(heard) >= 3)
        process.send_signal(signal.SIGSTOP)
        supervisor.listen_for(0.5)
        assert alive(supervisor.listen_for(2.0)) == 0
        process.send_signal(signal.SIGCONT)
        before = alive(supervisor.heard)
        supervisor.listen(lambda heard: alive(heard) > before)


def test_a_run_whose_results_nobody_reads_says_nothing_to_the_watchdog(supervisor: Supervisor, colors: Path) -> None:
    """Standard output is a pipe that nobody empties: the thread that tells systemd goes on, labels do not."""
    with service(supervisor, "predict", colors, "test:?fps=0", watchdog_s=0.6) as process:
        assert process.stdout
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)  # full after some labels, on a slow machine too
        supervisor.listen(lambda heard: "READY=1" in heard)
        supervisor.listen_for(3.0)
        assert alive(supervisor.listen_for(2.0)) == 0


def test_pictures_are_predicted_under_systemd_too(supervisor: Supervisor, colors: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    with service(supervisor, "predict", colors, tmp_path / "red.png") as process:
        out, _ = process.communicate(timeout=60)
    assert '"label": "red"' in out
    supervisor.listen(lambda heard: "READY=1" in heard and "STOPPING=1" in heard, 5)


QUICK = Policy(stall_s=0.2, retry_first=True)


def reading(*scripts: str | list[Step], policy: Policy = QUICK) -> Live:
    open_next, _ = opener(*scripts)
    return Live([Feed("cam", open_next, policy)])


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(live, "_OPEN_S", 0.2)
    monkeypatch.setattr(live, "_LEAVE_S", 1.0)


def eventually(condition: object, within_s: float = 10.0) -> bool:
    assert callable(condition)
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def taken(source: Live) -> None:
    """Take what comes, in a thread, as a run does."""
    threading.Thread(target=lambda: list(source), daemon=True).start()


@pytest.mark.usefixtures("quick_retries")
def test_a_feed_that_refuses_is_rightly_quiet_and_says_why() -> None:
    source = reading("refuses")
    taken(source)
    assert eventually(lambda: source.lost == {"cam": "refuses the connection"})
    assert source.rightly_quiet
    source.close()


@pytest.mark.usefixtures("quick_retries")
def test_a_feed_that_stands_still_again_and_again_is_not_rightly_quiet() -> None:
    source = reading(["frame", "hang"], ["hang"])
    taken(source)
    assert eventually(lambda: bool(source.lost))
    assert not any(source.rightly_quiet for _ in range(50) if time.sleep(0.02) is None)
    assert source.counts["cam"].reconnects > 1
    source.close()


@pytest.mark.usefixtures("quick_retries")
def test_a_feed_that_stood_still_and_then_refuses_is_rightly_quiet_and_so_is_one_that_is_back() -> None:
    source = reading(["frame", "hang"], "refuses", "refuses", "refuses", ["frame", 30.0], policy=Policy(stall_s=0.2))
    taken(source)
    assert eventually(lambda: source.lost.get("cam") == "refuses the connection" and source.rightly_quiet)
    assert eventually(lambda: not source.lost and source.rightly_quiet)
    source.close()


@pytest.mark.usefixtures("quick_retries")
def test_a_reader_that_hangs_and_keeps_its_device_busy_is_not_rightly_quiet() -> None:
    """As a webcam's driver does: the thread never comes back, so that opening the device anew is refused for ever."""
    goes_on = threading.Event()

    class Hangs(Scripted):
        def __iter__(self) -> Iterator[Item]:
            yield picture("cam", 0)
            goes_on.wait(60)

    free: list[Scripted] = [Hangs([])]

    def open_next() -> Scripted:
        if free:
            return free.pop()
        if goes_on.is_set():
            return Scripted(["frame", 30.0])
        raise SourceError("is in use by another program")

    source = Live([Feed("cam", open_next, QUICK)])
    taken(source)
    assert eventually(lambda: source.lost == {"cam": "is in use by another program"})
    assert not any(source.rightly_quiet for _ in range(30) if time.sleep(0.02) is None)
    goes_on.set()
    assert eventually(lambda: not source.lost and source.rightly_quiet)
    source.close()


@pytest.mark.usefixtures("quick_retries")
def test_a_feed_of_damaged_frames_and_one_that_nobody_takes_are_not_rightly_quiet() -> None:
    damaged = reading(["bad", 0.05] * 100)
    taken(damaged)
    assert eventually(lambda: not damaged.rightly_quiet)
    damaged.close()
    waiting = reading(["frame", 30.0], policy=Policy())
    iterator = iter(waiting)
    next(iterator)
    assert waiting.rightly_quiet  # the next frame may still come
    waiting.close()
    full = reading(["frame", "frame", 30.0], policy=Policy(newest=False))
    iterator = iter(full)
    next(iterator)
    assert eventually(lambda: not full.rightly_quiet)
    full.close()


def test_lines_that_come_too_fast_are_left_out_and_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rationed = told.Rationed()
    for number in range(50):
        rationed.tell(f"line {number}")
    assert capsys.readouterr().err.splitlines() == [f"line {number}" for number in range(20)]
    now[0] += 3.0
    rationed.tell("one more")
    rationed.tell("too early again")
    assert capsys.readouterr().err.splitlines() == ["(30 lines left out: too many at a time)", "one more"]
    now[0] += 3600
    rationed.tell("an hour later")
    assert capsys.readouterr().err.splitlines() == ["(1 line left out: too many at a time)", "an hour later"]


def test_damaged_frames_do_not_fill_the_log(edgecnn: Edgecnn, colors: Path, tmp_path: Path) -> None:
    frames = tmp_path / "damaged.mjpeg"
    whole = io.BytesIO()
    Image.new("L", (64, 64)).save(whole, "JPEG")
    size = b"\x00\x40\x00\x40"
    assert whole.getvalue().count(size) == 1
    frames.write_bytes(whole.getvalue().replace(size, b"\x00\x00\x00\x00") * 300)
    done = edgecnn("predict", colors, f"exec:cat {frames}?format=mjpeg&policy=all", "--to", f"jsonl:{tmp_path / 'x'}")
    assert (tmp_path / "x").read_text().count('"type": "error"') == 300
    assert 20 <= done.err.count("skipped") <= 40
