"""What the command line tells of live feeds: when one is lost and back, how it goes, and what a run came to."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgecnn.cli.streams import beside, tell
from edgecnn.errors import printable

if TYPE_CHECKING:
    from edgecnn.feeds import Counts
    from edgecnn.frames import Source
    from edgecnn.pipeline import Summary
    from edgecnn.timing import Timing

_BOARD_S = 10.0
_MOST_LINES, _REFILL_S = 20, 3.0  # at once, and one more every so many seconds: a log on a card is to last


class Rationed:
    """Lines on standard error of what goes on for months: after twenty at once, twenty a minute.

    What is left out is counted, and told with the next line that is not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left, self._at, self._omitted = float(_MOST_LINES), time.monotonic(), 0

    def tell(self, message: str) -> None:
        """Tell a line, or leave it out."""
        with self._lock:
            now = time.monotonic()
            self._left, self._at = min(_MOST_LINES, self._left + (now - self._at) / _REFILL_S), now
            if self._left < 1:
                self._omitted += 1
                return
            self._left -= 1
            omitted, self._omitted = self._omitted, 0
        if omitted:
            tell(f"({omitted:,} line{'s' if omitted > 1 else ''} left out: too many at a time)")
        tell(message)


@contextlib.contextmanager
def told_changes() -> Iterator[None]:
    """Tell when a feed is lost, back, or given up."""
    import logging  # here, as in `pipeline`: pictures have no use for it, and it takes a prediction's start 7 ms

    class Told(logging.Handler):
        """A line on standard error for each message."""

        def emit(self, record: logging.LogRecord) -> None:
            rationed.tell(record.getMessage())

    rationed = Rationed()
    log, handler = logging.getLogger("edgecnn.live"), Told()
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = True


def note_hidden(sources: Sequence[str]) -> None:
    """Tell where a file or folder has the name of a live feed, and is what is looked at."""
    from edgecnn.opening import is_feed

    for source in sources:
        if os.path.lexists(source) and is_feed(source) and not source.startswith("/dev/"):
            tell(f"note: what is called {source!r} here hides the live feed: for that, type this in another folder")


@contextlib.contextmanager
def told_regularly(source: Source, timing: Timing, every_s: float | None) -> Iterator[None]:
    """Tell how a feed goes every so many seconds, also while nothing comes, and once where the board slows down.

    Args:
        source: The feed; others are not told of.
        timing: What its labels are counted in.
        every_s: Seconds; None tells of the board only.
    """
    with beside("tells how it goes", _watch, source, timing, every_s) if source.live else contextlib.nullcontext():
        yield


def _watch(source: Source, timing: Timing, every_s: float | None, done: threading.Event) -> None:
    from edgecnn.board import Board

    began, warned = time.monotonic(), False
    next_stats, next_board = every_s or float("inf"), 0.0
    while True:
        ran = time.monotonic() - began
        if ran >= next_board:
            board, next_board = Board.read(), ran + _BOARD_S
            if board.now() and not warned:
                tell(f"note: the board slows down ({board.told()})")
                warned = True
        if every_s is not None and ran >= next_stats:
            tell(goes(getattr(source, "counts", {}), timing, Board.read().told()))
            next_stats += every_s * max(1, (ran - next_stats) // every_s + 1)
        if done.wait(min(next_stats, next_board) - (time.monotonic() - began)):
            return


def goes(feeds: Mapping[str, Counts], timing: Timing, board: str) -> str:
    """How a feed goes.

    Args:
        feeds: What became of the frames of each.
        timing: Of their labels.
        board: What `Board.told` says.
    """
    parts = [f"{timing.labels:,} labels so far, {timing.recent_per_s():.1f}/s over the last minute", *_became(feeds)]
    return "; ".join(filter(None, [", ".join(parts), timing.told(), board])) + _each(feeds)


def sentence(summary: Summary, *, live: bool) -> str:
    """What a run came to."""
    frames, seconds = summary.frames, summary.seconds
    failed = f"; {summary.failures:,} could not be read" if summary.failures else ""
    if not live:
        each = f", {seconds / frames * 1000:.1f} ms each" if frames else ""
        return f"{frames:,} picture{'s' if frames != 1 else ''} in {seconds:.2f} s{each}{failed}"
    from edgecnn.board import Board

    said = f"{frames:,} frame{'s' if frames != 1 else ''} in {seconds:.1f} s: {frames / seconds:.1f} labels/s"
    counts = ", ".join([said, *_became(summary.feeds)])
    return "; ".join(filter(None, [counts, summary.timing.told(), Board.read().told()])) + _each(summary.feeds)


def _each(feeds: Mapping[str, Counts]) -> str:
    """A line for each of several feeds."""
    if len(feeds) < 2:
        return ""
    lines = (
        f"  {printable(name)}: {', '.join([f'{one.labelled:,} labelled', *_became({name: one})])}"
        for name, one in feeds.items()
    )
    return "".join(f"\n{line}" for line in lines)


def _became(feeds: Mapping[str, Counts]) -> list[str]:
    """What became of the frames that were not labelled."""
    from edgecnn.feeds import Counts

    both = sum(feeds.values(), Counts())
    parts = [f"{both.dropped:,} dropped"]
    parts += [f"{both.corrupt:,} damaged"] if both.corrupt else []
    if both.reconnects or both.offline_s:
        parts.append(f"{both.reconnects:,} reconnect{'s' if both.reconnects != 1 else ''}, {both.offline_s:.1f} s lost")
    return parts
