"""Sources whose faults are known beforehand, for tests of live feeds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgecnn.errors import ImageError, SourceError
from edgecnn.frames import Failure, Frame, Item, Source

Step = str | float


class Scripted:
    """A live source that does what its script says.

    Args:
        script: ``"frame"``, ``"bad"`` (a frame that cannot be decoded), ``"lost"`` (an error), ``"hang"`` (until it is
            closed), ``"old"`` (a frame that came ten seconds ago), or how many seconds to wait.
    """

    live = True

    def __init__(self, script: Sequence[Step], name: str = "cam") -> None:
        self.script, self.name = script, name
        self.closed = threading.Event()
        self.given = 0

    def __iter__(self) -> Iterator[Item]:
        for step in self.script:
            if self.closed.is_set():
                return
            if isinstance(step, float):
                self.closed.wait(step)
            elif step == "hang":
                self.closed.wait(60)
                return
            elif step == "lost":
                raise SourceError("the cable was pulled")
            elif step == "bad":
                yield Failure(self.name, ImageError("damaged"))
            else:
                self.given += 1
                age_ns = 10_000_000_000 if step == "old" else 0
                yield picture(self.name, self.given - 1, time.monotonic_ns() - age_ns)

    def close(self) -> None:
        self.closed.set()


def picture(name: str, index: int, arrived_ns: int | None = None) -> Frame:
    image = np.full((8, 8, 3), index % 256, np.uint8)
    return Frame(image, name, index, 0.1, arrived_ns, numbered=True)


def opener(*scripts: Sequence[Step], name: str = "cam") -> tuple[Callable[[], Source], list[Scripted]]:
    """What opens a source with the next script each time, the last one again and again; and all that were opened."""
    opened: list[Scripted] = []

    def open_next() -> Source:
        script = scripts[min(len(opened), len(scripts) - 1)]
        if script == "refuses":
            opened.append(Scripted(()))
            raise SourceError("refuses the connection")
        opened.append(Scripted(script, name))
        return opened[-1]

    return open_next, opened
