"""What a report is about: a run that is done, its data, its network, and what that said of the held-out pictures."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from edgecnn_training import run_data
from edgecnn_training.accuracy import Evaluation, evaluate
from edgecnn_training.confidence import tempered
from edgecnn_training.loading import Dataset
from edgecnn_training.pictures import Floats, Indices, Pictures
from edgecnn_training.run import Run
from edgecnn_training.run_data import Codes, held_out

SHOWN_CLASSES = 16
"""Classes of which pictures are shown; of more, some evenly chosen ones."""


@dataclass(frozen=True)
class Subject:
    """Everything that the sections of a report draw from.

    Attributes:
        run: The run.
        data: Its data.
        codes: The split of each of the data's records.
        network: The network of the best checkpoint: normalised float32 (N, H, W, C) → logits.
        scores: float32 (N, classes): what it says of the held-out pictures, before any temperature.
    """

    run: Run
    data: Dataset
    codes: Codes
    network: keras.Model
    scores: Floats

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.run.info.labels

    @functools.cached_property
    def _held_out(self) -> tuple[str, Pictures]:
        return held_out(self.data, self.codes)

    @property
    def split(self) -> str:
        """Which split the held-out pictures are."""
        return self._held_out[0]

    @property
    def pictures(self) -> Pictures:
        """The held-out pictures."""
        return self._held_out[1]

    @property
    def truth(self) -> Indices:
        """int64 (N,): each held-out picture's class."""
        return self.pictures.class_index

    @functools.cached_property
    def given(self) -> Indices:
        """int64 (N,): the class that each held-out picture was given."""
        given: Indices = self.scores.argmax(1).astype(np.int64)
        return given

    @functools.cached_property
    def temperature(self) -> float:
        """What logits are divided by in the exported file; 1 where the result has no other."""
        return run_data.confidence_of(self.run)[0]

    @functools.cached_property
    def final_scores(self) -> Floats:
        """float32 (N, classes): the scores at that temperature, which are those of the exported file."""
        return tempered(self.scores, self.temperature)

    @functools.cached_property
    def sure(self) -> Floats:
        """float32 (N,): the final score of the class that was given."""
        sure: Floats = self.final_scores.max(1)
        return sure

    @functools.cached_property
    def evaluation(self) -> Evaluation:
        """How often it was right."""
        return evaluate(self.labels, self.truth, self.given)

    @functools.cached_property
    def mistakes(self) -> Indices:
        """int64 (M,): the held-out pictures that were given a wrong label, the surest first."""
        wrong = np.flatnonzero(self.given != self.truth)
        return wrong[np.argsort(-self.sure[wrong], kind="stable")].astype(np.int64)

    @functools.cached_property
    def names(self) -> list[str]:
        """Name of each held-out picture within the data."""
        return run_data.names(self.data, self.codes, self.split)

    @functools.cached_property
    def shown_classes(self) -> list[int]:
        """The classes of which pictures are shown: all, or some evenly chosen ones."""
        return [int(i) for i in evenly(len(self.labels), SHOWN_CLASSES)]

    def read_json(self, name: str) -> Mapping[str, object]:
        """A JSON object of the run's directory; empty where there is none."""
        try:
            values = json.loads((self.run.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.run.path


def evenly(count: int, most: int) -> Indices:
    """At most `most` of the numbers 0 … count - 1, evenly spread over them."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return (np.arange(most, dtype=np.int64) * count) // most
