"""How long labels take and how many there are, in memory that does not grow however long a feed runs."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

_LEAST_MS, _STEP = 0.001, 1.01  # a percentile is off by 1 % at most
_BINS = 2_400  # up to 23 hours
_RECENT_S = 60


@dataclass
class Histogram:
    """Times in bins of 1 %, from a microsecond upwards.

    Attributes:
        n: How many there are.
    """

    n: int = 0
    _bins: list[int] = field(default_factory=lambda: [0] * _BINS, repr=False)

    def add(self, ms: float) -> None:
        """Count a time in milliseconds."""
        place = round(math.log(max(ms, _LEAST_MS) / _LEAST_MS) / math.log(_STEP))
        self._bins[min(place, _BINS - 1)] += 1
        self.n += 1

    def percentile(self, share: float) -> float:
        """The time in milliseconds below which this share of all lies; NaN where there is none."""
        wanted, seen = math.ceil(share * self.n), 0
        for place, count in enumerate(self._bins):
            seen += count
            if count and seen >= wanted:
                return float(_LEAST_MS * _STEP**place)
        return math.nan


@dataclass
class Timing:
    """Times of a feed's labels.

    Attributes:
        to_label: From the frame's arrival to its label.
        glass_to_label: From the exposure to the label, where the source knows when that was.
        labels: How many labels there are.
    """

    to_label: Histogram = field(default_factory=Histogram)
    glass_to_label: Histogram = field(default_factory=Histogram)
    labels: int = 0
    _began: float = field(default=-1.0, init=False, repr=False)
    _seconds: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_RECENT_S + 1), repr=False)

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    def add(self, ms: Mapping[str, float]) -> None:
        """Count a label by its record's times."""
        self.labels += 1
        if "capture_to_label" in ms:
            self.to_label.add(ms["capture_to_label"])
        if "glass_to_label" in ms:
            self.glass_to_label.add(ms["glass_to_label"])
        second = int(time.monotonic())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = second, self._seconds[-1][1] + 1
        else:
            self._seconds.append((second, 1))

    def recent_per_s(self) -> float:
        """Labels a second over the last minute, or since the beginning where that is shorter."""
        now = time.monotonic()
        recent = sum(count for second, count in list(self._seconds) if second > now - _RECENT_S)
        return recent / max(1e-9, min(_RECENT_S, now - self._began))

    def told(self) -> str:
        """In words: ``capture to label p50 6, p90 8, p99 11 ms``; empty where nothing was timed."""
        named = (("capture to label", self.to_label), ("glass to label", self.glass_to_label))
        parts = []
        for name, times in named:
            if times.n:
                shown = ", ".join(f"p{share} {_short(times.percentile(share / 100))}" for share in (50, 90, 99))
                parts.append(f"{name} {shown} ms")
        return "; ".join(parts)


def _short(ms: float) -> str:
    return f"{ms:.1f}" if ms < 9.95 else f"{ms:,.0f}"
