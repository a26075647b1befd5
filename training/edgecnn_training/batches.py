"""Batches for training as a pure function of the seed and the number of the batch.

So a resumed run continues with the very batches the interrupted one would have seen, on every Keras backend; Keras
itself shuffles with global generators whose state no checkpoint holds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import keras
import numpy as np

from edgecnn_training.augment import Augmentation
from edgecnn_training.pictures import Floats, Indices, Normalization, Pictures

_ORDER, _AUGMENT, _MIRROR, _MIXUP = range(4)  # streams of random numbers that never meet

Teacher: TypeAlias = Callable[[Floats], Floats]
"""Pixels, float32 ``(N, H, W, C)`` from 0 to 255 → logits, float32 ``(N, classes)``."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done to the pictures and labels of a batch.

    Attributes:
        normalization: Applied last.
        augmentation: What is done to each picture.
        mixup: Pictures are mixed by shares from Beta(mixup, mixup); 0 does not.
        balance: 0 draws each picture once an epoch; 1 draws each class equally often, so that pictures of small
            classes come several times; between them, the power to which a class's size counts is ``1 - balance``.
        teacher: Gives logits that are put beside the labels; None for none.
    """

    normalization: Normalization
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixup: float = 0.0
    balance: float = 0.0
    teacher: Teacher | None = None


class Batches(keras.utils.PyDataset):
    """All batches that a run still has to train, one after the other: shuffled, augmented, normalised.

    Epochs are ours and not Keras's: the data set is one long epoch to `fit`. Keras asks for batches ahead of time and
    ends epochs when it pleases, so a data set that counts them itself gives other batches after a resume.

    Args:
        pictures: What to train on.
        classes: Width of the one-hot labels.
        batch_size: Pictures in a batch; an epoch's last smaller one is left out, the shuffling brings it in later.
        seed: Determines every batch, with its number.
        treatment: What is done to pictures and labels.
        first: Number of the batch to begin with, from the beginning of the run.
        last: Number of the batch to end before.
    """

    def __init__(
        self,
        pictures: Pictures,
        classes: int,
        *,
        batch_size: int,
        seed: int,
        treatment: Treatment,
        first: int,
        last: int,
    ) -> None:
        super().__init__(workers=1, max_queue_size=8)
        self.pictures, self.classes, self.seed = pictures, classes, seed
        self.batch_size = min(batch_size, len(pictures))
        self.treatment = treatment
        self.first, self.last = first, last
        self.per_epoch = steps_per_epoch(len(pictures), batch_size)
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        """The batch `first + index`.

        Returns:
            Normalised float32 ``(N, H, W, C)``, and float32 ``(N, classes)``: one-hot labels, or shares after a mixup.
            With a teacher ``(N, 2 · classes)``: behind the labels stand its logits.
        """
        step, do = self.first + index, self.treatment
        epoch, number = divmod(step, self.per_epoch)
        chosen = self._order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        images = do.augmentation(
            self.pictures.take(chosen),
            _generator(self.seed, _AUGMENT, step),
            mirrored=(self._first_mirrored[chosen] + epoch) % 2 == 1 if do.augmentation.flip else None,
            blank=do.normalization.mean,
        )
        labels = np.zeros((len(chosen), self.classes), np.float32)
        labels[np.arange(len(chosen)), self.pictures.class_index[chosen]] = 1
        pixels = images.astype(np.float32)
        if do.mixup:
            pixels, labels = mix(pixels, labels, do.mixup, _generator(self.seed, _MIXUP, step))
        if do.teacher is not None:
            labels = np.concatenate([labels, do.teacher(pixels)], 1)
        return do.normalization(pixels), labels

    @functools.cached_property
    def _first_mirrored(self) -> Indices:
        """Whether the pictures are mirrored in the first epoch, 0 or 1; in each epoch after it the other way round.

        So each is seen both ways equally often. Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
        arXiv:2404.00498, section 3.6, alternating flip.
        """
        return _generator(self.seed, _MIRROR, 0).integers(0, 2, len(self.pictures))

    def _shuffled(self, epoch: int) -> Indices:
        rng = _generator(self.seed, _ORDER, epoch)
        if not self.treatment.balance:
            return rng.permutation(len(self.pictures)).astype(np.int64)
        return rng.permutation(balanced(self.pictures.class_index, self.treatment.balance, rng))


def balanced(class_index: Indices, balance: float, rng: np.random.Generator) -> Indices:
    """As many pictures as there are, drawn so that the classes come closer to being equally frequent.

    Args:
        class_index: int64 ``(N,)``: each picture's class.
        balance: 0 to 1; class c of n pictures gets a share of ``n^(1 - balance)``.
        rng: Decides which pictures of a class come once more than the others.

    Returns:
        int64 ``(N,)``: indices of pictures; those of one class come equally often, or once more.
    """
    classes, sizes = np.unique(class_index, return_counts=True)
    exact = len(class_index) * sizes ** (1 - balance) / (sizes ** (1 - balance)).sum()
    wanted = np.floor(exact).astype(np.int64)
    rest = np.argsort(wanted - exact, kind="stable")[: len(class_index) - wanted.sum()]  # the largest fractions
    wanted[rest] += 1
    drawn = []
    for label, size, count in zip(classes, sizes, wanted, strict=True):
        own = np.flatnonzero(class_index == label)
        drawn += [np.tile(own, count // size), rng.permutation(own)[: count % size]]
    return np.concatenate(drawn).astype(np.int64)


def mix(pixels: Floats, labels: Floats, alpha: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mixup: each picture and its label become ``λ · own + (1 - λ) · another's``.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412; one λ for each picture.

    Args:
        pixels: float32 ``(N, H, W, C)``.
        labels: float32 ``(N, classes)``.
        alpha: λ is drawn from Beta(alpha, alpha).
        rng: Draws the shares and the partners.
    """
    share = rng.beta(alpha, alpha, len(pixels)).astype(np.float32)
    partner = rng.permutation(len(pixels))
    wide = share[:, None, None, None]
    mixed: Floats = wide * pixels + (1 - wide) * pixels[partner]
    shares: Floats = share[:, None] * labels + (1 - share[:, None]) * labels[partner]
    return mixed, shares


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in `count` pictures; one where there are fewer than a batch."""
    return max(1, count // batch_size)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """A random generator that depends on its three arguments and nothing else (counter-based, Philox)."""
    return np.random.Generator(np.random.Philox(key=[seed, (stream << 60) + number]))
