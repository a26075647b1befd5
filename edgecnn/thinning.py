"""Which results a sink gets, where not all: a camera's labels are news only where they change, and a card is soon full.

=======  ===========  ===============================================================================
only     everything   ``change``: results that say something else of their source than the last one
every    0            seconds that at least lie between two results of a source, 0.01 to 86400
=======  ===========  ===============================================================================
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from edgecnn.errors import UsageError
from edgecnn.prediction import ErrorResult, Result, Sink

_LONGEST_S = 86_400.0


def thinner(options: Mapping[str, str]) -> Callable[[Sink], Sink]:
    """What makes of a sink one that gets less; it gives back the sink itself where no option asks for that.

    Options are read here, so that a mistake in them is told before the sink is opened and a file emptied.

    Args:
        options: Of the sink's URI; others than ``only`` and ``every`` are not looked at.

    Raises:
        UsageError: A value that one cannot have.
    """
    only, every_s = options.get("only"), _seconds(options.get("every"))
    if only not in (None, "change"):
        raise UsageError(f"only must be change; received {only!r}")
    return lambda sink: Thinned(sink, change=only is not None, every_s=every_s) if only or every_s else sink


class Thinned:
    """A sink that passes on what is news.

    A change that comes too early after the last result is passed on with the next frame that comes late enough, if it
    still is one.

    Args:
        sink: What gets it.
        change: Whether only another label, or another error, is news.
        every_s: Seconds between two results of one source.
    """

    def __init__(self, sink: Sink, *, change: bool, every_s: float) -> None:
        self._sink, self._change, self._every_s = sink, change, every_s
        self._last: dict[str, tuple[str, float]] = {}
        self.close = sink.close
        self.wants = getattr(sink, "wants", ())

    def write(self, result: Result | ErrorResult) -> None:
        """Pass one on, or not."""
        said, at = _said(result), time.monotonic()
        of_feed = result.source in self._last or getattr(result, "index", None) is not None
        place = result.source if of_feed else ""  # pictures in files have a name each, and are taken together
        before, before_at = self._last.get(place, ("", -_LONGEST_S))
        if at - before_at >= self._every_s and not (self._change and said == before):
            self._sink.write(result)
            self._last[place] = said, at


def _said(result: Result | ErrorResult) -> str:
    if isinstance(result, ErrorResult):
        return f"error {result.error}"
    return "unknown" if result.prediction.unknown else f"label {result.prediction.label}"


def _seconds(text: str | None) -> float:
    if text is None:
        return 0.0
    if not (re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,6})?", text) and 0.01 <= float(text) <= _LONGEST_S):
        raise UsageError(f"every must be a number of seconds from 0.01 to {_LONGEST_S:.0f}; received {text!r}")
    return float(text)
