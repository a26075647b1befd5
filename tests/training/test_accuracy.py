from __future__ import annotations

import numpy as np
import pytest
from edgecnn_training.accuracy import Evaluation, evaluate, in_batches, wilson
from hypothesis import given
from hypothesis import strategies as st

LABELS = ("a", "b", "c")


@pytest.fixture
def result() -> Evaluation:
    return evaluate(LABELS, np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0]))


def test_the_confusion_matrix_has_the_truth_in_its_rows(result: Evaluation) -> None:
    assert result.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert (result.n, result.correct, result.top1) == (5, 3, 0.6)


def test_recall_and_precision_are_counted_by_hand_and_absent_without_pictures(result: Evaluation) -> None:
    a, b, c = result.per_class()
    assert (a.recall, a.precision) == (2 / 3, 2 / 3)
    assert (b.recall, b.precision) == (1 / 2, 1 / 2)
    assert (c.n, c.recall, c.precision) == (0, None, None)


def test_the_wilson_interval_is_the_published_one() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 gives 0.2553 to 0.3662
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20)[0] == 0
    assert wilson(20, 20)[1] == 1
    assert wilson(0, 0) == (0, 1)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_satisfies_the_score_equation(case: tuple[int, int]) -> None:
    correct, n = case
    low, high = wilson(correct, n)
    share = correct / n
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:  # |share - p| = z·sqrt(p(1-p)/n) at both ends: what the interval solves
            assert (share - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / n, rel=1e-4, abs=1e-12)


def test_pictures_are_scored_in_order_a_batch_at_a_time() -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None, None]
    sizes = []

    def scorer(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch[:, 0, 0].astype(np.float32)

    rows = np.array([9, 1, 1, 4, 0])
    assert in_batches(scorer, images, rows, size=2)[:, 0].tolist() == [9, 1, 1, 4, 0]
    assert sizes == [2, 2, 1]


def test_the_mean_of_the_classes_counts_each_class_alike_and_leaves_out_those_without_pictures() -> None:
    truth, predicted = np.array([0] * 8 + [1] * 2), np.array([0] * 8 + [0, 1])
    result = evaluate(("a", "b", "c"), truth, predicted)
    assert result.top1 == 0.9
    assert result.macro == 0.75  # (8/8 + 1/2) / 2
    assert result.to_record()["macro"] == 0.75
