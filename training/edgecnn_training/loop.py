"""The training loop: epochs, validation, metrics, checkpoints, and a clean end on Ctrl-C."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import keras
import numpy as np

from edgecnn.errors import DataError, UsageError
from edgecnn_training import checkpoint as checkpoints
from edgecnn_training import finite, screen, settled
from edgecnn_training.accuracy import Scorer, in_batches
from edgecnn_training.averaging import Weights, averaged_weights, swapped
from edgecnn_training.batches import Batches, Teacher, Treatment, steps_per_epoch
from edgecnn_training.checkpoint import Checkpoint
from edgecnn_training.finetune import Phase, phase_of, phases
from edgecnn_training.metrics import stopped_early
from edgecnn_training.networks import own_code
from edgecnn_training.objective import Objective, top1
from edgecnn_training.pictures import Floats, Images, Normalization, Pictures
from edgecnn_training.recipe import Recipe
from edgecnn_training.run import Run
from edgecnn_training.schedules import schedule
from edgecnn_training.state import SoFar


class Stop:
    """A wish to stop, set by the first Ctrl-C or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.wished = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM while this is open; outside the main thread they are left alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(_number: int, _frame: FrameType | None) -> None:
            self.wished = True
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def compile_model(model: keras.Model, recipe: Recipe, steps: int) -> None:
    """Give a network the recipe's optimiser, schedule and loss.

    Args:
        model: Network with logits for outputs.
        recipe: How to train it.
        steps: Length of the whole run, in batches.
    """
    rate = schedule(recipe.schedule, recipe.learning_rate, steps, recipe.warmup)
    decay = recipe.weight_decay or None
    average = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay, **average)
    elif recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **average)
    else:
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay, **average)
    if decay or recipe.optimizer == "adamw":
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    weight = recipe.distill_weight if recipe.teacher else 0.0
    loss = Objective(model.output_shape[-1], recipe.label_smoothing, weight, recipe.distill_temperature)
    metric = keras.metrics.MeanMetricWrapper(top1, name="top1")
    # XLA costs this CPU 1.7 times the time on networks of this size
    model.compile(optimizer, loss, metrics=[metric], jit_compile=False)
    optimizer.build(model.trainable_variables)


def keras_scorer(model: keras.Model, normalization: Normalization) -> Scorer:
    """Probabilities from a network with logits, as `in_batches` wants them; a UsageError where one is no number."""

    def scorer(images: Images) -> Floats:
        logits = np.asarray(model.predict_on_batch(normalization(images)), np.float64)
        if not np.isfinite(logits).all():
            raise UsageError(finite.answers(model))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        scores: Floats = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
        return scores

    return scorer


@dataclass(frozen=True, slots=True)
class Splits:
    """The pictures a run trains and validates on; `validation` may be empty."""

    train: Pictures
    validation: Pictures


class Observer(Protocol):
    """What watches a training; it must change nothing of it and raise nothing."""

    def begin(self, network: keras.Model, batches: Batches, step: int) -> None:
        """Called before the first batch; `step` of the run's batches were trained before."""

    def epoch(self, network: keras.Model, values: Mapping[str, float], scores: Floats | None) -> None:
        """Called after each epoch, before its checkpoint, with its metrics and the validation pictures' scores."""


def fit(
    run: Run,
    model: keras.Model,
    splits: Splits,
    resume: Checkpoint | None,
    *,
    teacher: Teacher | None = None,
    observer: Observer | None = None,
) -> bool:
    """Train to the end of the recipe, until validation has got no better for long enough, or until Ctrl-C.

    Args:
        run: Where metrics and checkpoints go.
        model: Network with logits for outputs, uncompiled.
        splits: What to train and validate on.
        resume: Continue from here; None begins.
        teacher: What the recipe's distillation compares with.
        observer: Watches.

    Returns:
        True when the training is done, False when interrupted; a checkpoint holds what was reached.

    Raises:
        UsageError: The loss is no longer a finite number.
    """
    recipe, info = run.info.recipe, run.info
    per_epoch = steps_per_epoch(len(splits.train), recipe.batch_size)
    parts, step = phases(recipe, per_epoch), resume.state.step if resume else 0
    last = parts[-1].last
    if resume:
        _refuse_beyond(resume, last)
    part = phase_of(parts, step)
    enter(model, recipe, part)
    if resume:
        resume.restore(model)
    if run.metrics.exists():  # even without a checkpoint: a kill may come between the first line and the first one
        run.rewind_metrics(step)
    journal = _Journal(run, splits, Stop(), per_epoch, step)
    journal.observer = observer
    journal.before = (resume.state.so_far if resume else None) or SoFar()
    journal.early = stopped_early(run.read_metrics(), recipe.patience, since=parts[-1].first)
    treatment = Treatment(
        info.normalization, recipe.augmentation, mixup=recipe.mixup, balance=recipe.balance, teacher=teacher
    )
    with journal.stop.on_signals(), screen.bar() as progress:
        task = progress.add_task("", total=last, completed=step, note="")
        journal.advance = lambda text, note: progress.update(task, description=text, note=note, completed=journal.step)
        while journal.step < last and not (journal.early or journal.stop.wished):
            if journal.step == part.last:
                part = parts[parts.index(part) + 1]
                enter(model, recipe, part)
            journal.part = part
            batches = Batches(
                splits.train,
                len(info.labels),
                batch_size=recipe.batch_size,
                seed=recipe.seed,
                treatment=treatment,
                first=journal.step,
                last=part.last,
            )
            if observer is not None and journal.step == step:
                observer.begin(model, batches, step)
            with own_code(recipe.arch):
                model.fit(batches, shuffle=False, verbose=0, callbacks=[journal])
            if journal.raw is not None:
                model.set_weights(journal.raw)
        journal.keep_rest()
    return journal.early or journal.step >= last


def _refuse_beyond(resume: Checkpoint, last: int) -> None:
    if resume.state.step > last:
        raise DataError(
            f"a checkpoint must lie within its run of {last:,} steps; {resume.path} has {resume.state.step:,}: delete "
            "that folder; the checkpoint before it, if there is one, is then used"
        )


def enter(model: keras.Model, recipe: Recipe, part: Phase) -> None:
    """Begin a phase of a run: what is trained, a new optimiser, and its own course of the learning rate."""
    part.mark(model)
    compile_model(model, dataclasses.replace(recipe, learning_rate=part.learning_rate(recipe)), part.steps)


class _Journal(keras.callbacks.Callback):
    """Counts batches; at each epoch's end validates, writes metrics and a checkpoint; stops when that is wished."""

    def __init__(self, run: Run, splits: Splits, stop: Stop, per_epoch: int, step: int) -> None:
        super().__init__()
        self.run, self.splits, self.stop, self.early = run, splits, stop, False
        self.per_epoch, self.step = per_epoch, step
        self.part = phase_of(phases(run.info.recipe, per_epoch), step)
        self.advance: Callable[[str, str], None] = lambda text, note: None
        self.observer: Observer | None = None
        self.raw: Weights | None = None  # with averaging: `fit` ends by putting the average in the weights' place
        self._scores: Floats | None = None
        self._note = ""
        self._began = time.monotonic()
        self._settled = settled.of(run)
        self._batches = 0  # of the epoch, since it or this process began
        self._logs: Mapping[str, float] = {}
        self.before = SoFar()  # its batches before that

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Count, show, close the epoch after its last batch, and stop when that is wished."""
        self.step += 1
        self._batches, self._logs = self._batches + 1, logs or {}
        if self.step == 1 and not math.isfinite(self._logs["loss"]):
            raise UsageError(finite.first_loss(self._logs["loss"], self.run.info.recipe))
        if self.step % self.per_epoch == 0:
            self._end_epoch()
            self.model.reset_metrics()
            self._batches, self.before, self._began = 0, SoFar(), time.monotonic()
        if self.step % 10 == 0 or self.step % self.per_epoch == 0:
            epoch = (self.step - 1) // self.per_epoch + 1
            self.advance(f"epoch {epoch}/{self.run.info.recipe.epochs}", self._note)
        if self.stop.wished or self.early:
            self.model.stop_training = True
        if self.run.info.recipe.ema and (self.model.stop_training or self.step == self.part.last):
            self.raw = self.model.get_weights()

    def keep_rest(self) -> None:
        """Save what an interrupted epoch has trained."""
        epoch, rest = divmod(self.step, self.per_epoch)
        if rest:
            so_far = self._so_far()
            self._refuse_infinite(so_far.loss, epoch + 1)
            self._save(epoch, None, None, so_far)

    def _so_far(self) -> SoFar:
        return self.before.then(self._batches, self._logs, time.monotonic() - self._began)

    def _save(
        self, epoch: int, validation_top1: float | None, averaged: Weights | None, so_far: SoFar | None = None
    ) -> None:
        checkpoints.save(
            self.run.checkpoints,
            self.model,
            step=self.step,
            epoch=epoch,
            validation_top1=validation_top1,
            recipe=self.run.info.recipe.to_values(),
            averaged=averaged,
            settled=self._settled,
            so_far=so_far,
        )

    def _end_epoch(self) -> None:
        epoch, whole = self.step // self.per_epoch, self._so_far()
        self._refuse_infinite(whole.loss, epoch)
        values: dict[str, float | int] = {"epoch": epoch, "step": self.step, "seconds": round(whole.seconds, 3)}
        values |= {"learning_rate": _rate(self.model, self.step - 1 - self.part.first)}
        values |= {"train_loss": whole.loss, "train_top1": whole.top1}
        averaged = None
        if self.run.info.recipe.ema:
            averaged = averaged_weights(self.model, self.splits.train, self.run.info.normalization)
        values |= self._validate(averaged)
        self._refuse_infinite(values.get("validation_loss", 0.0), epoch)
        self.run.append_metrics(values)  # first: a resumed run forgets lines after its checkpoint, but adds none before
        if self.observer is not None:
            self.observer.epoch(self.model, values, self._scores)
        self._save(epoch, values.get("validation_top1"), averaged)
        self._show(values)
        last = phases(self.run.info.recipe, self.per_epoch)[-1]
        self.early = stopped_early(self.run.read_metrics(), self.run.info.recipe.patience, since=last.first)
        if self.early:
            screen.progress_line(f"stopped early: no better on validation for {self.run.info.recipe.patience} epochs")

    def _refuse_infinite(self, loss: float, epoch: int) -> None:
        # weights too: a ReLU makes zeros of what is no number, so that the loss of a dead network can be finite
        if not (math.isfinite(loss) and finite.is_finite(self.model)):
            raise UsageError(finite.later_loss(loss, epoch, self.step, self.run.info.recipe, self.part))

    def _validate(self, averaged: Weights | None) -> dict[str, float]:
        pictures = self.splits.validation
        if not len(pictures):
            return {}
        scorer = keras_scorer(self.model, self.run.info.normalization)
        with swapped(self.model, averaged) if averaged is not None else nullcontext():
            self._scores = scores = in_batches(scorer, pictures.images, pictures.rows)
        truth = pictures.class_index
        own = scores[np.arange(len(truth)), truth]
        return {
            "validation_loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
            "validation_top1": float((scores.argmax(1) == truth).mean()),
        }

    def _show(self, values: Mapping[str, float]) -> None:
        parts = [f"loss {values['train_loss']:.3f}", f"train {screen.percent(values['train_top1'])}"]
        if "validation_top1" in values:
            parts.append(f"validation {screen.percent(values['validation_top1'])}")
        self._note = "  ".join(parts)
        epoch = f"epoch {values['epoch']}/{self.run.info.recipe.epochs}"
        screen.progress_line(f"{epoch}  {self._note}  {values['seconds']:.1f} s an epoch")


def _rate(model: keras.Model, step: int) -> float:
    """Learning rate that the batch `step` was trained with, counted from the beginning of the phase."""
    rate = getattr(model.optimizer, "_learning_rate", None)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(keras.ops.convert_to_numpy(rate(step)))
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
