"""What ``edgecnn evaluate`` does: a run or an exported model against labelled pictures it has not seen."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn import bundled
from edgecnn.card import InputSpec
from edgecnn.classifier import Classifier
from edgecnn.errors import DataError, UsageError
from edgecnn_training import locations, predictions, run_data, screen, splits
from edgecnn_training.accuracy import Evaluation, Scorer, evaluate, in_batches
from edgecnn_training.backend import start_keras
from edgecnn_training.confidence import tempered
from edgecnn_training.examples import SPLITS
from edgecnn_training.loading import Dataset, load_dataset
from edgecnn_training.pictures import Indices, Pictures
from edgecnn_training.predictions import Said
from edgecnn_training.report import figures
from edgecnn_training.run import OWN_FILES, Run

_SHOWN = 10  # rejected pictures that are named

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated.

    Attributes:
        name: As it was typed.
        labels: The labels it can give.
        input: What it takes.
        scorer: uint8 pictures → probabilities.
        run: The run it is, or None for an exported model.
        data_hash: Of the data an exported model was trained on, where its card says so.
        threshold: Scores below it are unknown; None where nobody knows.
    """

    name: str
    labels: tuple[str, ...]
    input: InputSpec
    scorer: Scorer
    run: Run | None
    data_hash: str = ""
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How to evaluate.

    Attributes:
        as_json: Print JSON even on a terminal.
        output: The CSV file for what was said of each picture; None writes none.
        confusion: The PNG to write; None writes into a run's directory, and nothing for a model.
        allow_leak: Go on although the run has trained or validated on some of the pictures.
        allow_any_op: Also take a model file with operators that edgecnn does not know.
    """

    as_json: bool = False
    output: Path | None = None
    confusion: Path | None = None
    allow_leak: bool = False
    allow_any_op: bool = False


def evaluate_command(model: str, data: str | None, options: Options) -> int:
    """Evaluate, print, list the predictions, and draw the confusion matrix.

    Args:
        model: A run's directory, an ``.onnx`` file, or the name of a model that comes with edgecnn.
        data: Location or name of a data set; None is the run's own.
        options: How.

    Returns:
        How many pictures could not be used; the figures are those of the others.

    Raises:
        UsageError: An option without meaning.
        DataError: No such run, data that cannot be used, foreign labels, or pictures the run has seen.
        ModelError: A model that is refused.
        SinkError: A file that cannot be written.
    """
    if data is not None and bundled.is_model(data) and not bundled.is_model(model):
        typed = f"edgecnn evaluate {shlex.quote(data)} {shlex.quote(model)}"
        raise UsageError(f"the model must stand before the data; received {model!r} first: {typed}")
    _check_places(data, options)
    subject = _open(model, options.allow_any_op)
    loaded = _load(data, subject, options)
    data = data or loaded.survey.location
    split, keep = choose_split(subject, loaded)
    _refuse_leak(subject, loaded, keep, own_test=split == "test", allow=options.allow_leak)
    chosen = Pictures(loaded.images, loaded.rows[keep], _classes(subject, loaded)[keep])
    scores = in_batches(subject.scorer, chosen.images, chosen.rows)
    result = evaluate(subject.labels, chosen.class_index, scores.argmax(1))
    record = {"type": "evaluation", "model": model, "data": data, "split": split, "rejected": len(loaded.rejected)}
    record |= result.to_record()
    if options.as_json or not screen.on_terminal():
        print(json.dumps(record, ensure_ascii=False))  # noqa: T201  # the command's result
    else:
        screen.emit(record, report(result, split))
    if options.output is not None:
        names = [record.name for record, kept in zip(loaded.records, keep, strict=True) if kept]
        said = Said(split, names, chosen.class_index, scores)
        predictions.write(options.output, subject.labels, [said], subject.threshold)
        screen.say(f"predictions: {options.output}")
    path = options.confusion or (subject.run.path / f"confusion-{split}.png" if subject.run else None)
    if path is not None:
        figures.confusion(path, result, f"{Path(model).name} on {Path(data).name}: {split}, {result.n} pictures")
        screen.say(f"confusion matrix: {path}")
    if loaded.rejected:
        screen.say(f"note: {len(loaded.rejected):,} of the inputs could not be used and are not in these figures")
    return len(loaded.rejected)


def _check_places(data: str | None, options: Options) -> None:
    """Refuse files that cannot be written, or would lie among the data."""
    for option, file, suffix in (("--confusion", options.confusion, ".png"), ("--output", options.output, ".csv")):
        if file is None:
            continue
        if file.suffix != suffix or file.is_dir() or not file.absolute().parent.is_dir():
            raise UsageError(f"{option} must be a {suffix} file in a folder that exists; received {str(file)!r}")
        if file.name in OWN_FILES and (file.parent / "run.json").exists():
            raise UsageError(f"{option} must not replace a file of a run; {file} is one: name another file")
        if data is not None and locations.holds(data, file):
            raise UsageError(f"{option} must lie outside of the data; {file} lies in {data}: name another file")


def _load(data: str | None, subject: Subject, options: Options) -> Dataset:
    """Read the data as the subject takes it, None for a run's own, and say what is wrong with it."""
    spec = subject.input
    if data is not None:
        with screen.counter("reading") as seen:
            size = (spec.height, spec.width)
            loaded = load_dataset(data, size=size, channels=spec.channels, fit=spec.fit, progress=seen)
    elif subject.run is not None:
        data = subject.run.info.data_location
        _check_places(data, options)
        loaded = run_data.load_data_of(subject.run, None)
    else:
        raise UsageError(
            f"a model file does not say where its pictures lie; name DATA: edgecnn evaluate {subject.name} photos/"
        )
    for option, file in (("--confusion", options.confusion), ("--output", options.output)):
        if file is not None and _is_the_datas(file, data, loaded):
            raise UsageError(f"{option} must not replace a file of the data; {file} is one: name another file")
    for note in loaded.notes:
        screen.say(f"note: {note}")
    for rejected in loaded.rejected[:_SHOWN]:
        screen.say(f"rejected: {rejected.name}: {rejected.reason}")
    if len(loaded.rejected) > _SHOWN:
        screen.say(f"rejected: {len(loaded.rejected) - _SHOWN:,} more")
    return loaded


def choose_split(subject: Subject, data: Dataset) -> tuple[str, Mask]:
    """Which pictures to evaluate on, and what to call them.

    The data's own test split; else the test split of the run, where this is the very data it was trained on; else all.

    Returns:
        Name of the split, and a mask over the data's records.
    """
    given = np.array([record.split == "test" for record in data.records])
    if given.any():
        return "test", given
    run = subject.run
    if run is not None and run.info.data_hash == data.survey.data_hash:
        known = splits.read_splits(run.splits)
        for split in reversed(SPLITS[1:]):
            mask = np.array([known.get(record.content_hash) == split for record in data.records])
            if mask.any():
                return split, mask
    return "all", np.ones(len(data.records), bool)


def report(result: Evaluation, split: str) -> str:
    """The table for a terminal: a line per class, then the whole."""
    rows = [["class", "pictures", "right", "recall", "precision"]]
    rows += [[c.label, f"{c.n:,}", f"{c.correct:,}", _share(c.recall), _share(c.precision)] for c in result.per_class()]
    return screen.table(rows) + f"\n{split} {screen.accuracy(result)}"


def _is_the_datas(file: Path, data: str, loaded: Dataset) -> bool:
    """Whether a file is a manifest or one that it names; folders and archives are told by their place."""
    if not file.exists():
        return False
    place = Path(locations.place(data)).absolute()
    if place.exists() and place.samefile(file):
        return True
    beside = place.parent
    alike = (beside / record.name for record in loaded.records if Path(record.name).name == file.name)
    return any(path.exists() and path.samefile(file) for path in alike)


def _open(model: str, allow_any_op: bool) -> Subject:
    path = Path(model)
    if path.is_dir():
        if not (path / "run.json").exists():
            bundled.find(model)  # says so where the folder hides a model, or stands beside one
        run = Run.open(path)
        start_keras("to evaluate a run")
        from edgecnn_training import loop, networks

        _, network = networks.load_best(run)
        scorer = loop.keras_scorer(network, run.info.normalization)
        temperature, threshold = run_data.confidence_of(run)
        calibrated: Scorer = lambda images: tempered(scorer(images), temperature)  # noqa: E731
        return Subject(model, run.info.labels, run.info.input, calibrated, run, threshold=threshold)
    if not path.exists() and model not in bundled.names():
        raise DataError(
            f"what to evaluate must be a run's directory or an .onnx file; {model!r} does not exist: name one, or "
            f"{bundled.one_of_them(model)}"
        )
    classifier = Classifier(model, allow_any_op=allow_any_op)
    accuracy = classifier.card.more.get("accuracy")
    known = str(accuracy.get("data_hash", "")) if isinstance(accuracy, dict) else ""
    card = classifier.card
    return Subject(model, card.labels, card.input, classifier.scores, None, known, card.unknown_below or None)


def _refuse_leak(subject: Subject, data: Dataset, keep: Mask, *, own_test: bool, allow: bool) -> None:
    """Stop where the run has trained or validated on some of these pictures.

    A model file does not list them; it is known to have seen some of the data that it was made from, but none of the
    test split that this data itself gives.

    Raises:
        DataError: It has, and that is not allowed.
    """
    if subject.run is None:
        if subject.data_hash == data.survey.data_hash and not own_test and not allow:
            raise DataError(
                f"accuracy must be measured on pictures the model has not seen; {subject.name} was trained on this "
                "very data, or calibrated by it: evaluate its run, which knows the test split, name other data, or add "
                "--allow-leak"
            )
        screen.say(
            "note: a model file lists no pictures: only the very data that it was made from is known again, and nobody "
            "checks that each of these is new to it"
        )
        return
    known = splits.read_splits(subject.run.splits)
    seen = sum(
        known.get(record.content_hash) in ("train", "validation")
        for record, kept in zip(data.records, keep, strict=True)
        if kept
    )
    if seen and not allow:
        raise DataError(
            f"accuracy must be measured on pictures the run has not seen; {subject.name} has trained or validated on "
            f"{seen:,} of these {sum(keep):,}: name other data, or add --allow-leak"
        )
    if seen:
        screen.say(f"note: {subject.name} has trained or validated on {seen:,} of these {sum(keep):,} pictures")


def _classes(subject: Subject, data: Dataset) -> Indices:
    """Each record's class as the index of the subject's label of the same name.

    Raises:
        DataError: The data has a label that the subject cannot give.
    """
    foreign = [label for label in data.labels if label not in subject.labels]
    if foreign:
        raise DataError(
            f"the data's labels must be among the model's ({', '.join(subject.labels[:20])}); "
            f"received {', '.join(map(repr, foreign[:5]))}: rename or leave out these classes"
        )
    order = np.array([subject.labels.index(label) for label in data.labels], np.int64)
    classes: Indices = order[data.class_index]
    return classes


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f} %"
