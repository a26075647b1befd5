"""Batches for training as a pure function of (seed, epoch, number of the batch).

So a resumed run continues with the very batches the interrupted one would have seen, on every Keras backend; Keras
itself shuffles with global generators whose state no checkpoint holds.
"""

from __future__ import annotations

import keras
import numpy as np

from edgecnn_training.augment import Augmentation
from edgecnn_training.pictures import Floats, Indices, Normalization, Pictures

_ORDER, _AUGMENT = 0, 1  # two streams of random numbers that never meet


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented, normalised training batches.

    Args:
        pictures: What to train on.
        classes: Width of the one-hot labels.
        batch_size: Pictures in a batch; a last smaller batch is left out, the shuffling brings it in later.
        seed: Determines every batch, with the epoch and the batch's number.
        augmentation: What is done to each picture.
        normalization: Applied last.
        epoch: Number of the epoch to begin with.
        first: Number of the batch to begin with; the epochs after the first one begin with batch 0.
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
        epoch: int = 0,
        first: int = 0,
    ) -> None:
        super().__init__(workers=1, max_queue_size=8)
        self.pictures, self.classes, self.seed = pictures, classes, seed
        self.batch_size = min(batch_size, len(pictures))
        self.augmentation, self.normalization = augmentation, normalization
        self.epoch, self.first = epoch, first
        self.per_epoch = steps_per_epoch(len(pictures), batch_size)
        self._order = self._shuffled()

    def __len__(self) -> int:
        return self.per_epoch - self.first

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        """Batch `index` of this epoch: float32 ``(N, H, W, C)`` and one-hot float32 ``(N, classes)``."""
        number = index + self.first
        chosen = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        rng = _generator(self.seed, _AUGMENT, self.epoch * self.per_epoch + number)
        images = self.augmentation(self.pictures.take(chosen), rng)
        labels = np.zeros((len(chosen), self.classes), np.float32)
        labels[np.arange(len(chosen)), self.pictures.class_index[chosen]] = 1
        return self.normalization(images), labels

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order; Keras calls this."""
        self.epoch, self.first = self.epoch + 1, 0
        self._order = self._shuffled()

    def _shuffled(self) -> Indices:
        return _generator(self.seed, _ORDER, self.epoch).permutation(len(self.pictures)).astype(np.int64)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in `count` pictures; one where there are fewer than a batch."""
    return max(1, count // batch_size)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """A random generator that depends on its three arguments and nothing else (counter-based, Philox)."""
    return np.random.Generator(np.random.Philox(key=[seed, (stream << 60) + number]))
