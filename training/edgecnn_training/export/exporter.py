"""What ``edgecnn export`` does: convert, prove parity, quantise, measure, choose, write.

Every figure is measured on the files themselves, through `edgecnn.Classifier`, the code that will run them.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import onnx

from edgecnn.card import Json
from edgecnn.classifier import Classifier
from edgecnn.errors import AccuracyError, DataError, ModelError, UsageError, printable
from edgecnn_training import checkpoint as checkpoints
from edgecnn_training import confidence, health, loop, networks, run_data, screen
from edgecnn_training.accuracy import Evaluation, evaluate, in_batches
from edgecnn_training.calibrate import calibration_rows
from edgecnn_training.confidence import Calibration, Rejection
from edgecnn_training.disk import scratch
from edgecnn_training.export import container
from edgecnn_training.export.container import Identity
from edgecnn_training.export.convert import tidy, to_onnx
from edgecnn_training.export.quantize import quantize as quantize_static
from edgecnn_training.pictures import Floats, Indices, Pictures
from edgecnn_training.run import Run, versions

CHOICES = ("auto", "int8", "none")
MIN_ONNXRUNTIME = "1.24"
PARITY_PICTURES = 512
PARITY_LIMIT = 1e-4
"""Largest difference of a score between Keras and the float32 file; 2e-6 is usual."""
_SCRATCH_BYTES = 1 << 20
_ALONE = 8  # pictures that are also predicted one by one


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that might be the one that ships.

    Attributes:
        path: Where it lies, in a temporary folder.
        graph: Its content.
        precision: ``"float32"`` or ``"int8"``.
        result: Accuracy on the held-out pictures.
        scores: float32 ``(N, classes)``: what it says of each of them.
    """

    path: Path
    graph: onnx.ModelProto
    precision: str
    result: Evaluation
    scores: Floats

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def predicted(self) -> Indices:
        """int64 ``(N,)``: the label it gave each held-out picture."""
        predicted: Indices = self.scores.argmax(1)
        return predicted


@dataclass(frozen=True, slots=True)
class _Material:
    """A run, read for export."""

    run: Run
    model: keras.Model
    identity: Identity
    split: str
    held_out: Pictures
    train: Pictures
    validation: Pictures
    parity: Pictures
    temperature: float
    ece_before: float


def export(
    run_path: Path, output: Path, *, quantize: str = "auto", max_drop: float = 0.5, data: str | None, name: str | None
) -> None:
    """Export the best checkpoint of a run.

    Args:
        run_path: The run's directory.
        output: The ``.onnx`` file to write; an older one is replaced only when the new one is complete.
        quantize: ``"auto"``, ``"int8"`` or ``"none"``.
        max_drop: Percentage points of top-1 that int8 may lose against float32.
        data: Where the run's data lies now; None is where it lay.
        name: The model's name; None takes the file's.

    Raises:
        UsageError: An option without meaning.
        DataError: The run or its data cannot be used.
        ModelError: The exported file computes something else than Keras.
        AccuracyError: ``"int8"`` was asked for and loses more than `max_drop`.
    """
    _check_options(output, quantize, max_drop)
    material = _gather(run_path, data, _model_name(name or output.stem))
    with scratch("to export", _SCRATCH_BYTES + 16 * material.run.info.complexity.parameters) as folder:  # float32, 4×
        graph = to_onnx(material.model, material.identity.input, material.run.info.normalization)
        exact = _measure(folder / "float32.onnx", graph, "float32", material)
        _prove_parity(exact, material)
        small = None if quantize == "none" else _quantized(folder / "int8.onnx", exact, material)
        chosen, why = choose(exact, small, asked=quantize, max_drop=max_drop)
        screen.say(_table(exact, small, chosen))
        if why:
            screen.say(why)
        if small is not None and chosen is exact and quantize == "int8":
            raise AccuracyError(f"{why}: nothing was written; export with --quantize auto, or raise --max-drop")
        _write(output, chosen, exact, material)
    _finish(output, chosen, exact, material)


def choose(exact: Candidate, small: Candidate | None, *, asked: str, max_drop: float) -> tuple[Candidate, str]:
    """The file that ships, and a line that says why where that is not plain.

    Args:
        exact: float32.
        small: int8, or None where it was not asked for.
        asked: ``"auto"``, ``"int8"`` or ``"none"``.
        max_drop: Percentage points of top-1 that int8 may lose.
    """
    if small is None:
        return exact, ""
    lost = drop(exact.result, small.result)
    if lost > max_drop + 1e-9:
        return exact, f"int8 loses {lost:.2f} points on {exact.result.n:,} pictures, more than --max-drop {max_drop:g}"
    if asked == "auto" and small.size_bytes >= exact.size_bytes:
        return exact, f"int8 is no smaller ({small.size_bytes:,} bytes), so float32 is written"
    return small, ""


def drop(exact: Evaluation, small: Evaluation) -> float:
    """Percentage points of top-1 that `small` loses against `exact`; negative where it gains."""
    return (exact.correct - small.correct) / exact.n * 100


def _check_options(output: Path, quantize: str, max_drop: float) -> None:
    if quantize not in CHOICES:
        raise UsageError(f"--quantize must be one of {', '.join(CHOICES)}; received {quantize!r}")
    if not (math.isfinite(max_drop) and 0 <= max_drop <= 100):
        raise UsageError(f"--max-drop must be 0 to 100 percentage points; received {max_drop}")
    if output.suffix != ".onnx":
        raise UsageError(f"--output must be a file that ends in .onnx; received {str(output)!r}")
    if output.is_dir():
        raise UsageError(f"--output must be a file; {output} is a folder: name a file in it")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output must lie in a folder that exists; make {output.absolute().parent} first")


def _gather(run_path: Path, location: str | None, name: str) -> _Material:
    run = Run.open(run_path)
    best = checkpoints.best(run.checkpoints)
    data = run_data.load_data_of(run, location)
    codes = run_data.codes_of(run, data)
    split, held_out = run_data.held_out(data, codes)
    train = run_data.pictures(data, codes, "train")
    ordered = np.argsort(-codes.astype(np.int64), kind="stable")[:PARITY_PICTURES]  # test first, then validation
    recipe, newest = run.info.recipe, checkpoints.latest(run.checkpoints)
    screen.say(f"{run.path}  {recipe.arch}, checkpoint of epoch {best.state.epoch}")
    if newest.state.epoch < recipe.epochs and not loop.stopped_early(run.read_metrics(), recipe.patience):
        screen.say(f"note: the run is not finished, {newest.state.epoch} of {recipe.epochs} epochs are done")
    network = networks.load_network(run, best)
    validation = run_data.pictures(data, codes, "validation")
    scorer = loop.keras_scorer(network, run.info.normalization)
    temperature = confidence.fit_temperature(
        in_batches(scorer, validation.images, validation.rows), validation.class_index
    )
    before = confidence.ece(in_batches(scorer, held_out.images, held_out.rows), held_out.class_index)
    return _Material(
        run=run,
        model=networks.with_temperature(network, temperature),
        identity=Identity(name, run.info.labels, run.info.input),
        split=split,
        held_out=held_out,
        train=train,
        validation=validation,
        parity=Pictures(data.images, data.rows[ordered], data.class_index[ordered]),
        temperature=temperature,
        ece_before=before,
    )


def _measure(path: Path, graph: onnx.ModelProto, precision: str, material: _Material) -> Candidate:
    """Write a graph with a provisional card and measure it on the held-out pictures."""
    container.write(path, graph, material.identity, precision, {})
    chosen = material.held_out
    with Classifier(path, device="cpu") as classifier:
        scores = in_batches(classifier.scores, chosen.images, chosen.rows)
    result = evaluate(material.run.info.labels, chosen.class_index, scores.argmax(1))
    return Candidate(path, graph, precision, result, scores)


def _prove_parity(exact: Candidate, material: _Material) -> None:
    """Compare the float32 file with Keras on real pictures.

    Raises:
        ModelError: A score differs by more than `PARITY_LIMIT`.
    """
    chosen = material.parity
    with Classifier(exact.path, device="cpu") as classifier:
        ours = in_batches(classifier.scores, chosen.images, chosen.rows)
        alone = in_batches(classifier.scores, chosen.images, chosen.rows[:_ALONE], size=1)
    scorer = loop.keras_scorer(material.model, material.run.info.normalization)
    keras_says = in_batches(scorer, chosen.images, chosen.rows)
    difference = float(np.abs(ours - keras_says).max())
    flips = int((ours.argmax(1) != keras_says.argmax(1)).sum())
    text = f"{len(chosen):,} pictures, largest difference {difference:.1e}, {flips} labels changed"
    if not difference <= PARITY_LIMIT:
        raise ModelError(
            f"the exported file must agree with Keras within {PARITY_LIMIT:g}; {text}: nothing was written. "
            "This is a fault of the network's layers or of edgecnn; please report it with the architecture"
        )
    apart = float(np.abs(alone - ours[: len(alone)]).max())
    if not apart <= PARITY_LIMIT:
        raise ModelError(
            "the scores of a picture must not depend on the others in its batch; "
            f"they differ by {apart:.1e}: the network has a layer that is called in training mode, take that out"
        )
    screen.say(f"parity with Keras: {text}")


def _quantized(path: Path, exact: Candidate, material: _Material) -> Candidate:
    rows = calibration_rows(material.train)
    graph = tidy(quantize_static(exact.path, path, material.train.images, rows))
    return _measure(path, graph, "int8", material)


def _table(exact: Candidate, small: Candidate | None, chosen: Candidate) -> str:
    rows = [["", "size", "top-1", "same label as float32"]]
    for candidate in (exact, small):
        if candidate is not None:
            mark = "✓ " if candidate is chosen else "  "
            agrees = "–" if candidate is exact else screen.percent(_agreement(exact, candidate))
            size, top1 = f"{candidate.size_bytes / 1000:,.0f} KB", screen.percent(candidate.result.top1)
            rows.append([mark + candidate.precision, size, top1, agrees])
    return screen.table(rows, indent="  ")


def _agreement(exact: Candidate, small: Candidate) -> float:
    return float((exact.predicted == small.predicted).mean())


def _write(output: Path, chosen: Candidate, exact: Candidate, material: _Material) -> None:
    """Write the chosen graph with its final card under a temporary name, open it once more, then rename it."""
    temporary = output.with_name(f".{output.name}.partial")
    try:
        card = container.write(
            temporary, chosen.graph, material.identity, chosen.precision, _claims(chosen, exact, material)
        )
        with Classifier(temporary, device="cpu") as classifier:
            assert classifier.card == card, "the card must be read as it was written"
        temporary.replace(output)
    except OSError as error:
        raise DataError(f"the model must be written to {output}: {error}; free some space or name another") from error
    finally:
        temporary.unlink(missing_ok=True)


def _claims(chosen: Candidate, exact: Candidate, material: _Material) -> dict[str, Json]:
    """The card's keys about accuracy, size and origin."""
    info, result = material.run.info, chosen.result
    low, high = result.interval
    recipe: dict[str, Json] = {f.name: getattr(info.recipe, f.name) for f in dataclasses.fields(info.recipe)}
    recipe["options"] = dict(info.recipe.options)
    accuracy: dict[str, Json] = {
        "top1": result.top1,
        "macro": result.macro,
        "n": result.n,
        "interval": [low, high],
        "split": material.split,
        "data_hash": info.data_hash,
        "leaked": health.known(material.run.path).get(material.split, 0),
        "float_top1": exact.result.top1,
        "agreement": _agreement(exact, chosen),
    }
    chances, limit = _confidence(chosen, material)
    provenance: dict[str, Json] = {
        "recipe": recipe,
        "data": {"name": printable(Path(info.data_location).name), "hash": info.data_hash, "split": info.split},
        "versions": dict(versions()),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return {
        "accuracy": accuracy,
        "calibration": {f.name: getattr(chances, f.name) for f in dataclasses.fields(chances)},
        "unknown": {f.name: getattr(limit, f.name) for f in dataclasses.fields(limit)},
        "parameters": info.complexity.parameters,
        "macs": info.complexity.macs,
        "min_onnxruntime": MIN_ONNXRUNTIME,
        "provenance": provenance,
    }


def _confidence(chosen: Candidate, material: _Material) -> tuple[Calibration, Rejection]:
    """Calibration and threshold of the file: the threshold by its scores on validation, all figures on held-out."""
    validation, truth = material.validation, material.held_out.class_index
    with Classifier(chosen.path, device="cpu") as classifier:
        limit = confidence.threshold(in_batches(classifier.scores, validation.images, validation.rows))
    error = confidence.ece(chosen.scores, truth)
    return (
        Calibration(material.temperature, material.ece_before, error, len(truth)),
        confidence.rejection(limit, chosen.scores, truth),
    )


def _finish(output: Path, chosen: Candidate, exact: Candidate, material: _Material) -> None:
    size = output.stat().st_size
    record = {
        "type": "export",
        "model": str(output),
        "precision": chosen.precision,
        "bytes": size,
        "split": material.split,
        "float_top1": exact.result.top1,
        "agreement": _agreement(exact, chosen),
        **chosen.result.to_record(),
    }
    record.pop("confusion", None)
    text = f"{output}  {chosen.precision}, {material.split} {screen.accuracy(chosen.result)}"
    screen.emit(record, text)
    screen.say(f"next:  edgecnn predict {screen.word(output)} photo.jpg")


def _model_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    if not name.isprintable() or not 0 < len(name) <= 200:
        raise UsageError(f"--name must be printable text of at most 200 characters; received {name[:50]!r}")
    return name
