"""What an export begins with: a network, read from a run, and the pictures to calibrate, choose and measure by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from edgecnn.errors import UsageError
from edgecnn.frames import Image
from edgecnn_training import confidence, locations, loop, networks, run_data, screen
from edgecnn_training.accuracy import in_batches
from edgecnn_training.calibrate import with_negatives
from edgecnn_training.export import any_size
from edgecnn_training.export.claims import Source
from edgecnn_training.export.container import Identity
from edgecnn_training.pictures import Pictures
from edgecnn_training.run import Run

INPUTS: tuple[Literal["fixed", "any"], ...] = ("fixed", "any")
PARITY_PICTURES = 512


@dataclass(frozen=True, slots=True)
class Material:
    """A network, read for export, with the pictures to export it by.

    Attributes:
        source: Where it is from.
        model: The network, with the temperature in its last layer; normalised pictures → logits.
        identity: What the card will say.
        split: Name of the split that it is measured on.
        held_out: The pictures of that split; none where there is no data, then nothing is measured.
        train: The pictures to calibrate on: training pictures, or none.
        validation: The validation pictures, or none.
        parity: Pictures on which the float32 file is compared with Keras.
        temperature: What the logits are divided by.
        ece_before: Expected calibration error without it.
        as_they_lie: Gives some of the held-out pictures, decoded and not scaled; generated ones where there is no data.
    """

    source: Source
    model: keras.Model
    identity: Identity
    split: str
    held_out: Pictures
    train: Pictures
    validation: Pictures
    parity: Pictures
    temperature: float
    ece_before: float
    as_they_lie: Callable[[], Iterator[Image]]


def of_run(
    run_path: Path, location: str | None, name: str, output: Path = Path("model.onnx"), sizes: str = "fixed"
) -> Material:
    """Read a run, its best network and its data; `output` must not lie among these."""
    run = Run.open(run_path)
    if locations.holds(location or run.info.data_location, output):
        raise UsageError(f"--output must lie outside of the data; {output} lies in it: name another file")
    best, network = networks.load_best(run)
    data = run_data.load_data_of(run, location)
    codes = run_data.codes_of(run, data)
    split, held_out = run_data.held_out(data, codes)
    train = run_data.pictures(data, codes, "train")
    if run.info.recipe.invert:
        train = with_negatives(train)
    ordered = np.argsort(-codes.astype(np.int64), kind="stable")[:PARITY_PICTURES]  # test first, then validation
    screen.say(f"{run.path}  {run.info.recipe.arch}, checkpoint of epoch {best.state.epoch}")
    if told := networks.unfinished(run):
        screen.say(f"note: the run is not finished, {told}")
    validation = run_data.pictures(data, codes, "validation")
    scorer = loop.keras_scorer(network, run.info.normalization)
    temperature = confidence.fit_temperature(
        in_batches(scorer, validation.images, validation.rows), validation.class_index
    )
    before = confidence.ece(in_batches(scorer, held_out.images, held_out.rows), held_out.class_index)
    return Material(
        source=Source.of_run(run, split),
        model=networks.with_temperature(network, temperature),
        identity=Identity(name, run.info.labels, replace(run.info.input, sizes=INPUTS[INPUTS.index(sizes)])),
        split=split,
        held_out=held_out,
        train=train,
        validation=validation,
        parity=Pictures(data.images, data.rows[ordered], data.class_index[ordered]),
        temperature=temperature,
        ece_before=before,
        as_they_lie=partial(
            any_size.as_they_lie, location or run.info.data_location, run_data.hashes(data, codes, split)
        ),
    )
