"""What a finished training is worth: measured on the held-out pictures, written into the run, and told."""

from __future__ import annotations

import dataclasses

from edgecnn_training import confidence, health, loop, memory, predictions, run_data, screen
from edgecnn_training import run as runs
from edgecnn_training.accuracy import evaluate, in_batches
from edgecnn_training.confidence import tempered
from edgecnn_training.loading import Dataset
from edgecnn_training.networks import load_best
from edgecnn_training.pictures import Floats
from edgecnn_training.predictions import Said
from edgecnn_training.report import figures, page
from edgecnn_training.report.tensorboard import HeldOut, TensorBoard
from edgecnn_training.run import Run
from edgecnn_training.run_data import Codes, held_out, pictures


def report(run: Run, data: Dataset, codes: Codes, board: TensorBoard | None) -> None:
    """Measure the best checkpoint, write ``result.json``, the lists and the pictures of it, and tell the result.

    Args:
        run: A run that is finished.
        data: What it was trained on.
        codes: The split of each of the data's records.
        board: Takes the end of the training; None writes nothing for TensorBoard.

    Raises:
        SinkError: A file cannot be written.
    """
    best, network = load_best(run)
    split, chosen = held_out(data, codes)
    scorer = loop.keras_scorer(network, run.info.normalization)
    scores = in_batches(scorer, chosen.images, chosen.rows)
    result = evaluate(run.info.labels, chosen.class_index, scores.argmax(1))
    trusted = pictures(data, codes, "validation")
    validation = in_batches(scorer, trusted.images, trusted.rows)
    chances, limit = confidence.measure(validation, trusted.class_index, scores, chosen.class_index)
    leaked = health.known(run.path).get(split, 0)
    record = {
        "type": "train",
        "run": str(run.path),
        "split": split,
        "epoch": best.state.epoch,
        "validation_top1": best.state.validation_top1,
        "leaked": leaked,
        **result.to_record(),
        "calibration": dataclasses.asdict(chances),
        "unknown": dataclasses.asdict(limit),
        "peak_memory_bytes": memory.peak_bytes(),
    }
    runs.write_json(run.path / "result.json", record)
    final = {name: tempered(said, chances.temperature) for name, said in (("validation", validation), (split, scores))}
    _list(run, data, codes, final, limit.threshold)
    if board is not None:
        held = HeldOut(split, chosen, run_data.names(data, codes, split), final[split])
        board.end(network, held, {"validation": best.state.validation_top1, split: result.top1}, best.state.step)
    flattered = f", flattered by {leaked:,} pictures that it knows" if leaked else ""
    screen.emit(record, f"{split} {screen.accuracy(result)}{flattered}    checkpoint of epoch {best.state.epoch}")
    screen.say(confidence.told(chances, limit))
    figures.confusion(run.path / "confusion.png", result, f"{run.path.name}: {split}, {result.n} pictures")
    screen.say(f"report: {page.write(run, data, codes, network, scores)}")
    screen.say(f"next:  edgecnn export {screen.word(run.path)} -o {screen.word(run.path.name + '.onnx')}")


def _list(run: Run, data: Dataset, codes: Codes, final: dict[str, Floats], threshold: float) -> None:
    """``predictions.csv``: what was said of each picture of some splits."""
    parts = [
        Said(name, run_data.names(data, codes, name), pictures(data, codes, name).class_index, scores)
        for name, scores in final.items()
    ]
    predictions.write(run.path / predictions.NAME, run.info.labels, parts, threshold or None)
