"""A live feed with faults for a million frames: what it takes of memory, descriptors and threads, and what it loses.

    python benchmarks/soak.py MODEL [--frames 1000000]

The frames are those of the source ``test:`` with 32x32 pixels, as fast as they are taken. Among them are, by chance but
the same each time: damaged frames, connections that are lost and refused, and feeds that stand still. Every frame must
be accounted for, and after the first tenth nothing may grow.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edgecnn import Classifier, live, run
from edgecnn.errors import ImageError, SourceError
from edgecnn.feeds import Counts, Feed, Policy
from edgecnn.frames import Failure, Item
from edgecnn.live import Live
from edgecnn.prediction import ErrorResult, Result
from edgecnn.sources import test

LIMIT_MB = 5.0
POINTS = 20
BAD, LOST, STALLS, REFUSES = 1 / 500, 1 / 5_000, 1 / 20_000, 1 / 3


class Faulty:
    """The feed with faults; `left` is shared by all connections.

    Args:
        left: How many frames are still to come, in a list.
        chance: Where faults come from.
        seen: Counts the faults by their name.
    """

    live = True

    def __init__(self, left: list[int], chance: random.Random, seen: dict[str, int]) -> None:
        self._left, self._chance, self._seen = left, chance, seen
        self._feed = test.open("test:", {"size": "32x32", "fps": "0", "seed": str(left[0])})
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        for frame in self._feed:
            draw = self._chance.random()
            if draw < STALLS:
                self._count("stalls")
                self._closed.wait(60)
                return
            if draw < STALLS + LOST:
                self._count("lost")
                raise SourceError("the connection is lost")
            if not self._left[0]:
                return
            self._left[0] -= 1
            if draw > 1 - BAD:
                self._count("damaged")
                yield Failure("test:", ImageError("damaged"))
            else:
                yield frame

    def _count(self, name: str) -> None:
        self._seen[name] = self._seen.get(name, 0) + 1

    def close(self) -> None:
        """End the feed."""
        self._closed.set()
        self._feed.close()


class Watch:
    """A sink that looks at the process now and then."""

    def __init__(self, every: int) -> None:
        self._every, self._left, self.results, self.points = every, every, 0, list[dict[str, float]]()

    def write(self, result: Result | ErrorResult) -> None:
        """Count a result."""
        self.results += 1
        self._left -= 1
        if not self._left:
            self._left = self._every
            self.points.append(state(self.results))

    def close(self) -> None:
        """Nothing to give back."""


def state(results: int) -> dict[str, float]:
    """Memory in MB, open descriptors, threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "results": results,
        "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


def main() -> int:
    """Run it and print a table; 1 where something grows or is lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--newest", action="store_true", help="let newer frames win, instead of labelling all")
    arguments = parser.parse_args()
    live._FIRST_WAIT_S = 0.01
    live.log.disabled = True
    left, chance, seen = [arguments.frames], random.Random(0), dict[str, int]()

    def opened() -> Faulty:
        if chance.random() < REFUSES and left[0] < arguments.frames:
            seen["refused"] = seen.get("refused", 0) + 1
            raise SourceError("refused")
        return Faulty(left, chance, seen)

    policy = Policy(newest=arguments.newest, stall_s=0.1)
    source, watch = Live([Feed("test:", opened, policy)]), Watch(max(1, arguments.frames // POINTS))
    began = time.monotonic()
    with Classifier(arguments.model, device="cpu") as model:
        summary = run(source, model, watch)
    counts = source.counts["test:"]
    return report(counts, watch.points, summary.frames, arguments.frames, seen, time.monotonic() - began)


def report(
    counts: Counts, points: list[dict[str, float]], labelled: int, wanted: int, seen: dict[str, int], seconds: float
) -> int:
    """Print what came of it; 1 where something grows or is lost."""
    for point in points:
        print(
            "{results:>9,.0f} results  {rss_mb:7.1f} MB  {descriptors:3.0f} descriptors  {threads:2.0f} threads".format(
                **point
            )
        )
    warm = points[len(points) // 10 :] or points
    grown = max(p["rss_mb"] for p in warm) - warm[0]["rss_mb"] if warm else 0.0
    whole = counts.labelled + counts.dropped + counts.corrupt == counts.produced == wanted
    leaks = bool(warm) and max(p["descriptors"] for p in warm) > warm[0]["descriptors"] + 4
    record = {
        "frames": wanted,
        "labelled": counts.labelled,
        "dropped": counts.dropped,
        "corrupt": counts.corrupt,
        "reconnects": counts.reconnects,
        "faults": seen,
        "grown_mb": round(grown, 2),
        "seconds": round(seconds, 1),
        "accounted_for": whole and labelled == counts.labelled,
    }
    print(json.dumps(record))
    return int(not whole or labelled != counts.labelled or grown > LIMIT_MB or leaks)


if __name__ == "__main__":
    sys.exit(main())
