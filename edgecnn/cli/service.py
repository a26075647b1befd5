"""What a run tells systemd: that it has started, how it goes, and that it lives, which is that labels are made."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from edgecnn.cli import feed
from edgecnn.cli.streams import beside
from edgecnn.errors import printable
from edgecnn.notify import Systemd
from edgecnn.prediction import ErrorResult, Result, Sink

if TYPE_CHECKING:
    from edgecnn.frames import Source
    from edgecnn.timing import Timing

_FIRST_LOOKS_S = 0.2
_STATUS_S = 5.0
_LIVES = 3  # signs of life within the time that systemd waits for one


class Latest:
    """A sink that passes everything on, and remembers the last label.

    Args:
        sink: What gets the results.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.close = sink.close
        self.wants = getattr(sink, "wants", ())
        self.told = ""

    def write(self, result: Result | ErrorResult) -> None:
        """Pass one on."""
        self._sink.write(result)
        if isinstance(result, Result):
            unknown = " (unknown)" if result.prediction.unknown else ""
            self.told = printable(f"{result.prediction.label} {result.prediction.score:.2f}{unknown}")


@contextlib.contextmanager
def supervised(source: Source, timing: Timing, latest: Latest) -> Iterator[None]:
    """Tell systemd of a run, where it is systemd that has started it.

    It is ready with the first label, or once a feed is known to be away and is tried again: a camera that boots later
    is no reason to kill what waits for it. The watchdog is fed by new labels and where a feed is rightly quiet, not by
    this thread being alive: a run that hangs is ended and started anew.

    Args:
        source: What is read.
        timing: Counts its labels.
        latest: Knows the last one.
    """
    systemd = Systemd.take()
    if not systemd.address:
        yield
        return
    try:
        with beside("tells systemd", _tell, systemd, source, timing, latest):
            yield
    finally:
        systemd.stopping()


def _tell(systemd: Systemd, source: Source, timing: Timing, latest: Latest, done: threading.Event) -> None:
    pause_s = min(_STATUS_S, max(_FIRST_LOOKS_S, systemd.watchdog_s or _STATUS_S * _LIVES) / _LIVES)
    labels, ready, next_status, first = 0, not source.live, 0.0, True
    was_lost: Mapping[str, str] = {}
    if ready:
        systemd.ready()
    while True:
        fresh, lost, quiet = timing.labels > labels, _lost(source), getattr(source, "rightly_quiet", False)
        labels = timing.labels
        if not ready and (fresh or (lost and quiet)):
            systemd.ready()
            ready = True
        if fresh or quiet:
            systemd.alive()
        if time.monotonic() >= next_status or (fresh and first) or lost != was_lost:
            systemd.status(_status(source, timing, latest))
            next_status = time.monotonic() + _STATUS_S
        first, was_lost = first and not fresh, lost
        if done.wait(_FIRST_LOOKS_S if first and not lost else pause_s):
            return


def _lost(source: Source) -> Mapping[str, str]:
    return getattr(source, "lost", {})


def _status(source: Source, timing: Timing, latest: Latest) -> str:
    """One line: what is wrong, or the last label and how it goes."""
    from edgecnn.board import Board

    lost = [f"lost: {why}" if why.startswith(name) else f"{name} is lost: {why}" for name, why in _lost(source).items()]
    if not latest.told:
        return printable("; ".join(lost or ["waiting for the first label"]))
    goes = feed.goes(getattr(source, "counts", {}), timing, Board.read().told()).partition("\n")[0]
    return printable("; ".join([*lost, latest.told, goes]))
