"""What TensorBoard's files cost a training: the same run with and without them, in turns.

    python benchmarks/tensorboard_cost.py [--runs 5] [-o cost.json] [-- glyphs --recipe glyphs --epochs 2]

What stands after ``--`` goes to `edgecnn train`; without it, that is the training of ``edgecnn demo --quick``. The
ratio is that of the medians; processor time is what other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path

from commands import train

OPTIONS = ("--no-tensorboard", "--tensorboard")
QUICK_DEMO = ("glyphs", "--recipe", "glyphs", "--epochs", "2")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("words", nargs="*", default=list(QUICK_DEMO))
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("edgecnn train", *arguments.words)
    times: dict[str, list[tuple[float, float]]] = {option: [] for option in OPTIONS}
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder) / "warm", [*arguments.words, OPTIONS[0]])  # reads the data for the first time
        for number in range(arguments.runs):
            for option in OPTIONS if number % 2 == 0 else OPTIONS[::-1]:
                taken = train(Path(folder) / f"{number}{option}", [*arguments.words, option])
                times[option].append((taken.clock, taken.user + taken.system))
                print(f"  {option:17} {times[option][-1][0]:6.1f} s, {times[option][-1][1]:6.1f} s of the processor")
        files = [path for path in (Path(folder) / "0--tensorboard" / "tensorboard").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    ratios = []
    for kind, index in (("clock", 0), ("processor", 1)):
        without, with_files = (statistics.median(pair[index] for pair in times[option]) for option in OPTIONS)
        ratios.append(with_files / without)
        print(f"{kind:9}  {without:6.1f} s → {with_files:6.1f} s   {100 * (ratios[-1] - 1):+.1f} %")
    print(f"files      {size / 1e6:.1f} MB")
    if arguments.output:
        record = {"words": arguments.words, "times": times, "ratios": ratios, "bytes": size}
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
