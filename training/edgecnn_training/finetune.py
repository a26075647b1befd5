"""The phases of a run that begins with weights of another one: its new head alone first, then all of it, more gently.

The head's random weights would else send large gradients through the body and spoil what that has learnt. Batch
normalisation of the body stays as it was trained, statistics, scale and shift: few pictures give poor statistics. (In
Keras 3 that is what ``trainable = False`` does; calling the body with ``training=False``, as Keras's guide has it, is
overridden by ``fit``, see keras-team/keras#20285.)

Each phase has an optimiser and a course of the learning rate of its own. Which phase a step belongs to follows from
the recipe alone, so that a resumed run changes over where the uninterrupted one does.

Source: Keras, "Transfer learning & fine-tuning" and "Image classification via fine-tuning with EfficientNet" (batch
normalisation stays frozen); fastai's ``Learner.fine_tune`` (a one-cycle for each phase, an epoch of the head before
four or so of everything).
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from edgecnn_training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run.

    Attributes:
        first: Number of its first batch, from the beginning of the run.
        last: Number of the batch to end before.
        rate_key: Key of the recipe that holds its highest learning rate.
        trained: ``"everything"``; ``"head"``, the last layer; ``"weights"``, all but batch normalisation.
    """

    first: int
    last: int
    rate_key: str = "learning_rate"
    trained: str = "everything"

    @property
    def steps(self) -> int:
        """Its length in batches."""
        return self.last - self.first

    @property
    def rate_option(self) -> str:
        """How its highest learning rate is set on the command line."""
        return "--learning-rate" if self.rate_key == "learning_rate" else f"--set {self.rate_key}"

    def learning_rate(self, recipe: Recipe) -> float:
        """Its highest learning rate."""
        return float(getattr(recipe, self.rate_key))

    def mark(self, network: keras.Model) -> None:
        """Set which layers are trained; the network must be compiled after it."""
        if self.trained == "everything":
            return
        *others, head = network.layers
        head.trainable = True
        for layer in others:
            kept = self.trained == "head" or isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = not kept


def phases(recipe: Recipe, per_epoch: int) -> list[Phase]:
    """The phases of a run, one after the other.

    Args:
        recipe: Its ``weights`` and ``freeze`` decide.
        per_epoch: Batches in an epoch.
    """
    end, head_epochs = per_epoch * recipe.epochs, epochs_of_head(recipe)
    if recipe.weights == "none":
        return [Phase(0, end)]
    turn = per_epoch * head_epochs
    both = [Phase(0, turn, trained="head"), Phase(turn, end, "fine_tune_rate", "weights")]
    return [phase for phase in both if phase.steps]


def phase_of(parts: list[Phase], step: int) -> Phase:
    """The phase that a checkpoint after `step` batches was trained in; the first one at the beginning."""
    return next(part for part in parts if step <= part.last)


def epochs_of_head(recipe: Recipe) -> int:
    """Whole epochs in which only the head is trained: at least one where there is to be any."""
    if recipe.weights == "none" or recipe.freeze == 0:
        return 0
    return min(recipe.epochs, max(1, round(recipe.freeze * recipe.epochs)))


def described(recipe: Recipe) -> str:
    """What is trained when, in a line; empty for a run that begins with random weights."""
    if recipe.weights == "none":
        return ""
    head = epochs_of_head(recipe)
    parts = [f"{head} of the head alone"] if head else []
    if recipe.epochs > head:
        parts.append(f"{recipe.epochs - head} of all layers, at rates up to {recipe.fine_tune_rate:g}")
    return f"weights of {recipe.weights}; epochs: {', then '.join(parts)}"
