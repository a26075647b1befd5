"""The upper bound of what a file may have lost: right in 95 % of all draws or more, and as sharp as promised."""

import math

import numpy as np
import pytest
from edgecnn_training.export.bound import upper_bound
from hypothesis import given, settings
from hypothesis import strategies as st


def test_without_a_difference_it_is_what_so_many_pictures_can_prove():
    for n in (10, 163, 1000, 10_000):
        exact = 1 - 0.05 ** (1 / n)  # so large a loss shows no picture with a probability of five percent
        assert exact <= upper_bound(0, 0, n) <= 1.02 * exact
    assert f"{upper_bound(0, 0, 163) * 100:.1f}" == "1.8"


def share_below(limit, worse, better, n, confidence=0.95):
    """Probability of a bound of at most `limit`, where so large shares of the pictures get worse and better."""
    reach = int(n * max(worse, better) + 6 * math.sqrt(n * max(worse, better)) + 8)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    total = 0.0
    for b in range(min(n, reach) + 1):
        for c in range(min(n - b, reach) + 1):
            rest = 1 - worse - better
            terms = [(b, worse), (c, better), (n - b - c, rest)]
            if any(count and not share > 0 for count, share in terms):
                continue
            ways = logs[n] - logs[b] - logs[c] - logs[n - b - c]
            chance = math.exp(ways + sum(count * math.log(share) for count, share in terms if count))
            if chance > 1e-6 and upper_bound(b, c, n, confidence) <= limit:
                total += chance
    return total


@pytest.mark.parametrize("n", [40, 120])
@pytest.mark.parametrize("limit", [0.02, 0.05])
@pytest.mark.parametrize("better", [0.0, 0.005, 0.03])
def test_a_true_loss_above_the_limit_gets_a_bound_below_it_in_five_percent_of_the_draws_at_most(n, limit, better):
    assert share_below(limit, limit + better + 1e-6, better, n) <= 0.05


def test_it_is_no_more_careful_than_it_must_be():
    assert share_below(0.05, 0.05 + 1e-6, 0.0, 200) > 0.02


def test_pictures_that_got_better_count():
    assert upper_bound(10, 10, 1000) < upper_bound(10, 0, 1000)


def test_many_differences_take_the_normal_approximation_where_both_agree():
    exact, normal = upper_bound(128, 122, 10_000), upper_bound(129, 122, 10_000)
    assert abs(normal - exact - 1 / 10_000) < 0.00012


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_it_lies_between_the_measured_loss_and_one_and_grows_with_confidence(drawn):
    n, worse, better = drawn
    better = min(better, n - worse)
    bound = upper_bound(worse, better, n)
    assert (worse - better) / n <= bound <= 1
    assert bound <= upper_bound(worse, better, n, 0.99)


@pytest.mark.parametrize(("worse", "better", "n"), [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_what_are_no_counts_is_refused(worse, better, n):
    with pytest.raises(ValueError, match="must be counts of pictures"):
        upper_bound(worse, better, n)
