"""Batches for training as a pure function of the seed and the number of the batch.

So a resumed run continues with the very batches the interrupted one would have seen, on every Keras backend; Keras
itself shuffles with global generators whose state no checkpoint holds.
"""

from __future__ import annotations

import functools

import keras
import numpy as np

from edgecnn_training.augment import Augmentation
from edgecnn_training.pictures import Floats, Indices, Normalization, Pictures

_ORDER, _AUGMENT = 0, 1  # two streams of random numbers that never meet


class Batches(keras.utils.PyDataset):
    """All batches that a run still has to train, one after the other: shuffled, augmented, normalised.

    Epochs are ours and not Keras's: the data set is one long epoch to `fit`. Keras asks for batches ahead of time and
    ends epochs when it pleases, so a data set that counts them itself gives other batches after a resume.

    Args:
        pictures: What to train on.
        classes: Width of the one-hot labels.
        batch_size: Pictures in a batch; an epoch's last smaller one is left out, the shuffling brings it in later.
        seed: Determines every batch, with its number.
        augmentation: What is done to each picture.
        balance: 0 draws each picture once an epoch; 1 draws each class equally often, so that pictures of small
            classes come several times; between them, the power to which a class's size counts is ``1 - balance``.
        normalization: Applied last.
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
        augmentation: Augmentation,
        normalization: Normalization,
        balance: float = 0.0,
        first: int,
        last: int,
    ) -> None:
        super().__init__(workers=1, max_queue_size=8)
        self.pictures, self.classes, self.seed = pictures, classes, seed
        self.batch_size = min(batch_size, len(pictures))
        self.augmentation, self.normalization, self.balance = augmentation, normalization, balance
        self.first, self.last = first, last
        self.per_epoch = steps_per_epoch(len(pictures), batch_size)
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        """The batch `first + index`: float32 ``(N, H, W, C)`` and one-hot float32 ``(N, classes)``."""
        step = self.first + index
        epoch, number = divmod(step, self.per_epoch)
        chosen = self._order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        images = self.augmentation(self.pictures.take(chosen), _generator(self.seed, _AUGMENT, step))
        labels = np.zeros((len(chosen), self.classes), np.float32)
        labels[np.arange(len(chosen)), self.pictures.class_index[chosen]] = 1
        return self.normalization(images), labels

    def _shuffled(self, epoch: int) -> Indices:
        rng = _generator(self.seed, _ORDER, epoch)
        if not self.balance:
            return rng.permutation(len(self.pictures)).astype(np.int64)
        return rng.permutation(balanced(self.pictures.class_index, self.balance, rng))


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


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in `count` pictures; one where there are fewer than a batch."""
    return max(1, count // batch_size)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """A random generator that depends on its three arguments and nothing else (counter-based, Philox)."""
    return np.random.Generator(np.random.Philox(key=[seed, (stream << 60) + number]))
