"""Time to 99 % on MNIST: edgecnn's recipe `mnist-fast` against the script that everybody begins with, in one run.

    python benchmarks/time_to_accuracy.py ../shared/data/mnist --seeds 3

The plain script is Keras's own "Simple MNIST convnet" (keras-team/keras-io, examples/vision/mnist_convnet.py): the same
network, Adam, batches of 128, shuffled arrays. It is stopped after the first epoch whose validation accuracy is 99 % or
more, which flatters it: nobody knows beforehand when to stop. Ours is trained to the end of its recipe and must then be
at 99 % or more. Both are judged by the same 6,000 of the 60,000 pictures, which they do not train on; the test set is
looked at once, at the end. Both run alone, one after the other, in processes of their own. Two times are compared: that
of the training loop (validation included), and that of the whole process (Python, imports, reading the data; ours
without a cache).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 0.99
PLAIN_EPOCHS = 15


def plain(data: Path, seed: int, held_out: Path) -> None:
    """The plain script; prints one JSON line. `held_out` lists the content hashes of the validation pictures."""
    import keras
    import numpy as np
    from edgecnn_training.dataset import content_hash
    from edgecnn_training.datasets import idx

    keras.utils.set_random_seed(seed)
    held_out_hashes = set(json.loads(held_out.read_text()))
    found: dict[str, tuple[list[np.ndarray], list[int]]] = {"train": ([], []), "validation": ([], []), "test": ([], [])}
    for example in idx.load(str(data)):
        held = example.split == "train" and content_hash(example.image).hex() in held_out_hashes
        images, labels = found["validation" if held else example.split]
        images.append(example.image)
        labels.append(int(example.label))
    (x, y), held, (x_test, y_test) = (
        (np.stack(images).astype("float32") / 255, keras.utils.to_categorical(labels, 10))
        for images, labels in found.values()
    )
    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            keras.layers.MaxPooling2D(pool_size=(2, 2)),
            keras.layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            keras.layers.MaxPooling2D(pool_size=(2, 2)),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            self.epochs, self.reached = epoch + 1, logs["val_accuracy"]
            self.model.stop_training = self.reached >= GOAL

    stop, began = Stop(), time.monotonic()
    network.fit(
        x,
        y,
        batch_size=128,
        epochs=PLAIN_EPOCHS,
        validation_data=held,
        callbacks=[stop],
        verbose=0,
    )
    seconds = time.monotonic() - began
    test = network.evaluate(x_test, y_test, verbose=0)[1]
    print(json.dumps({"loop_s": seconds, "epochs": stop.epochs, "validation": stop.reached, "test": test}))


def run_plain(data: Path, seed: int, held_out: Path) -> dict[str, float]:
    """Time the plain script as a process."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, str(data), "--plain", str(held_out), "--seeds", str(seed)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {**json.loads(done.stdout.splitlines()[-1]), "process_s": time.monotonic() - began}


def run_ours(data: Path, seed: int, held_out: Path) -> dict[str, float]:
    """Time ``edgecnn train`` as a process, with an empty cache; writes down which pictures it validated on."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "edgecnn", "train", str(data), "--recipe", "mnist-fast", "--run", str(run)]
        began = time.monotonic()
        environment = os.environ | {"XDG_CACHE_HOME": str(Path(folder) / "cache")}
        subprocess.run([*command, "--seed", str(seed)], capture_output=True, check=True, env=environment)
        seconds = time.monotonic() - began
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        result = json.loads((run / "result.json").read_text())
        with (run / "splits.csv").open(newline="") as file:
            rows = csv.DictReader(file)
            held_out.write_text(json.dumps([row["content_hash"] for row in rows if row["split"] == "validation"]))
    return {
        "loop_s": sum(line["seconds"] for line in metrics),
        "epochs": len(metrics),
        "validation": metrics[-1]["validation_top1"],
        "test": result["top1"],
        "process_s": seconds,
    }


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with MNIST's four IDX files")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs of each, with the seeds 0, 1 …")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="write JSON here")
    arguments = parser.parse_args()
    if arguments.plain:
        plain(arguments.data, arguments.seeds, arguments.plain)
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    results: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            for name, measure in (("ours", run_ours), ("plain", run_plain)):
                found = measure(arguments.data, seed, Path(folder) / "held-out.json")
                results[name].append(found)
                print(
                    f"seed {seed}  {name:5}  loop {found['loop_s']:6.1f} s  process {found['process_s']:6.1f} s  "
                    f"{found['epochs']:2} epochs  validation {found['validation']:.4f}  test {found['test']:.4f}",
                    flush=True,
                )
    for kind in ("loop_s", "process_s"):
        ratios = [a[kind] / b[kind] for a, b in zip(results["plain"], results["ours"], strict=True)]
        text = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"{kind}: ours is {statistics.median(ratios):.1f} times faster (median of {text})")
    missed = [run["validation"] for runs in results.values() for run in runs if run["validation"] < GOAL]
    print(f"{len(missed)} of {2 * arguments.seeds} runs missed {GOAL:.0%} on validation")
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
