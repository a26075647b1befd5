"""Weights of 7 and of 8 bits, on this CPU and on an emulated one without VNNI.

    python benchmarks/saturation.py runs/micro runs/small runs/lecture-b --pictures 2000

For each finished run two int8 files with their self-tests are made, and one with 4-bit dense layers where it has large
ones. Each file judges the test split here, and its first pictures once more under ``qemu-x86_64 -cpu Haswell``:
accuracy, how far a score moves, how many pictures of its self-test fail there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgecnn import Classifier
from edgecnn.self_test import SelfTest, picture

_BATCH = 50


def judged(path: str, pictures: str, scores: str) -> None:
    """Run under the emulator: scores of pictures, and the self-test's differences, into a file."""
    images = np.load(pictures)
    with Classifier(path, device="cpu", self_test=False) as model:
        test, spec = SelfTest.from_card(model.card), model.card.input
        assert test is not None
        apart = []
        for seed, expected in zip(test.seeds, test.expected, strict=True):
            row = model.scores(picture(seed, spec.height, spec.width, spec.channels)[np.newaxis])[0]
            apart.append(max(abs(float(row[index]) - score) for index, score in expected))
        parts = [model.scores(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    np.savez(scores, scores=np.concatenate(parts), apart=apart, tolerance=test.tolerance)


def made(run: Path, folder: Path) -> tuple[dict[str, dict[str, object]], np.ndarray, np.ndarray]:
    """The files of a run, with what is known of each here; the test pictures and their classes."""
    from edgecnn_training.export import container, exporter
    from edgecnn_training.export.candidates import Workshop, timed
    from edgecnn_training.export.claims import Shipped, of
    from edgecnn_training.export.convert import to_onnx
    from edgecnn_training.export.dense import large
    from edgecnn_training.export.material import of_run
    from edgecnn_training.export.quantize import Scheme, load

    material = of_run(run, None, run.name)
    workshop = Workshop(folder, material.identity, material.train, material.validation)
    exact = workshop.exact(to_onnx(material.model, material.identity.input, material.source.normalization))
    schemes, dense = [Scheme("int8"), Scheme("int8 full", full_range=True)], large(load(folder / "folded.onnx").graph)
    if dense:
        schemes.append(Scheme("int8 dense 4", dense_nodes=dense, dense_bits=4))
    held_out = material.held_out
    images, truth = np.asarray(held_out.images[held_out.rows]), held_out.class_index
    before, result = exact.scores(held_out), {}
    for candidate in timed([exact, *map(workshop.quantized, schemes)], images[:1]):
        scores = candidate.scores(held_out)
        test = exporter._self_test(candidate, material.identity.input)
        path = folder / f"{candidate.name.replace(' ', '-')}-shipped.onnx"
        more = of(Shipped(candidate, scores, before, test, None), material)
        container.write(path, candidate.graph, material.identity, candidate.precision, more)
        result[candidate.name] = {
            "path": str(path),
            "top1": float(np.mean(scores.argmax(1) == truth)),
            "flips": int((scores.argmax(1) != before.argmax(1)).sum()),
            "mean_difference": float(np.abs(scores - before).max(1).mean()),
            "ms": candidate.milliseconds,
        }
    return result, images, truth


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=2000, help="under the emulator (default: %(default)s)")
    asked = parser.parse_args()
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None:
        sys.exit("needs qemu-x86_64 (Debian: apt install qemu-user-static)")
    from edgecnn_training.backend import start_keras

    start_keras("to export", backend="tensorflow")
    for run in asked.runs:
        with tempfile.TemporaryDirectory(prefix="edgecnn-saturation-") as name:
            folder = Path(name)
            files, images, truth = made(run, folder)
            chosen, known = images[: asked.pictures], truth[: asked.pictures]
            np.save(folder / "pictures.npy", chosen)
            for scheme, own in files.items():
                for place, command in (("here", []), ("there", [emulator, "-cpu", "Haswell"])):
                    more = [sys.executable, __file__, "judge", str(own["path"]), str(folder / "pictures.npy")]
                    out = str(folder / f"{place}.npz")
                    subprocess.run([*command, *more, out], check=True, stderr=subprocess.DEVNULL)
                here, there = (np.load(folder / f"{place}.npz") for place in ("here", "there"))
                own |= {
                    "pictures": len(chosen),
                    "top1_here": float(np.mean(here["scores"].argmax(1) == known)),
                    "top1_there": float(np.mean(there["scores"].argmax(1) == known)),
                    "moved": float(np.abs(here["scores"] - there["scores"]).max()),
                    "self_test_fails": int((there["apart"] > there["tolerance"]).sum()),
                    "self_test_worst": float(there["apart"].max()),
                }
                own.pop("path")
                print(json.dumps({"run": run.name, "scheme": scheme, **own}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["judge"]:
        judged(*sys.argv[2:])
    else:
        main()
