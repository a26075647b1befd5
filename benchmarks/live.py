"""How old labels are under load, and what a feed costs beyond its decoding.

    python benchmarks/live.py MODEL [--seconds 60] [--slow 150]

First a network camera (the RTSP server of the tests, H.264, 30 frames a second, in a process of its own) is read by a
model that is slowed down: the times from a frame's arrival to its label, and from the moment at which it was painted,
since the server paints a clock into every frame. Then ``edgecnn predict MODEL 'test:?fps=10'`` is compared with a
reader of the same feed that does nothing with the frames: processor time of both, start-up taken off.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "runtime"))

from edgecnn import Classifier, open_source, run
from edgecnn.frames import Image
from edgecnn.prediction import ErrorResult, Result, Scores

FPS = 10
READER = "import sys; from edgecnn import open_source\nfor frame in open_source(sys.argv[1]): pass"


class Slow(Classifier):
    """A classifier that takes so long for each picture."""

    seconds = 0.15

    def scores(self, images: Image) -> Scores:
        """As the classifier's own, later."""
        time.sleep(self.seconds)
        return super().scores(images)


class Ages:
    """A sink that notes how old each frame is, by the clock that is painted in it."""

    wants = ("image",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.painted: list[float] = []
        self.arrived: list[float] = []

    def write(self, result: Result | ErrorResult) -> None:
        """Note a frame's age; ends the run when the time is over."""
        from rtsp_server import read_clock

        if isinstance(result, Result) and result.image is not None:
            now = int(time.monotonic() * 1000) & 0xFFFFFFFF
            self.painted.append(now - read_clock(result.image))
            self.arrived.append(result.ms["capture_to_label"])
        if time.monotonic() > self._end:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Nothing to give back."""


def serve(pipe: object) -> None:
    """The camera, in a process of its own."""
    from rtsp_server import Server

    pipe.send(Server().url)  # type: ignore[attr-defined]
    time.sleep(10**6)


def under_load(model: str, seconds: float, slow_ms: float) -> None:
    """Print the ages of labels."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = ours.recv()
    Slow.seconds = slow_ms / 1000
    ages = Ages(seconds)
    with Slow(model, device="cpu", self_test=False) as classifier:
        source = open_source(url)
        summary = run(source, classifier, ages)
    server.terminate()
    counts = summary.feeds[url]
    print(
        f"a model of {slow_ms:g} ms on 30 frames a second, {seconds:g} s: {summary.frames} labels, "
        f"{counts.dropped} dropped"
    )
    for name, values in (("arrival to label", ages.arrived), ("painted to label", ages.painted)):
        p50, p99 = np.percentile(values, [50, 99])
        print(f"  {name}: p50 {p50:.0f}, p99 {p99:.0f}, most {max(values):.0f} ms: {p99 / slow_ms:.2f} model times")


def processor_s(command: list[str]) -> float:
    """Processor time of a command, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cost(model: str, seconds: float) -> None:
    """Print the share of a core that predicting takes beyond decoding."""
    few, many = FPS, FPS * round(seconds)
    predict = [os.path.join(os.path.dirname(sys.executable), "edgecnn"), "predict", model]
    commands = {"predict": predict, "read": [sys.executable, "-c", READER]}
    taken = {
        name: processor_s([*command, f"test:?fps={FPS}&frames={many}"])
        - processor_s([*command, f"test:?fps={FPS}&frames={few}"])
        for name, command in commands.items()
    }
    ran = (many - few) / FPS
    share = {name: value / ran for name, value in taken.items()}
    print(f"test: at {FPS} frames a second for {ran:.0f} s: {share['predict']:.1%} of a core; to read it without a ")
    print(f"model takes {share['read']:.1%}: the model and what belongs to it {share['predict'] - share['read']:.1%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--slow", type=float, default=150, help="milliseconds")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    under_load(arguments.model, arguments.seconds, arguments.slow)
    cost(arguments.model, arguments.seconds)


if __name__ == "__main__":
    main()
