"""The loss against its formula, computed with NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from edgecnn_training.backend import start_keras

start_keras("to test")

from edgecnn_training.objective import Objective, top1  # noqa: E402  # started above


def softmax(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture
def case() -> tuple[npt.NDArray[np.float64], ...]:
    rng = np.random.default_rng(0)
    return np.eye(4)[rng.integers(0, 4, 6)], rng.normal(size=(6, 4)) * 3, rng.normal(size=(6, 4)) * 3


def test_without_a_teacher_it_is_the_cross_entropy_of_smoothed_labels(case: tuple[np.ndarray, ...]) -> None:
    labels, _, logits = case
    expected = -((0.9 * labels + 0.1 / 4) * np.log(softmax(logits))).sum(1).mean()
    found = float(Objective(4, 0.1)(labels.astype(np.float32), logits.astype(np.float32)))
    assert found == pytest.approx(expected, rel=1e-5)


def test_with_a_teacher_it_adds_the_divergence_from_its_softened_answers(case: tuple[np.ndarray, ...]) -> None:
    labels, taught, logits = case
    own, theirs = softmax(logits / 3), softmax(taught / 3)
    apart = (theirs * np.log(theirs / own)).sum(1).mean()
    hard = -(labels * np.log(softmax(logits))).sum(1).mean()
    targets = np.concatenate([labels, taught], 1).astype(np.float32)
    found = float(Objective(4, 0.0, 0.7, 3.0)(targets, logits.astype(np.float32)))
    assert found == pytest.approx(0.3 * hard + 0.7 * 9 * apart, rel=1e-4)


def test_a_network_that_answers_as_its_teacher_loses_nothing_against_it(case: tuple[np.ndarray, ...]) -> None:
    labels, taught, _ = case
    targets = np.concatenate([labels, taught], 1).astype(np.float32)
    assert float(Objective(4, 0.0, 1.0, 2.0)(targets, taught.astype(np.float32))) == pytest.approx(0, abs=1e-5)


def test_accuracy_looks_at_the_labels_and_not_at_the_teacher(case: tuple[np.ndarray, ...]) -> None:
    labels, taught, logits = case
    targets = np.concatenate([labels, taught], 1).astype(np.float32)
    expected = (labels.argmax(1) == logits.argmax(1)).astype(float)
    assert np.array_equal(np.array(top1(targets, logits.astype(np.float32))), expected)


def test_it_is_rebuilt_from_its_configuration() -> None:
    loss = Objective(4, 0.1, 0.5, 2.0)
    assert Objective.from_config(loss.get_config()).get_config() == loss.get_config()
