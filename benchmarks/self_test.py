"""What a model's self-test costs at load.

    python benchmarks/self_test.py MODEL... [--rounds 40]

Each model is opened with and without its self-test in turns, in one process, and the medians are compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

from edgecnn import Classifier


def opened_ms(model: Path, *, self_test: bool) -> float:
    """Milliseconds to open a model."""
    began = time.perf_counter()
    with Classifier(model, device="cpu", self_test=self_test):
        return (time.perf_counter() - began) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=40, help="how often each is opened (default: %(default)s)")
    asked = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for model in asked.models:
        opened_ms(model, self_test=True)
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(asked.rounds):
            for with_it, own in times.items():
                own.append(opened_ms(model, self_test=with_it))
        tested, plain = (statistics.median(times[with_it]) for with_it in (True, False))
        print(f"{model.name}: {tested:.1f} ms with the self-test, {plain:.1f} without: {tested - plain:.1f} ms")


if __name__ == "__main__":
    main()
