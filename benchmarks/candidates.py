"""What each candidate of `edgecnn export --target host` takes for one picture, as a share of what int8 takes.

    python benchmarks/candidates.py runs/lecture-b runs/lecture-a --rounds 3

Each round is 108 calls of each file, in turns, on one thread; the medians are compared.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from edgecnn_training.backend import start_keras


def main() -> None:
    """Make the candidates of each run, and print size, median and share of each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    asked = parser.parse_args()
    start_keras("to export", backend="tensorflow")
    from edgecnn_training.export.candidates import Workshop, timed
    from edgecnn_training.export.convert import to_onnx
    from edgecnn_training.export.material import of_run

    for run in asked.runs:
        with tempfile.TemporaryDirectory(prefix="edgecnn-candidates-") as folder:
            material = of_run(run, None, run.name)
            workshop = Workshop(Path(folder), material.identity, material.train, material.validation)
            exact = workshop.exact(to_onnx(material.model, material.identity.input, material.source.normalization))
            picture = np.asarray(material.parity.images[material.parity.rows[:1]])
            workshop.examine(picture, times=True)
            made = [exact, *workshop.others(exact, here=True)]
            rounds = [[one.milliseconds for one in timed(made, picture)] for _ in range(asked.rounds)]
            (base,) = (place for place, one in enumerate(made) if one.name == "int8")
            for place, one in enumerate(made):
                shares = " ".join(f"{times[place] / times[base]:.2f}" for times in rounds)
                milliseconds = " ".join(f"{times[place]:.4f}" for times in rounds)
                print(f"{run.name}  {one.name:16s} {one.size_bytes / 1000:8,.0f} KB  {milliseconds} ms  {shares}")


if __name__ == "__main__":
    main()
