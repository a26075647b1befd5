"""TensorBoard's view of a run, written while it trains: ``RUN/tensorboard/``.

::

    RUN/tensorboard/
      train/ validation/       curves that lie over each other, and pictures; in train/ histograms and the graph too
      events.out.tfevents.…    the recipe and what came of it, which the page HPARAMS compares
      projector_config.pbtxt   see `edgecnn_training.report.projector`
      projector/

It watches and changes nothing: a run has the same weights, bit by bit, with it and without. What cannot be written is
told once, and the training goes on.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from edgecnn.errors import MissingExtraError
from edgecnn_training import screen
from edgecnn_training.batches import Batches
from edgecnn_training.features import features
from edgecnn_training.pictures import Floats, Images, Normalization, Pictures
from edgecnn_training.report import hparams, projector
from edgecnn_training.report.activity import Activity, numpy_of, variable_tags
from edgecnn_training.report.events import EventFile
from edgecnn_training.report.graph import graph_def
from edgecnn_training.report.sheet import contact_sheet
from edgecnn_training.report.subject import evenly
from edgecnn_training.run import Run

FOLDER = "tensorboard"
_HISTOGRAMS, _SHEETS = 30, 10  # in a run: TensorBoard keeps 50 and 10 of a kind
_LOOKED_AT = 8  # pictures for activations and gradients
_ROOM_BYTES = 64 << 20
_SHOWN = 25  # pictures in a sheet, which TensorBoard shows quite small


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The pictures a run is measured on at its end.

    Attributes:
        split: Their split.
        pictures: The pictures.
        names: The name of each one in the data set.
        scores: Calibrated probabilities of each one, float32 (N, classes), as the exported file gives them.
    """

    split: str
    pictures: Pictures
    names: Sequence[str]
    scores: Floats


class TensorBoard:
    """Writes a run's event files; what goes wrong with them is told once and stops nothing.

    Args:
        run: The run that is trained.
        validation: What it is validated on; may be empty.
    """

    def __init__(self, run: Run, validation: Pictures) -> None:
        self.run, self.validation = run, validation
        self._folder = run.path / FOLDER
        self._files: dict[str, EventFile] = {}
        self._activity: Activity | None = None
        self._stopped = False

    def begin(self, network: keras.Model, batches: Batches, step: int) -> None:
        """Open the files and write what is known before training.

        Args:
            network: The network that is trained, compiled.
            batches: What it is trained on.
            step: Batches that were trained before, if the run is resumed.
        """
        self._batches = batches
        with self._kept_going():
            self._check_room()
            for name in ("", "train", *(["validation"] if len(self.validation) else [])):
                self._files[name] = EventFile(self._folder / name, step + 1 if name else 0)
            for tag, content in hparams.session_start(self.run.info.recipe.to_values()).items():
                self._files[""].plugin(tag, hparams.PLUGIN, content)
            graph = graph_def(network)
            if graph is not None:
                self._files["train"].graph(graph)
            self._flush()
        with self._users_layers():
            images, labels = batches[-batches.first]  # the run's first batch, also where it is resumed
            self._activity = Activity(network, images[:_LOOKED_AT], labels[:_LOOKED_AT])

    def epoch(self, network: keras.Model, values: Mapping[str, float], scores: Floats | None) -> None:
        """Write an epoch.

        Args:
            network: The network, as it was validated.
            values: The epoch's line in ``metrics.jsonl``.
            scores: What the network says of the validation pictures; None without any.
        """
        if self._stopped:
            return
        epoch, step = int(values["epoch"]), int(values["step"])
        with self._kept_going():
            self._check_room()
            for key, value in values.items():
                name, _, tag = key.partition("_")
                if name in self._files and tag:
                    self._files[name].scalar(f"epoch/{tag}", value, step)
                elif key not in ("epoch", "step"):
                    self._files["train"].scalar(f"epoch/{key}", value, step)
            if self._is_due(epoch, _HISTOGRAMS):
                self._add_histograms(network, step)
            if self._is_due(epoch, _SHEETS):
                self._add_augmented(epoch, step)
                if scores is not None:
                    self._add_mistakes(scores, step)
            self._flush()

    def end(self, network: keras.Model, held_out: HeldOut, top1: Mapping[str, float | None], step: int) -> None:
        """Write what is known of a finished run, and the embedding projector's files.

        Args:
            network: The best network.
            held_out: What it was measured on.
            top1: Its accuracy on each split, 0 to 1.
            step: Batches that it was trained with.
        """
        if self._stopped or not self._files:  # no files: it was trained to its end before
            return
        with self._kept_going():
            for tag, content in hparams.session_end().items():
                self._files[""].plugin(tag, hparams.PLUGIN, content)
            for split, value in top1.items():
                if value is not None:
                    self._files[""].scalar(f"best/{split}_top1", value, step)
            self._flush()
            self._project(network, held_out)

    def close(self) -> None:
        """Close the files; twice is fine."""
        for file in self._files.values():
            file.close()

    def _is_due(self, epoch: int, most: int) -> bool:
        epochs = self.run.info.recipe.epochs
        return epoch in (1, epochs) or epoch % -(-epochs // most) == 0

    def _add_histograms(self, network: keras.Model, step: int) -> None:
        for name, variable in variable_tags(network):
            kind = "biases" if variable.name in ("bias", "beta") else "weights"
            self._files["train"].histogram(f"layer_{kind}/{name}", numpy_of(variable), step)
        inside: dict[str, Floats] = {}
        if self._activity is not None:
            with self._users_layers():
                inside |= {f"layer_activations/{name}": value for name, value in self._activity.activations().items()}
                inside |= {f"layer_gradients/{name}": value for name, value in self._activity.gradients().items()}
        for tag, value in inside.items():
            self._files["train"].histogram(tag, value, step)

    def _add_augmented(self, epoch: int, step: int) -> None:
        """The first batch of the epoch as the network got it."""
        images, labels = self._batches[(epoch - 1) * self._batches.per_epoch - self._batches.first]
        names = self.run.info.labels
        captions = [[names[i]] for i in labels[:_SHOWN, : len(names)].argmax(1)]  # a teacher's answers stand behind
        shown = _pixels(images[:_SHOWN], self.run.info.normalization)
        self._files["train"].image("pictures/augmented", contact_sheet(shown, captions), step)

    def _add_mistakes(self, scores: Floats, step: int) -> None:
        """The validation pictures that the network is wrong about, those first that it is most sure of."""
        truth, names = self.validation.class_index, self.run.info.labels
        given, sure = scores.argmax(1), scores.max(1)
        wrong = np.flatnonzero(given != truth)
        chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:_SHOWN].astype(np.int64)
        if len(chosen):
            captions = [(f"true {names[truth[i]]}", f"read {names[given[i]]}", f"score {sure[i]:.2f}") for i in chosen]
            sheet = contact_sheet(self.validation.take(chosen), captions)
            self._files["validation"].image("pictures/misclassified", sheet, step)

    def _project(self, network: keras.Model, held_out: HeldOut) -> None:
        pictures, names = held_out.pictures, projector.as_words(self.run.info.labels)
        chosen = evenly(len(pictures), projector.MOST)
        rows = pictures.rows[chosen]
        found = features(network, self.run.info.normalization, pictures.images, rows)
        if found is None:
            return
        scores, truth = held_out.scores[chosen], pictures.class_index[chosen]
        given = scores.argmax(1)
        columns = {
            "label": [names[i] for i in truth],
            "read as": [names[i] for i in given],
            "right": ["yes" if right else "no" for right in truth == given],
            "score": [f"{score:.2f}" for score in scores.max(1)],
            "name": [held_out.names[i] for i in chosen],
        }
        projector.write(self._folder, f"{held_out.split} pictures", found, pictures.take(chosen), columns)

    def _check_room(self) -> None:
        """Leave the last of a disk to the checkpoints, without which a training is lost."""
        if shutil.disk_usage(self.run.path).free < _ROOM_BYTES:
            raise OSError(errno.ENOSPC, f"the last {_ROOM_BYTES >> 20} MB of a disk are left to the checkpoints")

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()

    @contextmanager
    def _kept_going(self) -> Iterator[None]:
        """Tell what cannot be written, and write nothing any more."""
        try:
            yield
        except MissingExtraError as error:
            self._stopped = True
            screen.say(f"note: {error}; the training goes on without TensorBoard's files")
        except OSError as error:
            self._stopped = True
            screen.say(
                f"note: TensorBoard's files must be written to {self._folder}: {error.strerror}; the training goes on "
                "without them: free some space or let the folder be written to, or add --no-tensorboard"
            )

    @contextmanager
    def _users_layers(self) -> Iterator[None]:
        """Leave out what a network does not let one see."""
        try:
            yield
        except Exception as error:  # a user's own layers may raise anything
            self._activity = None
            reason = " ".join(str(error).split())[:200]
            screen.say(
                f"note: TensorBoard shows no activations and gradients of {self.run.info.recipe.arch} "
                f"({type(error).__name__}: {reason})"
            )


def _pixels(images: Floats, normalization: Normalization) -> Images:
    """Normalised pictures as they can be looked at."""
    values = images * np.asarray(normalization.std, np.float32) + np.asarray(normalization.mean, np.float32)
    return np.rint(values).clip(0, 255).astype(np.uint8)
