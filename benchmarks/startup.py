"""Start-up: `edgecnn --help` and one `edgecnn predict`, as whole processes, against the bare imports they need.

    python benchmarks/startup.py MODEL PICTURE

The commands take turns, so that a busy machine slows all of them; read the ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

RUNS = 20


def main() -> None:
    """Time the four commands in turn and print medians and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("picture")
    arguments = parser.parse_args()
    edgecnn = os.path.join(os.path.dirname(sys.executable), "edgecnn")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "edgecnn --help": [edgecnn, "--help"],
        "import numpy, onnxruntime, PIL.Image": [sys.executable, "-c", "import numpy, onnxruntime, PIL.Image"],
        "edgecnn predict MODEL PICTURE": [edgecnn, "predict", arguments.model, arguments.picture],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    for turn in range(RUNS + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if turn:  # the first turn fills the caches
                times[name].append(time.perf_counter() - began)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, n {RUNS} each, in turn")
    for name, own in times.items():
        own.sort()
        low, middle, high = (1000 * seconds for seconds in (own[0], statistics.median(own), own[-1]))
        print(f"{name:38} median {middle:4.0f} ms  min {low:4.0f}  max {high:4.0f}")
    bare, predict = times["import numpy, onnxruntime, PIL.Image"], times["edgecnn predict MODEL PICTURE"]
    print(f"predict is {statistics.median(predict) / statistics.median(bare):.2f} times the bare imports")


if __name__ == "__main__":
    main()
