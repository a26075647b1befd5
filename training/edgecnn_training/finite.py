"""Numbers that are none any more: whether a network has some, and what is known of where they come from."""

from __future__ import annotations

import math

import keras
import numpy as np

from edgecnn.plugins import is_path
from edgecnn_training.finetune import Phase
from edgecnn_training.recipe import Recipe


def is_finite(network: keras.Model) -> bool:
    """Whether all weights are finite numbers."""
    return all(bool(np.isfinite(weights).all()) for weights in network.get_weights())


def first_loss(loss: float, recipe: Recipe) -> str:
    """What to say where the very first loss is no number: no learning rate can have caused it."""
    causes = _other_causes(recipe) or f"the architecture {recipe.arch} and its options"
    return (
        f"the loss must be a finite number; that of the very first batch is {loss:g}, before anything was learned, so "
        f"that no learning rate helps: look at {causes}, and train again into a new --run"
    )


def later_loss(loss: float, epoch: int, step: int, recipe: Recipe, part: Phase) -> str:
    """What to say where a loss, or weights behind a finite one, are no numbers in the course of a training."""
    what = "some weights are none any more" if math.isfinite(loss) else f"the loss became {loss:g}"
    other = _other_causes(recipe)
    return (
        f"the loss and all weights must stay finite numbers; {what} in epoch {epoch}, after {step:,} steps of which "
        f"the first one was fine: train again with a {part.rate_option} below {part.learning_rate(recipe):g}"
        + (f"; if that does not help, look at {other}" if other else "")
    )


def answers(network: keras.Model) -> str:
    """What to say where a network's answers are no numbers."""
    why = "its weights are: they have grown too large" if is_finite(network) else "some of its weights are not"
    return (
        f"what a network answers must be finite numbers; some of its answers are not, and {why}: train again with a "
        "lower --learning-rate"
    )


def _other_causes(recipe: Recipe) -> str:
    """What of a recipe, beside the learning rate, can lead to numbers that are too large."""
    causes = [f"the weights of {recipe.weights}"] if recipe.weights != "none" else []
    if recipe.teacher:
        at = f"distill_temperature {recipe.distill_temperature:g}"
        causes.append(f"the answers of the teacher {recipe.teacher} at {at}")
    if is_path(recipe.arch):
        causes.append(f"the layers of {recipe.arch}")
    return ", ".join(causes)
