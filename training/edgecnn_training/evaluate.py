"""What ``edgecnn evaluate`` does: a run or an exported model against labelled pictures it has not seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.card import InputSpec
from edgecnn.classifier import Classifier
from edgecnn.errors import DataError, UsageError
from edgecnn_training import locations, screen, splits
from edgecnn_training.accuracy import Evaluation, Scorer, evaluate, in_batches
from edgecnn_training.backend import start_keras
from edgecnn_training.examples import SPLITS
from edgecnn_training.loading import Dataset, load_dataset
from edgecnn_training.pictures import Indices, Pictures
from edgecnn_training.report import figures
from edgecnn_training.run import Run

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
    """

    name: str
    labels: tuple[str, ...]
    input: InputSpec
    scorer: Scorer
    run: Run | None
    data_hash: str = ""


def evaluate_command(
    model: str,
    data: str,
    *,
    as_json: bool = False,
    confusion: Path | None = None,
    allow_leak: bool = False,
    allow_any_op: bool = False,
) -> int:
    """Evaluate, print, and draw the confusion matrix.

    Args:
        model: A run's directory or an ``.onnx`` file.
        data: Location or name of a data set.
        as_json: Print JSON even on a terminal.
        confusion: The PNG to write; None writes into a run's directory, and nothing for a model.
        allow_leak: Go on although the run has trained or validated on some of the pictures.
        allow_any_op: Also take a model file with operators that edgecnn does not know.

    Returns:
        How many pictures could not be used; the figures are those of the others.

    Raises:
        DataError: No such run, data that cannot be used, foreign labels, or pictures the run has seen.
        ModelError: A model that is refused.
    """
    if confusion is not None and (confusion.suffix != ".png" or not confusion.absolute().parent.is_dir()):
        raise UsageError(f"--confusion must be a .png file in a folder that exists; received {str(confusion)!r}")
    if confusion is not None and locations.holds(data, confusion):
        raise UsageError(f"--confusion must lie outside of the data; {confusion} lies in {data}: name another file")
    subject = _open(model, allow_any_op)
    spec = subject.input
    with screen.counter("reading") as seen:
        loaded = load_dataset(data, size=(spec.height, spec.width), channels=spec.channels, fit=spec.fit, progress=seen)
    if confusion is not None and _is_picture(confusion, data, loaded):
        raise UsageError(f"--confusion must not replace a picture of the data; {confusion} is one: name another file")
    for note in loaded.notes:
        screen.say(f"note: {note}")
    for rejected in loaded.rejected[:_SHOWN]:
        screen.say(f"rejected: {rejected.name}: {rejected.reason}")
    if len(loaded.rejected) > _SHOWN:
        screen.say(f"rejected: {len(loaded.rejected) - _SHOWN:,} more")
    split, keep = choose_split(subject, loaded)
    _refuse_leak(subject, loaded, keep, allow_leak)
    chosen = Pictures(loaded.images, loaded.rows[keep], _classes(subject, loaded)[keep])
    scores = in_batches(subject.scorer, chosen.images, chosen.rows)
    result = evaluate(subject.labels, chosen.class_index, scores.argmax(1))
    record = {"type": "evaluation", "model": model, "data": data, "split": split, "rejected": len(loaded.rejected)}
    record |= result.to_record()
    if as_json or not screen.on_terminal():
        print(json.dumps(record, ensure_ascii=False))  # noqa: T201  # the command's result
    else:
        screen.emit(record, report(result, split))
    path = confusion or (subject.run.path / f"confusion-{split}.png" if subject.run else None)
    if path is not None:
        figures.confusion(path, result, f"{Path(model).name} on {Path(data).name}: {split}, {result.n} pictures")
        screen.say(f"confusion matrix: {path}")
    if loaded.rejected:
        screen.say(f"note: {len(loaded.rejected):,} of the inputs could not be used and are not in these figures")
    return len(loaded.rejected)


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


def _is_picture(file: Path, data: str, loaded: Dataset) -> bool:
    """Whether a file is one that a manifest names; folders and archives are told by their place."""
    if not file.exists():
        return False
    beside = Path(locations.place(data)).absolute().parent
    alike = (beside / record.name for record in loaded.records if Path(record.name).name == file.name)
    return any(path.exists() and path.samefile(file) for path in alike)


def _open(model: str, allow_any_op: bool) -> Subject:
    path = Path(model)
    if path.is_dir():
        run = Run.open(path)
        start_keras("to evaluate a run")
        from edgecnn_training import loop, networks

        _, network = networks.load_best(run)
        return Subject(model, run.info.labels, run.info.input, loop.keras_scorer(network, run.info.normalization), run)
    if not path.exists():
        raise DataError(f"what to evaluate must be a run's directory or an .onnx file; {model!r} does not exist")
    classifier = Classifier(path, allow_any_op=allow_any_op)
    accuracy = classifier.card.more.get("accuracy")
    known = str(accuracy.get("data_hash", "")) if isinstance(accuracy, dict) else ""
    return Subject(model, classifier.card.labels, classifier.card.input, classifier.scores, None, known)


def _refuse_leak(subject: Subject, data: Dataset, keep: Mask, allow: bool) -> None:
    """Stop where the run has trained or validated on some of these pictures.

    Raises:
        DataError: It has, and that is not allowed.
    """
    if subject.run is None:
        if subject.data_hash == data.survey.data_hash and not allow:
            raise DataError(
                f"accuracy must be measured on pictures the model has not seen; {subject.name} was trained on this "
                "very data: evaluate its run, which knows the test split, name other data, or add --allow-leak"
            )
        screen.say(
            "note: a model file does not list what it was trained on: nobody checks that these pictures are new to it"
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
