"""What is on the screen: ``screen:``, or ``screen:2`` for the second monitor; with ``crop`` a window of it.

======  ===  ===========================================================================
fps     5    pictures per second, 1 to 60
======  ===  ===========================================================================
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping

import numpy as np

from edgecnn.errors import SourceError, UsageError, needs
from edgecnn.frames import Found, Frame, Item
from edgecnn.sources._options import refuse_unknown, whole

SCHEMES = ("screen",)
LIVE = True


def open(uri: str, options: Mapping[str, str]) -> Screen:
    """Prepare to look at a monitor.

    Args:
        uri: ``screen:``, and the number of a monitor from 1.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, or a value that one cannot have.
        MissingExtraError: mss is not installed.
    """
    refuse_unknown("the source screen:", options, ("fps",), live=True)
    number = uri.partition(":")[2] or "1"
    if not re.fullmatch("[1-9][0-9]?", number):
        raise UsageError(f"the source screen: takes the number of a monitor from 1; received {uri!r}: type screen:1")
    needs("mss", "screen", "to look at the screen")
    return Screen(int(number), whole(options, "fps", 5, 1, 60))


def found() -> list[Found]:
    """The monitors that there are; none where mss is not installed, or nobody is logged in at one."""
    try:
        mss = needs("mss", "screen", "to look at the screen")
        with mss.mss() as eye:
            sizes = [(monitor["width"], monitor["height"]) for monitor in eye.monitors[1:]]
    except Exception:  # no display at all is told in many ways
        return []
    return [Found(f"screen:{i}", f"monitor, {width}x{height}") for i, (width, height) in enumerate(sizes, 1)]


class Screen:
    """A live source of a monitor's pictures."""

    live = True

    def __init__(self, number: int, fps: int) -> None:
        self._number, self._fps = number, fps
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        """Look, wait, look again.

        Raises:
            SourceError: There is no such monitor, or no screen at all.
        """
        mss = needs("mss", "screen", "to look at the screen")
        try:
            with mss.mss() as eye:
                monitors = eye.monitors[1:]
                if self._number > len(monitors):
                    raise SourceError(f"there is no monitor {self._number}; those there are: 1 to {len(monitors)}")
                due = time.monotonic()
                index = 0
                while not self._closed.wait(max(0.0, due - time.monotonic())):
                    due = max(due + 1 / self._fps, time.monotonic())
                    began = time.perf_counter()
                    shot = eye.grab(monitors[self._number - 1])
                    image = np.asarray(shot)[:, :, 2::-1]  # B, G, R, and a fourth byte
                    taken_ms = (time.perf_counter() - began) * 1000
                    yield Frame(image, f"screen:{self._number}", index, taken_ms, time.monotonic_ns(), numbered=True)
                    index += 1
        except mss.exception.ScreenShotError as error:
            raise SourceError(f"there is no screen to look at ({error}); log in at one, or set DISPLAY") from error

    def close(self) -> None:
        """End; idempotent."""
        self._closed.set()
