"""Memory and time to survey, split and cache a large data set of random 28×28 pictures.

    python benchmarks/cache_memory.py [--images 500000]

Everything lies in a temporary folder that is removed afterwards (3 times the size of the pixels: 1.2 GB for 500,000).
The peak is the process's own, Python and NumPy included; pages of the memory-mapped cache count where they are read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import struct
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE = 28
CLASSES = 10


def write_idx(folder: Path, stem: str, count: int, seed: int) -> None:
    """One pair of IDX files, written in blocks."""
    rng = np.random.default_rng(seed)
    with (folder / f"{stem}-images-idx3-ubyte").open("wb") as images:
        images.write(struct.pack(">4I", 0x803, count, SIDE, SIDE))
        for start in range(0, count, 10_000):
            images.write(rng.bytes(min(10_000, count - start) * SIDE * SIDE))
    labels = (np.arange(count) % CLASSES).astype(np.uint8)
    (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())


def peak_mib() -> float:
    """Most memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=500_000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "idx"
        folder.mkdir()
        write_idx(folder, "train", count - count // 7, 0)
        write_idx(folder, "t10k", count // 7, 1)
        os.environ["XDG_CACHE_HOME"] = temporary

        from edgecnn_training import cache, dataset, splits

        steps = {"start": (0.0, peak_mib())}
        begin = time.perf_counter()
        survey = dataset.survey(str(folder))
        steps["survey"] = (time.perf_counter() - begin, peak_mib())
        begin = time.perf_counter()
        splits.assign(survey.records, method="random", seed=0)
        steps["split"] = (time.perf_counter() - begin, peak_mib())
        begin = time.perf_counter()
        opened = cache.open_cache(survey, height=SIDE, width=SIDE, channels=1, fit="crop")
        steps["cache"] = (time.perf_counter() - begin, peak_mib())
        assert opened.images.shape == (count, SIDE, SIDE, 1)
    print(f"{count:,} pictures of {SIDE}×{SIDE}, {count * SIDE * SIDE / 2**20:,.0f} MiB of pixels")
    for name, (seconds, peak) in steps.items():
        print(f"  {name:8} {seconds:7.1f} s   peak {peak:6.0f} MiB")
    print(json.dumps({"images": count, "steps": steps}))


if __name__ == "__main__":
    main()
