"""How much accuracy a file may have lost, from the pictures on which it and the float32 file differ.

Both files read the same n pictures. On `worse` of them only float32 is right, on `better` only the other file; the
measured loss is ``(worse - better) / n``. It is an estimate: on 163 pictures without a difference a loss of 1.8 points
is as well possible. `upper_bound` says how large the true loss may be.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

CONFIDENCE = 0.95
_NUISANCE = 0.0005  # of the error probability, spent on the range of the share of pictures that differ
_EXACT_UP_TO = 250  # pictures that differ; with more of them the normal approximation is as good
_TAIL = 1e-6  # probability that may be left out at each end
_GRID = 16
_PRECISION = 0.01  # of a picture


@functools.lru_cache(maxsize=1024)
def upper_bound(worse: int, better: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Upper bound of the loss of accuracy.

    Outcomes are ordered by Tango's score statistic; their probability is exact, for the worst share of pictures that
    may differ at all within what was seen. So a file whose true loss is above a limit gets a bound below it in at most
    ``1 - confidence`` of all draws, however few pictures differ.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998); R. L. Berger, D. D. Boos, "P values maximized over a confidence set for
    the nuisance parameter", Journal of the American Statistical Association 89 (1994).

    Args:
        worse: Pictures that only float32 gets right.
        better: Pictures that only the other file gets right.
        n: All pictures, 1 or more.
        confidence: 0.95 for one file and one look.

    Returns:
        Share of pictures, -1 to 1; 0.018 is 1.8 percentage points.
    """
    if n < 1 or not 0 <= worse + better <= n or min(worse, better) < 0:
        raise ValueError(f"worse, better and n must be counts of pictures; received {worse}, {better}, {n}")
    alpha = 1 - confidence
    spent = alpha * _NUISANCE / 0.05
    if worse + better <= _EXACT_UP_TO:
        shares = np.linspace(*_clopper_pearson(worse + better, n, spent), _GRID)

        def possible(loss: float) -> bool:
            return _p_value(worse, better, n, loss, shares) + spent > alpha
    else:
        quantile = NormalDist().inv_cdf(confidence)

        def possible(loss: float) -> bool:
            return float(_score(np.array([worse]), np.array([better]), n, loss)[0]) > -quantile

    low = (worse - better) / n
    step = (2 + math.sqrt(worse + better)) / n
    while low + step < 1 and possible(low + step):
        low, step = low + step, 2 * step
    high = min(1.0, low + step)
    while high - low > _PRECISION / n:
        middle = (low + high) / 2
        low, high = (middle, high) if possible(middle) else (low, middle)
    return high


def _p_value(worse: int, better: int, n: int, loss: float, shares: Doubles) -> float:
    """Probability of an outcome at most as bad as the observed one if the true loss is `loss`, at its highest.

    Args:
        worse: See `upper_bound`.
        better: See `upper_bound`.
        n: See `upper_bound`.
        loss: The true loss.
        shares: Which shares of pictures may differ at all.
    """
    reach = max(_poisson_reach(n * float(shares[-1])), worse, better)
    counts = np.arange(min(n, reach) + 1)
    b, c = counts[:, np.newaxis], counts[np.newaxis]
    observed = float(_score(np.array([worse]), np.array([better]), n, loss)[0])
    up, down = np.nonzero((b + c <= n) & (_score(b, c, n, loss) <= observed + 1e-9))
    logs = _log_factorials(n)
    ways = logs[n] - logs[up] - logs[down] - logs[n - up - down]
    highest = 0.0
    for share in np.unique(np.clip(shares, abs(loss), 1.0)):
        terms = ways + _times_log(up, (share + loss) / 2) + _times_log(down, (share - loss) / 2)
        terms += _times_log(n - up - down, 1 - share)
        highest = max(highest, float(np.exp(terms).sum()))
    return highest + 2 * _TAIL


def _score(b: npt.NDArray[np.int64], c: npt.NDArray[np.int64], n: int, loss: float) -> Doubles:
    """Tango's statistic of ``b`` worse and ``c`` better of n against a loss; low values speak for a smaller one."""
    # the share of better pictures that makes the outcome likeliest, given the loss
    first = 2 * n
    second = -b - c + (2 * n - b + c) * loss
    third = -c * loss * (1 - loss)
    better = (np.sqrt(np.maximum(second * second - 4 * first * third, 0.0)) - second) / (2 * first)
    variance = n * (2 * better + loss * (1 - loss))
    spread = np.sqrt(np.maximum(variance, 1e-12))
    score: Doubles = (b - c - n * loss) / spread
    return score


def _times_log(count: npt.NDArray[np.int64], probability: float) -> Doubles:
    """``count · log(probability)``, where nothing times minus infinity is nothing."""
    if probability <= 0:
        return np.where(count == 0, 0.0, -np.inf)
    terms: Doubles = count.astype(np.float64) * math.log(probability)
    return terms


@functools.lru_cache(maxsize=4)
def _log_factorials(n: int) -> Doubles:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _poisson_reach(mean: float) -> int:
    """A count that is exceeded with a probability below `_TAIL`."""
    return math.ceil(mean + 5 * math.sqrt(mean) + 12)


def _clopper_pearson(count: int, n: int, alpha: float) -> tuple[float, float]:
    """Exact two-sided interval of a share, by bisection of the binomial distribution."""
    logs = _log_factorials(n)
    k = np.arange(n + 1)
    ways = logs[n] - logs[k] - logs[n - k]

    def at_most(share: float, limit: int) -> float:
        if limit < 0:
            return 0.0
        terms = ways[: limit + 1] + _times_log(k[: limit + 1], share) + _times_log(n - k[: limit + 1], 1 - share)
        return float(np.exp(terms).sum())

    def edge(limit: int, wanted: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(middle, limit) > wanted else (low, middle)
        return (low + high) / 2

    lower = 0.0 if count == 0 else edge(count - 1, 1 - alpha / 2)
    upper = 1.0 if count == n else edge(count, alpha / 2)
    return lower, upper
