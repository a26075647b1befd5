"""Temperature, calibration error and the threshold for unknown pictures, against second computations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from command import Edgecnn
from edgecnn_training import confidence
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import Classifier


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def drawn(
    temperature: float, count: int = 20_000, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scores of a network that is too sure by a factor, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 5)) * 2
    chances = softmax(logits).cumsum(1)
    truth = (rng.random((count, 1)) > chances[:, :-1]).sum(1)
    return softmax(logits * temperature), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_a_network_is_too_sure_by_is_found(temperature: float) -> None:
    scores, truth = drawn(temperature)
    assert confidence.fit_temperature(scores, truth) == pytest.approx(temperature, rel=0.05)  # 20,000 labels are random


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_on_other_pictures_it_takes_most_of_the_calibration_error_away(temperature: float) -> None:
    found = confidence.fit_temperature(*drawn(temperature, seed=1))
    scores, truth = drawn(temperature, seed=2)
    after = confidence.tempered(scores, found)
    assert np.array_equal(after.argmax(1), scores.argmax(1))
    assert confidence.ece(scores, truth) > 0.05
    assert confidence.ece(after, truth) < 0.015  # 20,000 pictures in 15 bins: about 0.01 by chance


@pytest.mark.parametrize("count", [50, 100])
def test_a_network_without_a_mistake_on_few_pictures_is_not_told_to_be_certain(count: int) -> None:
    scores = softmax(np.tile([4.0, 0, 0], (count, 1)))
    after = confidence.tempered(scores, confidence.fit_temperature(scores, np.zeros(count, np.int64)))
    # Platt's target for n right answers is 1 - 1/(n + 2), which a temperature can reach exactly here
    assert after[0, 0] == pytest.approx(1 - 1 / (count + 2), abs=1e-3)


def test_fewer_pictures_than_are_told_leave_nothing_unknown() -> None:
    for n, some in ((confidence.FEWEST_FOR_UNKNOWN - 1, False), (confidence.FEWEST_FOR_UNKNOWN, True)):
        scores = np.full((n, 2), 0.5, np.float32)
        limit = confidence.threshold(scores)
        assert bool(limit) is some
        chances = confidence.Calibration(1.0, 0.1, 0.1, n)
        said = confidence.told(chances, confidence.Rejection(limit, 1.0, 0.0, n))
        assert ("to say what is unknown takes 19 of them" in said) is not some


def test_few_pictures_leave_the_scores_as_they_are_and_that_is_told() -> None:
    scores, truth = drawn(3.0, count=confidence.FEWEST - 1)
    assert confidence.fit_temperature(scores, truth) == 1
    chances, limit = confidence.measure(scores[:13], truth[:13], scores, truth)
    assert chances.ece == pytest.approx(chances.ece_before, abs=1e-6)
    assert "points on average, as trained: to calibrate them takes 50 validation pictures" in confidence.told(
        chances, limit
    )


def test_scores_of_zero_and_one_are_taken_too() -> None:
    scores = np.tile(np.array([[1, 0], [0, 1], [1, 0]], np.float32), (20, 1))
    assert 0.05 <= confidence.fit_temperature(scores, np.tile([0, 1, 1], 20)) <= 20
    assert np.isfinite(confidence.tempered(scores, 2.0)).all()


def test_the_calibration_error_is_that_of_its_definition() -> None:
    scores = np.array([[0.95, 0.05], [0.93, 0.07], [0.6, 0.4], [0.42, 0.58], [0.5, 0.5]], np.float32)
    truth = np.array([0, 1, 0, 1, 1])
    # of ten bins 0.9–1 holds two, right once, mean 0.94; 0.5–0.6 holds 0.58 and 0.5, right once; 0.6 stands alone
    expected = 2 / 5 * abs(0.5 - 0.94) + 2 / 5 * abs(0.5 - 0.54) + 1 / 5 * abs(1 - 0.6)
    assert confidence.ece(scores, truth, bins=10) == pytest.approx(expected, abs=1e-6)
    bins = confidence.reliability(scores, truth, bins=10)
    assert [one.n for one in bins] == [0, 0, 0, 0, 0, 2, 1, 0, 0, 2]
    assert (bins[9].confidence, bins[9].accuracy) == (pytest.approx(0.94), 0.5)


@given(st.lists(st.floats(0.5, 1, width=32), min_size=1, max_size=300), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_threshold_keeps_the_share_that_was_asked_for(best: list[float], coverage: float) -> None:
    top = np.array(best, np.float32)
    scores = np.stack([top, 1 - top], 1)
    limit = confidence.threshold(scores, coverage)
    assert (scores.max(1) >= np.float32(limit)).mean() >= coverage - 1 / len(best)
    if (len(best) + 1) * (1 - coverage) < 1 - 1e-6:
        assert limit == 0


def test_the_threshold_covers_new_pictures_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        top = rng.beta(5, 1, 60).astype(np.float32) / 2 + 0.5
        limit = confidence.threshold(np.stack([top, 1 - top], 1), 0.9)
        fresh = rng.beta(5, 1, 200) / 2 + 0.5
        covered.append((fresh >= limit).mean())
    assert np.mean(covered) == pytest.approx(1 - 6 / 61, abs=0.008)  # k/(N + 1) by exchangeability; 0.002 is its error


def test_what_a_threshold_does_is_counted_on_held_out_pictures() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.7, 0.3]], np.float32)
    found = confidence.rejection(0.6, scores, np.array([0, 0, 0, 0]))
    assert (found.coverage, found.error, found.n) == (0.75, pytest.approx(1 / 3), 4)


def test_a_run_tells_and_keeps_its_confidence(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    assert result["calibration"]["n"] == result["n"]
    assert result["calibration"]["temperature"] == 1  # of 18 validation pictures
    assert 0 <= result["calibration"]["ece"] <= 1
    assert result["unknown"]["n"] == result["n"]


def test_the_card_has_both_and_they_are_those_of_the_file(
    edgecnn: Edgecnn, trained: Path, shapes: Path, exported: dict[str, Path]
) -> None:
    from edgecnn_training import run_data
    from edgecnn_training.run import Run

    run = Run.open(trained)
    data = run_data.load_data_of(run, None)
    test = run_data.pictures(data, run_data.codes_of(run, data), "test")
    for path in exported.values():
        with Classifier(path) as model:
            card = model.card
            predictions = model.predict_batch(list(test.take(np.arange(len(test)))))
        scores = np.stack([prediction.scores for prediction in predictions])
        assert card.more["calibration"]["ece"] == pytest.approx(confidence.ece(scores, test.class_index))
        unknown = card.more["unknown"]
        assert unknown["coverage"] == pytest.approx(np.mean([not prediction.unknown for prediction in predictions]))
        kept = [p.class_index == own for p, own in zip(predictions, test.class_index, strict=True) if not p.unknown]
        assert unknown["error"] == pytest.approx(1 - np.mean(kept))


def test_the_file_gives_the_scores_of_the_run_divided_by_the_temperature(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confidence, "FEWEST", 1)
    assert edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--quantize", "none").code == 0
    from edgecnn_training.backend import start_keras

    start_keras("to test")
    from edgecnn_training import checkpoint, loop, networks
    from edgecnn_training.run import Run

    run = Run.open(trained)
    images = np.random.default_rng(0).integers(0, 256, (20, 20, 20, 1), np.uint8)
    network = networks.load_network(run, checkpoint.best(run.checkpoints))
    plain = loop.keras_scorer(network, run.info.normalization)(images)
    with Classifier(tmp_path / "m.onnx") as model:
        temperature = model.card.more["calibration"]["temperature"]
        assert temperature != 1
        assert model.scores(images) == pytest.approx(confidence.tempered(plain, temperature), abs=1e-4)
