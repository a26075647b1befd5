"""What a model calls unknown: pictures of classes it was not trained on, noise and blank ones, and its own kind.

    python benchmarks/unknown.py notMNIST_small.tar.gz --leave I J
    python benchmarks/unknown.py sign-digits.tar --leave 6 9 --split ordered

The classes named are left out of the training; the others are one `edgecnn train` and one `edgecnn export`, as anyone
would type them, so the threshold is the card's. Then the file that export wrote judges: the test pictures of the known
classes, of which the threshold is to keep 95 %; all pictures of the classes left out; a black and a white picture; and
1,000 each of other plain pictures, of noise in each pixel, and of generated areas and strokes. Beside the shares stands
the area under the ROC curve of the highest score: how often a known picture has a higher one than an unknown one,
whatever the threshold; 50 % is chance.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from commands import edgecnn
from edgecnn_training.accuracy import wilson

from edgecnn import Classifier
from edgecnn.card import InputSpec
from edgecnn.self_test import picture

MADE = 1000
_BATCH = 100


def made(spec: InputSpec) -> dict[str, np.ndarray]:
    """Pictures of nothing, uint8 ``(N, H, W, C)`` each."""
    shape, rng = (spec.height, spec.width, spec.channels), np.random.default_rng(0)
    plain = np.repeat(rng.integers(0, 256, (MADE, 1, 1, spec.channels)), spec.height, 1).repeat(spec.width, 2)
    return {
        "black": np.zeros((1, *shape), np.uint8),
        "white": np.full((1, *shape), 255, np.uint8),
        "plain": plain.astype(np.uint8),
        "noise": rng.integers(0, 256, (MADE, *shape), np.uint8),
        "generated": np.stack([picture(seed, *shape) for seed in range(MADE)]),
    }


def highest(model: Classifier, images: np.ndarray) -> np.ndarray:
    """The highest score of each picture, float32 ``(N,)``."""
    parts = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    return np.concatenate([model.scores(part).max(1) for part in parts])


def above(known: np.ndarray, unknown: np.ndarray) -> float:
    """How often a known picture's score is above an unknown one's, a tie counting half: the area under the curve."""
    ordered = np.sort(known)
    below, up_to = np.searchsorted(ordered, unknown, "left"), np.searchsorted(ordered, unknown, "right")
    return float(1 - (below + up_to).mean() / 2 / len(known))


def tested(run: Path, folder: Path) -> list[Path]:
    """The pictures of a run's test split."""
    with (run / "splits.csv").open(newline="") as file:
        return [folder / row["name"] for row in csv.DictReader(file) if row["split"] == "test"]


def main() -> None:
    """Train, export, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a data set as `edgecnn train` takes it")
    parser.add_argument("--leave", nargs="+", required=True, help="classes to leave out of the training")
    parser.add_argument("--arch", default="micro", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--split", default="random", help="default: %(default)s")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecnn-unknown-") as name:
        folder = Path(name)
        edgecnn("datasets", asked.data, "--save", folder / "known")
        (folder / "unknown").mkdir()
        for label in asked.leave:
            shutil.move(folder / "known" / label, folder / "unknown" / label)
        options = ("--arch", asked.arch, "--epochs", asked.epochs, "--split", asked.split)
        edgecnn("train", folder / "known", "--run", folder / "run", *options)
        edgecnn("export", folder / "run", "-o", folder / "model.onnx")
        result = measured(folder)
    told(asked, result)


def measured(folder: Path) -> dict[str, object]:
    """What the exported file says of every kind of picture."""
    with Classifier(folder / "model.onnx", device="cpu") as model:
        files = {"known classes, test": tested(folder / "run", folder / "known")}
        files |= {f"left out: {own.name}": sorted(own.iterdir()) for own in sorted((folder / "unknown").iterdir())}
        images = {kind: np.stack([model.fit(path) for path in paths]) for kind, paths in files.items()}
        scores = {kind: highest(model, own) for kind, own in (images | made(model.card.input)).items()}
        known, limit = scores["known classes, test"], np.float32(model.card.unknown_below)
        kinds = {}
        for kind, own in scores.items():
            unknown = int((own < limit).sum())
            low, high = wilson(unknown, len(own))
            kinds[kind] = {"n": len(own), "unknown": unknown, "interval": [low, high], "above": above(known, own)}
        return {"threshold": float(limit), "card": model.card.more["accuracy"], "kinds": kinds}


def told(asked: argparse.Namespace, result: Mapping[str, object]) -> None:
    """The table for people, and a JSON line."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("keras", "onnxruntime"))
    accuracy, kinds = result["card"], result["kinds"]
    assert isinstance(accuracy, dict)
    assert isinstance(kinds, dict)
    print(
        f"{Path(asked.data).name} without {' '.join(asked.leave)}: {asked.arch}, {asked.epochs} epochs, {asked.split}"
    )
    print(f"test {accuracy['top1']:.2%} of {accuracy['n']:,}; unknown below {result['threshold']:.3f}")
    print(f"{'':22s} {'n':>6s}  called unknown (95 %)    known above it")
    for kind, own in kinds.items():
        low, high = own["interval"]
        share = (
            f"{own['unknown'] / own['n']:.1%} ({low:.1%} to {high:.1%})" if own["n"] > 1 else str(own["unknown"] > 0)
        )
        print(f"{kind:22s} {own['n']:6,}  {share:26s} {own['above']:.1%}")
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print(json.dumps({"data": asked.data, "left_out": asked.leave, "arch": asked.arch, **result}))


if __name__ == "__main__":
    main()
