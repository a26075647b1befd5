"""What it costs that a model tells where it looks: a file of ``export --explain`` against the same one without.

    python benchmarks/explain.py PLAIN EXPLAINING [PLAIN EXPLAINING …] [--rounds 600]

One picture, one thread, through `edgecnn.Classifier` and in ONNX Runtime alone. In each round the ways take turns, each
for some calls, and a round gives one ratio to PLAIN for each way, so that a busy machine slows all of them; the medians
of these ratios are printed, with the 95 % interval of the median by its order statistics.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgecnn import Classifier
from edgecnn.self_test import picture
from edgecnn.session import load_onnxruntime, open_session

CALLS, WARM = 4, 2


def main() -> None:
    """Measure each pair and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="PLAIN EXPLAINING")
    parser.add_argument("--rounds", type=int, default=600, help="ratios of each way (default: %(default)s)")
    asked = parser.parse_args()
    if len(asked.models) % 2:
        parser.error("models come in pairs: one without --explain, one with it")
    version = load_onnxruntime().__version__
    print(f"{_processor()}, {os.cpu_count()} cores, ONNX Runtime {version}, n {asked.rounds} rounds of {CALLS} calls")
    for plain, explaining in zip(asked.models[::2], asked.models[1::2], strict=True):
        measure(plain, explaining, asked.rounds)


def measure(plain: Path, explaining: Path, rounds: int) -> None:
    """One pair."""
    with (
        Classifier(plain, device="cpu", threads=1) as without,
        Classifier(explaining, device="cpu", threads=1) as with_it,
    ):
        spec = without.card.input
        image = picture(1, spec.height, spec.width, spec.channels)[np.newaxis]
        assert np.array_equal(with_it.explained(image)[0], without.scores(image)), "these are not two files of one run"
        bare, whole = (open_session(path.read_bytes(), device="cpu", threads=1) for path in (plain, explaining))
        ways: dict[str, Callable[[], object]] = {
            "plain": lambda: without.scores(image),
            "not asked for the map": lambda: with_it.scores(image),
            "asked for it": lambda: with_it.explained(image),
            "alone: plain": lambda: bare.run({"image": image}, ["scores"]),
            "alone: not asked for the map": lambda: whole.run({"image": image}, ["scores"]),
            "alone: asked for it": lambda: whole.run({"image": image}),
        }
        times = timed(ways, rounds)
    print(f"{explaining.name}: {spec.height}×{spec.width}, {without.card.precision}")
    for name, own in times.items():
        base = times["alone: plain" if name.startswith("alone") else "plain"]
        ratios = sorted(one / other for one, other in zip(own, base, strict=True))
        low, high = interval(ratios)
        print(
            f"  {name:30} {statistics.median(own) * 1e6:7.1f} µs   "
            f"{statistics.median(ratios):.4f} times plain ({low:.4f} to {high:.4f})"
        )


def timed(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call of each way, one number a round.

    The order is drawn anew for each round: where one way always follows the same other one, two equal graphs differ by
    more than a hundredth, for the other's weights lie in the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    names, order = list(ways), random.Random(0)
    for turn in range(rounds + 20):
        order.shuffle(names)
        for name in names:
            call = ways[name]
            for _ in range(WARM):
                call()  # brings its own weights back into the caches
            began = time.perf_counter()
            for _ in range(CALLS):
                call()
            if turn >= 20:
                times[name].append((time.perf_counter() - began) / CALLS)
    return times


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median of sorted numbers."""
    half = 0.98 * math.sqrt(len(ordered))
    middle = len(ordered) / 2
    return ordered[max(0, math.floor(middle - half))], ordered[min(len(ordered) - 1, math.ceil(middle + half))]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
