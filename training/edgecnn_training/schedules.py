"""Learning-rate schedules: functions of the optimiser's step, so that a resumed run needs no state of their own."""

from __future__ import annotations

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="edgecnn")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the peak, then a cosine down to a thousandth of it.

    ``lr(t) = peak · (1/25 + 24/25 · t/w)`` for ``t < w``, then
    ``lr(t) = peak · (1/1000 + 999/1000 · (1 + cos(π (t-w)/(T-w)))/2)``.

    Source: L. N. Smith, "Super-Convergence", arXiv:1708.07120, with the cosine of the fast.ai and PyTorch versions.

    Args:
        peak: Highest learning rate.
        steps: T, length of the run in optimiser steps.
        warmup: w as a share of the run, 0 to below 1; 0 gives a plain cosine.
    """

    def __init__(self, peak: float, steps: int, warmup: float = 0.15) -> None:
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step: object) -> object:
        """Learning rate at an optimiser step, as a scalar tensor."""
        t = ops.cast(step, "float32")
        rise = self.warmup * self.steps
        up = 1 / 25 + 24 / 25 * t / max(rise, 1.0)
        done = ops.clip((t - rise) / max(self.steps - rise, 1.0), 0.0, 1.0)
        down = 1 / 1000 + 999 / 1000 * (1 + ops.cos(math.pi * done)) / 2
        return self.peak * ops.where(t < rise, up, down)

    def get_config(self) -> dict[str, float]:
        """What rebuilds the schedule."""
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


@keras.saving.register_keras_serializable(package="edgecnn")
class Exponential(keras.optimizers.schedules.LearningRateSchedule):
    """Exponential decay to a hundredth of the start: ``lr(t) = start · 0.01^(t/T)``, as in the lectures.

    Args:
        start: Learning rate at step 0.
        steps: T, length of the run in optimiser steps.
    """

    def __init__(self, start: float, steps: int) -> None:
        self.start, self.steps = start, steps

    def __call__(self, step: object) -> object:
        """Learning rate at an optimiser step, as a scalar tensor."""
        return self.start * ops.power(0.01, ops.cast(step, "float32") / self.steps)

    def get_config(self) -> dict[str, float]:
        """What rebuilds the schedule."""
        return {"start": self.start, "steps": self.steps}


SCHEDULES = ("one-cycle", "cosine", "exponential", "constant")


def schedule(name: str, learning_rate: float, steps: int, warmup: float) -> object:
    """The learning rate of a recipe, as Keras's optimisers take it.

    Args:
        name: One of `SCHEDULES`.
        learning_rate: Its highest value.
        steps: Length of the run in optimiser steps.
        warmup: Share of the run in which ``"one-cycle"`` rises; the others ignore it.
    """
    if name == "one-cycle":
        return OneCycle(learning_rate, steps, warmup)
    if name == "cosine":
        return OneCycle(learning_rate, steps, 0.0)
    if name == "exponential":
        return Exponential(learning_rate, steps)
    return learning_rate
