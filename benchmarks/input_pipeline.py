"""How long the trainer waits for its pictures: steps with real batches against steps with one that is there.

    python benchmarks/input_pipeline.py RUN [--steps 150] [--rounds 3]

RUN is a directory that `edgecnn train` made; its network, recipe and pictures are used, and nothing in it is changed.
The idle share is what the steps with real batches take longer, as a share of them: time spent drawing, augmenting and
normalising pictures that the training did not hide. Both kinds of steps alternate in one process, so that they share
the machine's mood.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    from edgecnn_training.backend import start_keras

    start_keras("to measure")
    import keras
    from edgecnn_training import loop, memory, networks, run_data
    from edgecnn_training.batches import Batches, Treatment
    from edgecnn_training.run import Run

    run = Run.open(arguments.run)
    info, recipe = run.info, run.info.recipe
    data = run_data.load_data_of(run, None)
    train = run_data.pictures(data, run_data.codes_of(run, data), "train")
    shape = (info.input.height, info.input.width, info.input.channels)
    model = networks.build(recipe, shape, len(info.labels))
    loop.compile_model(model, recipe, 1_000_000)
    treatment = Treatment(info.normalization, recipe.augmentation, mixup=recipe.mixup, balance=recipe.balance)

    def batches(first: int) -> Batches:
        return Batches(
            train,
            len(info.labels),
            batch_size=recipe.batch_size,
            seed=0,
            treatment=treatment,
            first=first,
            last=first + arguments.steps,
        )

    fixed = batches(0)[0]

    class Same(keras.utils.PyDataset):
        def __len__(self) -> int:
            return arguments.steps

        def __getitem__(self, index: int) -> object:
            return fixed

    def timed(source: keras.utils.PyDataset) -> float:
        began = time.monotonic()
        model.fit(source, shuffle=False, verbose=0)
        return (time.monotonic() - began) / arguments.steps

    timed(Same())  # traces the graph
    real, same = [], []
    for number in range(arguments.rounds):
        real.append(timed(batches(number * arguments.steps)))
        same.append(timed(Same()))
    idle = [1 - there / fetched for fetched, there in zip(real, same, strict=True)]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; {recipe.arch} at {shape}")
    print(
        f"a step of {recipe.batch_size}: {statistics.median(real) * 1000:.1f} ms with real batches, "
        f"{statistics.median(same) * 1000:.1f} ms with one that is there"
    )
    print(f"idle share {statistics.median(idle):.1%} (median of {', '.join(f'{share:.1%}' for share in idle)})")
    print(f"peak memory {memory.peak_bytes() / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
