"""What it saves that a training keeps the memory it has freed: the same run with and without, in turns.

    python benchmarks/allocator.py [--runs 3] [-o allocator.json] [-- glyphs --recipe glyphs --epochs 2]

What stands after ``--`` goes to `edgecnn train`; without it, that is the training of ``edgecnn demo --quick``. Without
means with glibc's own defaults, which ``MALLOC_TOP_PAD_=131072`` asks for. The ratio is that of the medians, whole
processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

from commands import Training, train

QUICK_DEMO = ("glyphs", "--recipe", "glyphs", "--epochs", "2")
SETTINGS: dict[str, dict[str, str]] = {"returned": {"MALLOC_TOP_PAD_": "131072"}, "kept": {}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("words", nargs="*", default=list(QUICK_DEMO))
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {' '.join(platform.libc_ver())}")
    print("edgecnn train", *arguments.words)
    taken: dict[str, list[Training]] = {name: [] for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder) / "warm", arguments.words)  # reads the data for the first time
        for number in range(arguments.runs):
            for name in list(SETTINGS)[:: 1 if number % 2 == 0 else -1]:
                one = train(Path(folder) / f"{number}{name}", arguments.words, SETTINGS[name])
                taken[name].append(one)
                print(
                    f"  {name:8} {one.clock:6.1f} s, of the processor {one.user:6.1f} s in the program and "
                    f"{one.system:6.1f} s in the kernel, {one.peak / 2**20:,.0f} MiB"
                )
    ratios = {}
    for kind in ("clock", "user", "system", "peak"):
        before, after = (statistics.median(getattr(one, kind) for one in taken[name]) for name in SETTINGS)
        ratios[kind] = after / before
        print(f"{kind:7} kept / returned {after / before:.2f}")
    if arguments.output:
        record = {name: [asdict(one) for one in runs] for name, runs in taken.items()}
        arguments.output.write_text(json.dumps({"words": arguments.words, "ratios": ratios, **record}, indent=2) + "\n")


if __name__ == "__main__":
    main()
