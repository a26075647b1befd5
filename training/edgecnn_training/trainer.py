"""From data to a trained run: what ``edgecnn train`` does, step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import keras

from edgecnn.card import InputSpec, check_room, checked_labels
from edgecnn.errors import DataError, ModelError, UsageError, did_you_mean
from edgecnn.plugins import is_path
from edgecnn.preprocess import FITS
from edgecnn_training import (
    applications,
    finetune,
    health,
    locations,
    loop,
    outcome,
    pretrained,
    screen,
    settled,
    splits,
    teacher,
)
from edgecnn_training import checkpoint as checkpoints
from edgecnn_training import recipe as recipes
from edgecnn_training import run as runs
from edgecnn_training.advice import advice, early_stop, repetitions, summary
from edgecnn_training.batches import steps_per_epoch
from edgecnn_training.checkpoint import Checkpoint
from edgecnn_training.complexity import complexity
from edgecnn_training.dataset import write_rejected
from edgecnn_training.examples import SPLITS
from edgecnn_training.loading import Dataset, load_dataset
from edgecnn_training.networks import architecture, build, check_reloads
from edgecnn_training.pictures import measure_normalization, same_pixels
from edgecnn_training.recipe import Recipe
from edgecnn_training.report import duplicates, figures
from edgecnn_training.report.tensorboard import TensorBoard
from edgecnn_training.run import MAX_SIDE, MIN_SIDE, Run, RunInfo
from edgecnn_training.run_data import Codes, codes_of, load_data_of, pictures

_LISTED_CLASSES = 40


@dataclass(frozen=True, slots=True)
class Request:
    """What ``edgecnn train`` was asked for.

    Attributes:
        data: Location or name of a data set.
        run: The new run's directory; None finds a free name below ``runs/``.
        recipe: Name or path of a recipe.
        changes: Keys of the recipe that the command line sets.
        size: Height and width in pixels; None decides by the pictures.
        channels: 1 or 3; None decides by the pictures.
        fit: How pictures are brought to the size.
        split: ``"random"`` or ``"ordered"``.
        allow_leak: Go on although the test split that the data gives holds pictures of train or validation.
        tensorboard: Whether TensorBoard's files are written.
    """

    data: str
    run: Path | None = None
    recipe: str = "default"
    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    size: tuple[int, int] | None = None
    channels: int | None = None
    fit: str = "crop"
    split: str = "random"
    allow_leak: bool = False
    tensorboard: bool = True


def train(request: Request) -> bool:
    """Train a new run.

    Returns:
        True when it is finished, False when it was interrupted and can be resumed.

    Raises:
        UsageError: An option without meaning, or a run that exists.
        DataError: The data set cannot be used.
    """
    recipe = _recipe_of(request)
    path = _new_place(request, recipe)
    size, channels = applications.input_for(recipe.arch, request.size, request.channels)
    start = pretrained.read(recipe, size)
    with screen.counter("reading") as seen:
        data = load_dataset(request.data, size=size, channels=channels, fit=request.fit, progress=seen)
    labels = _checked_labels(data.labels)
    codes, found = _divided(request, recipe, data)
    keras.utils.set_random_seed(recipe.seed)
    height, width, depth = data.images.shape[1:]
    spec = InputSpec(height, width, depth, fit=request.fit)
    model = build(recipe, (height, width, depth), len(labels))
    if start is not None:
        start.put_into(model)
    check_reloads(model, recipe.arch)
    chosen = pictures(data, codes, "train")
    info = RunInfo(
        labels=labels,
        input=spec,
        normalization=applications.normalization(recipe.arch) or measure_normalization(chosen),
        data_location=data.survey.location,
        data_hash=data.survey.data_hash,
        split="given" if any(record.split for record in data.records) else request.split,
        complexity=complexity(model),
        recipe=_with_epochs(recipe, len(chosen)),
    )
    unseen = splits.contents(data.records, codes, "test") - splits.contents(data.records, codes, "train")
    instructor = teacher.read(info, unseen) if recipe.teacher else None

    def fill(folder: Path) -> None:
        splits.write_splits(folder / "splits.csv", data.records, codes)
        write_rejected(folder / "rejected.csv", data.rejected)
        duplicates.write(folder, found, data.images)
        if instructor is not None:
            teacher.keep(*instructor, folder)
        if start is not None:
            start.write(folder)

    run = runs.create(path, info, runs.environment(recipe.seed, info.data_hash), fill)
    _introduce(run, data, codes, found)
    with run.locked():
        return _fit_and_test(run, model, data, codes, None, tensorboard=request.tensorboard)


def _recipe_of(request: Request) -> Recipe:
    """The recipe, with paths that are found from everywhere."""
    recipe = recipes.read(request.recipe, request.changes)
    return dataclasses.replace(
        recipe,
        arch=str(Path(recipe.arch).absolute()) if is_path(recipe.arch) else recipe.arch,
        teacher=str(Path(recipe.teacher).absolute()) if recipe.teacher else "",
        weights=pretrained.absolute(recipe.weights),
    )


def _new_place(request: Request, recipe: Recipe) -> Path:
    """Where the run is to lie. What is wrong with the request is told here, before any picture is read."""
    if request.run is not None and request.run.exists():
        raise runs.exists(request.run)
    _check_input(request)
    path = request.run or _free_name(request.data, recipe.arch)
    if locations.holds(request.data, path):
        raise UsageError(f"a run must lie outside of its data; {path} lies in {request.data}: name another with --run")
    architecture(recipe)
    if recipe.teacher:
        Run.open(Path(recipe.teacher))
    return path


def _divided(request: Request, recipe: Recipe, data: Dataset) -> tuple[Codes, health.Health]:
    """The split of each picture, and what is there twice.

    Raises:
        DataError: A test split that the data gives leaks, and that is not allowed.
    """
    alike = same_pixels(data.images)[data.rows]
    codes = splits.assign(data.records, method=request.split, seed=recipe.split_seed, alike=alike)
    with screen.counter("comparing"):
        found = health.examine(data, codes, alike)
    if not request.allow_leak:
        health.refuse_leak(found)
    return codes, found


def resume(path: Path, data: str | None, *, tensorboard: bool = True) -> bool:
    """Go on with an interrupted run, by its own recipe and splits.

    Args:
        path: The run's directory.
        data: Where its data lies now; None is where it lay.
        tensorboard: Whether TensorBoard's files are written.

    Returns:
        True when it is finished, False when it was interrupted again.

    Raises:
        DataError: Not a run, or other data than it began with.
    """
    run = Run.open(path)
    with run.locked():
        return _resume(run, data, tensorboard)


def _resume(run: Run, data: str | None, tensorboard: bool) -> bool:
    newest, damaged = checkpoints.newest_whole(run.checkpoints)
    for one in damaged:
        screen.say(f"note: {one.path} is damaged and left out ({one.why}); the checkpoint before it is used")
    if newest is not None:
        settled.refuse_another(run, newest)
    dataset = load_data_of(run, data)
    codes = codes_of(run, dataset)
    recipe = run.info.recipe
    keras.utils.set_random_seed(recipe.seed)
    spec = run.info.input
    model = build(recipe, (spec.height, spec.width, spec.channels), len(run.info.labels))
    if newest is None:
        pretrained.begin_again(run, model)
    _introduce(run, dataset, codes)
    step, epoch = (newest.state.step, newest.state.epoch) if newest else (0, 0)
    screen.say(f"resuming after {step:,} steps, {epoch} of {recipe.epochs} epochs done")
    return _fit_and_test(run, model, dataset, codes, newest, tensorboard=tensorboard)


def _fit_and_test(
    run: Run, model: keras.Model, data: Dataset, codes: Codes, newest: Checkpoint | None, *, tensorboard: bool
) -> bool:
    chosen = loop.Splits(pictures(data, codes, "train"), pictures(data, codes, "validation"))
    instructor = teacher.load(run, newest) if run.info.recipe.teacher else None
    try:
        with closing(TensorBoard(run, chosen.validation)) if tensorboard else nullcontext() as board:
            finished = loop.fit(run, model, chosen, newest, teacher=instructor, observer=board)
            return _finished(run, data, codes, finished, board)
    except KeyboardInterrupt:  # a second one within the epochs, or one outside of them
        screen.say(f"interrupted; next:  edgecnn train --run {screen.word(run.path)} --resume")
        raise


def _finished(run: Run, data: Dataset, codes: Codes, finished: bool, board: TensorBoard | None) -> bool:
    metrics = run.read_metrics()
    if metrics:
        figures.curves(run.path / "curves.png", metrics)
    if not finished:
        step = checkpoints.latest(run.checkpoints).state.step
        screen.say(f"stopped after {step:,} steps; checkpoint saved in {run.checkpoints}")
        screen.say(f"next:  edgecnn train --run {screen.word(run.path)} --resume")
        return False
    outcome.report(run, data, codes, board)
    return True


def _introduce(run: Run, data: Dataset, codes: Codes, found: health.Health | None = None) -> None:
    """Say what is trained on what; of a run that goes on, not again what was `found` in its data."""
    info = run.info
    kind = "grey" if info.input.channels == 1 else "RGB"
    original = data.survey.common_size
    sizes = f"{original[1]}×{original[0]} {kind}" if original else f"{kind}, several sizes"
    rejected = f"    {len(data.rejected):,} rejected: {run.path / 'rejected.csv'}" if data.rejected else ""
    place = screen.short_path(data.survey.location)
    screen.say(f"{place}  {len(data.records):,} images, {len(data.labels)} classes, {sizes}{rejected}")
    leaked = sum(health.known(run.path).values())
    screen.say(_split_table(data, codes, info.split, leaked, classes=found is not None))
    if found is not None and summary(found):
        screen.say(summary(found))
    recipe, size = info.recipe, info.complexity
    if found is not None:
        warnings = splits.warnings(data.records, codes)
        for note in [*data.notes, *warnings, *repetitions(found, info.split), *advice(data), *early_stop(recipe)]:
            screen.say(f"note: {note}")
    screen.say(
        f"{recipe.arch}  {size.parameters:,} parameters, {size.macs / 1e6:.1f} M MACs "
        f"at {info.input.width}×{info.input.height}, {recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}"
    )
    if phases := finetune.described(recipe):
        screen.say(phases)


def _split_table(data: Dataset, codes: Codes, split: str, leaked: int, *, classes: bool) -> str:
    """How many pictures each split has and are on two sides; with `classes`, also per class, in full up to 40."""
    counts = splits.counts(data.records, codes, data.labels)
    how = {"given": "given by the data", "ordered": "ordered by name", "random": "random"}[split]
    sums = " · ".join(f"{name} {count:,}" for name, count in zip(SPLITS, counts.sum(0), strict=True))
    sides = "no identical picture" if leaked == 0 else "1 picture" if leaked == 1 else f"{leaked:,} pictures"
    lines = [f"  {sums}  ({how}; {sides} on two sides)"]
    if not classes:
        return lines[0]
    if len(data.labels) <= _LISTED_CLASSES:
        rows = [[label, *map("{:,}".format, row)] for label, row in zip(data.labels, counts, strict=True)]
        lines.append(screen.table([["class", *SPLITS], *rows], indent="  "))
    else:
        sizes = sorted(map(int, counts.sum(1)))
        lines.append(f"  {sizes[0]:,} to {sizes[-1]:,} pictures in a class; each picture's split: splits.csv")
    return "\n".join(lines)


def _with_epochs(recipe: Recipe, count: int) -> Recipe:
    """More epochs for few pictures, up to the recipe's least number of steps; that is told."""
    least = math.ceil(recipe.min_steps / steps_per_epoch(count, recipe.batch_size))
    if least > recipe.epochs:
        screen.say(
            f"note: {least} epochs instead of {recipe.epochs}, to make {recipe.min_steps:,} steps of so few "
            f"pictures; --epochs {recipe.epochs} is quicker"
        )
    return dataclasses.replace(recipe, epochs=max(recipe.epochs, least), min_steps=0)


def _check_input(request: Request) -> None:
    """Refuse what no network can take before any picture is read."""
    if request.size is not None and not all(MIN_SIDE <= side <= MAX_SIDE for side in request.size):
        height, width = request.size
        raise UsageError(f"--size must be {MIN_SIDE} to {MAX_SIDE} pixels; received {height}x{width}")
    if request.channels not in (None, 1, 3):
        raise UsageError(f"--channels must be 1 or 3; received {request.channels}")
    if request.fit not in FITS:
        raise UsageError(f"--fit must be one of {', '.join(FITS)}; received {request.fit!r}")
    if request.split not in splits.METHODS:
        hint = did_you_mean(request.split, splits.METHODS)
        raise UsageError(f"--split must be one of {', '.join(splits.METHODS)}; received {request.split!r}{hint}")


def _checked_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Labels that a model card can carry: told before the training, not after it."""
    try:
        checked = checked_labels(labels)
    except ModelError as error:
        why = str(error).removeprefix("the model's card: ")
        raise DataError(f"{why}: rename the class") from error
    try:
        check_room(checked)
    except ModelError as error:
        raise DataError(f"{error}, or train on fewer classes") from error
    return checked


def _free_name(data: str, arch: str) -> Path:
    stem = Path(locations.place(data)).name.partition(".")[0] or "run"
    network = Path(arch.removeprefix(applications.PREFIX)).stem
    candidates = (Path("runs") / (f"{stem}-{network}" + (f"-{i}" if i > 1 else "")) for i in range(1, 100_000))
    return next(path for path in candidates if not path.exists())
