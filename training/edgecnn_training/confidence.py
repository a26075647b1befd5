"""Whether scores can be relied upon: calibration by temperature, and a threshold below which a picture is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn_training.pictures import Floats, Indices

BINS = 15
COVERAGE = 0.95
"""Share of the known pictures that the threshold is to keep: the field's usual point (as in "FPR at 95 % TPR")."""
FEWEST = 50
"""Validation pictures; fitted to fewer of them a temperature can make the scores worse."""
FEWEST_FOR_UNKNOWN = 19
"""Validation pictures; of fewer of them `COVERAGE` allows for none to be unknown."""
_COLDEST, _HOTTEST = 0.05, 20.0
_LEAST = 1e-7  # a probability of float32 that is 0 has no logarithm


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far scores are from being probabilities.

    Attributes:
        temperature: Logits are divided by it; above 1 it lowers the scores.
        ece_before: `ece` on held-out pictures without it.
        ece: `ece` on held-out pictures with it.
        n: How many pictures those are.
    """

    temperature: float
    ece_before: float
    ece: float
    n: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """When a picture counts as unknown.

    Attributes:
        threshold: A highest score below it is unknown.
        coverage: Share of held-out pictures, all of known classes, that are not.
        error: Share of those that are given a wrong label.
        n: How many held-out pictures that was measured on.
    """

    threshold: float
    coverage: float
    error: float
    n: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Pictures of about the same score.

    Attributes:
        n: How many.
        confidence: Their mean highest score.
        accuracy: Share of them that were given their own label.
    """

    n: int
    confidence: float
    accuracy: float


def fit_temperature(scores: Floats, truth: Indices) -> float:
    """The temperature under which scores fit the labels best: least cross-entropy.

    The labels are smoothed by one wrong answer in n + 2, as Platt does: a network that made no mistake on a small
    validation split would else be told to be certain of everything.

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2; Platt, "Probabilistic
    Outputs for Support Vector Machines", 1999.

    Args:
        scores: Probabilities, float32 ``(N, C)``, of pictures that were not trained on.
        truth: int64 ``(N,)``: each one's class.

    Returns:
        0.05 to 20; 1, which changes nothing, for fewer than `FEWEST` pictures.
    """
    if len(truth) < FEWEST:
        return 1.0
    logits = np.log(np.maximum(scores.astype(np.float64), _LEAST))
    count, classes = logits.shape
    wrong = 1 / (count + 2)
    labels = np.full(logits.shape, wrong / (classes - 1))
    labels[np.arange(count), truth] = 1 - wrong

    def loss(log_temperature: float) -> float:
        hot = logits / math.exp(log_temperature)
        hot -= hot.max(1, keepdims=True)
        return float(-(labels * (hot - np.log(np.exp(hot).sum(1, keepdims=True)))).sum())

    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    for _ in range(60):  # a third less each time; the loss is convex in 1/T, so it has one valley in log T
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return math.exp((low + high) / 2)


def tempered(scores: Floats, temperature: float) -> Floats:
    """Probabilities as they are when the logits are divided by `temperature`."""
    logits = np.log(np.maximum(scores.astype(np.float64), _LEAST)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    result: Floats = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return result


def reliability(scores: Floats, truth: Indices, bins: int = BINS) -> list[Bin]:
    """Pictures sorted by their highest score into bins of equal width from 0 to 1; empty bins have zeros.

    Args:
        scores: Probabilities, float32 ``(N, C)``.
        truth: int64 ``(N,)``: each one's class.
        bins: How many.
    """
    confidence = scores.max(1).astype(np.float64)
    right = (scores.argmax(1) == truth).astype(np.float64)
    index = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    sums = np.bincount(index, confidence, bins), np.bincount(index, right, bins)
    return [
        Bin(int(n), float(total / max(n, 1)), float(hits / max(n, 1)))
        for n, total, hits in zip(counts, *sums, strict=True)
    ]


def ece(scores: Floats, truth: Indices, bins: int = BINS) -> float:
    """Expected calibration error: how far, on average, a bin's accuracy is from its mean score; 0 to 1.

    Source: Guo et al., arXiv:1706.04599, equation 3.
    """
    found = reliability(scores, truth, bins)
    return sum(one.n * abs(one.accuracy - one.confidence) for one in found) / len(truth)


def threshold(scores: Floats, coverage: float = COVERAGE) -> float:
    """The score that a picture of a known class reaches with a probability of at least `coverage`.

    The k-th smallest of the N highest scores, k = ⌊(N + 1)(1 - coverage)⌋; 0, which rejects nothing, where N is too
    small for that.

    Source: split conformal prediction; Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005.

    Args:
        scores: Probabilities, float32 ``(N, C)``, of pictures that were not trained on.
        coverage: 0 to 1.
    """
    k = math.floor((len(scores) + 1) * (1 - coverage) + 1e-9)
    return float(np.sort(scores.max(1))[k - 1]) if k else 0.0


def rejection(limit: float, scores: Floats, truth: Indices) -> Rejection:
    """What a threshold does on held-out pictures.

    Args:
        limit: The threshold.
        scores: Probabilities, float32 ``(N, C)``.
        truth: int64 ``(N,)``: each one's class.
    """
    kept: npt.NDArray[np.bool_] = scores.max(1) >= np.float32(limit)
    wrong = kept & (scores.argmax(1) != truth)
    return Rejection(limit, float(kept.mean()), float(wrong.sum() / max(kept.sum(), 1)), len(truth))


def measure(
    validation: Floats, validation_truth: Indices, scores: Floats, truth: Indices
) -> tuple[Calibration, Rejection]:
    """Temperature and threshold by the validation pictures, and what they do on held-out ones.

    Args:
        validation: Probabilities of the validation pictures, float32 ``(M, C)``.
        validation_truth: int64 ``(M,)``: each one's class.
        scores: Probabilities of held-out pictures, float32 ``(N, C)``.
        truth: int64 ``(N,)``: each one's class.
    """
    temperature = fit_temperature(validation, validation_truth)
    after = tempered(scores, temperature)
    chances = Calibration(temperature, ece(scores, truth), ece(after, truth), len(truth))
    return chances, rejection(threshold(tempered(validation, temperature)), after, truth)


def told(chances: Calibration, limit: Rejection) -> str:
    """Both in a line for people."""
    text = f"confidence: scores are off by {chances.ece * 100:.1f} points on average"
    if chances.temperature == 1:
        text += f", as trained: to calibrate them takes {FEWEST} validation pictures; "
    else:
        text += f" ({chances.ece_before * 100:.1f} before temperature {chances.temperature:.2f}); "
    if not limit.threshold:
        return text + f"to say what is unknown takes {FEWEST_FOR_UNKNOWN} of them"
    return text + (
        f"unknown below {limit.threshold:.2f}, where {(1 - limit.coverage) * 100:.1f} % of the pictures are; "
        f"of the others {limit.error * 100:.1f} % are wrong"
    )
