"""What is known of a live feed: how it is to be read, and what became of its frames.

The options, in the query of a URI:

=======  =======  ==================================================================================
policy   newest   ``newest``: frames that nobody has taken give way to newer ones; ``all``: the feed waits
stall    3        seconds without a frame after which a feed counts as lost, 0.1 to 3600
max_age  1        seconds after which a frame is too old to be labelled, 0.01 to 3600
retries  no end   how often in a row a lost feed is opened anew before it is given up
=======  =======  ==================================================================================
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Thread

from edgecnn.errors import UsageError
from edgecnn.frames import Failure, Item, Source
from edgecnn.view import View

_MOST = 10**9
_FAILURES = 16  # of a feed that does not wait are told at a time; all are counted


@dataclass(frozen=True, slots=True)
class Policy:
    """How a feed is read.

    Attributes:
        newest: Whether a newer frame takes the place of one that nobody has taken; else the feed waits.
        stall_s: Seconds without a frame after which it counts as lost.
        max_age_s: Seconds after which a frame is too old.
        retries: How often in a row it is opened anew; None is no end.
        retry_first: Whether that also holds for a feed that has never given a frame.
    """

    newest: bool = True
    stall_s: float = 3.0
    max_age_s: float = 1.0
    retries: int | None = None
    retry_first: bool = False

    @classmethod
    def of(cls, options: Mapping[str, str], *, newest: bool = True, retry_first: bool = False) -> Policy:
        """Read the options named in `frames.LIVE_OPTIONS`; others are not looked at.

        Args:
            options: Of a URI's query.
            newest: What holds where `options` does not say it.
            retry_first: See `Policy`.

        Raises:
            UsageError: A value that one cannot have.
        """
        policy = options.get("policy", "newest" if newest else "all")
        if policy not in ("newest", "all"):
            raise UsageError(f"policy must be newest or all; received {policy!r}")
        retries = options.get("retries")
        if retries is not None and not re.fullmatch("[0-9]{1,9}", retries):
            raise UsageError(f"retries must be a whole number from 0 to {_MOST - 1}; received {retries!r}")
        return cls(
            newest=policy == "newest",
            stall_s=_seconds(options, "stall", 3.0, 0.1),
            max_age_s=_seconds(options, "max_age", 1.0, 0.01),
            retries=None if retries is None else int(retries),
            retry_first=retry_first,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a feed's frames so far; ``labelled + dropped + corrupt == produced`` once it is closed.

    Attributes:
        produced: Frames that came, whole or not.
        labelled: Those that were given out.
        dropped: Those that gave way to newer ones, or were too old.
        corrupt: Those that could not be decoded.
        reconnects: How often the feed was opened anew.
        offline_s: Seconds in which it was lost.
    """

    produced: int = 0
    labelled: int = 0
    dropped: int = 0
    corrupt: int = 0
    reconnects: int = 0
    offline_s: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        own = ((getattr(self, name), getattr(other, name)) for name in Counts.__slots__)
        return Counts(*(a + b for a, b in own))


@dataclass
class Feed:
    """One live source, and what is known of it. `Live` reads it; everything here is guarded by its lock.

    Attributes:
        name: For messages, without passwords.
        policy_given: Whether someone asked for this policy; else one is chosen by the source, once it is open.
        named: Whether the frames are called by it, since another feed gives frames of the same name.
        opener: Opens the source anew.
        policy: How it is read.
        view: What of its pictures is looked at.
        source: The source as it was opened first; None where that is still to be tried.
        counts: What became of its frames.
    """

    name: str
    opener: Callable[[], Source]
    policy: Policy
    view: View = field(default_factory=View)
    source: Source | None = None
    named: bool = False
    policy_given: bool = True
    counts: Counts = field(default_factory=Counts, init=False)
    _slot: Item | None = field(default=None, init=False)
    _failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=_FAILURES), init=False)
    _good: int = field(default=0, init=False)  # frames since the connection was made
    _epoch: int = field(default=0, init=False)
    _since: float | None = field(default=None, init=False)  # when something last came; None where nothing is awaited
    _lost_at: float | None = field(default=None, init=False)
    _why: str = field(default="", init=False)  # it was lost
    _hangs: bool = field(default=False, init=False)  # it was lost by standing still, not by an error
    _reader: Thread | None = field(default=None, init=False)
    _stuck: list[Thread] = field(default_factory=list, init=False)  # readers that stood still and were left
    _damaged: bool = field(default=False, init=False)  # what was given out last could not be read
    _tries: int = field(default=0, init=False)
    _ever: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)
    _error: BaseException | None = field(default=None, init=False)

    live = True

    def close(self) -> None:
        """Close the source of a feed that nobody has begun to read."""
        if self.source is not None:
            self.source.close()

    def _count(self, **more: float) -> None:
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + by for name, by in more.items()})


def _seconds(options: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    if not (re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) and least <= float(text) <= 3600):
        raise UsageError(f"{name} must be a number of seconds from {least:g} to 3600; received {text!r}")
    return float(text)
