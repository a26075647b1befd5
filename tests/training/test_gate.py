"""Which candidate ships: the order on validation, the gate on test, and what a proof takes."""

from pathlib import Path

import numpy as np
import pytest
from edgecnn_training.export import gate
from edgecnn_training.export.gate import Loss, Standing

from edgecnn.errors import UsageError

EXACT = Standing("float32", 300_000, 0.99, 0.0, 0.30)


def standing(name, size=90_000, loss=0.0, milliseconds=0.2):
    return Standing(name, size, 0.99 - loss, loss, milliseconds)


def names(standings):
    return [one.name for one in standings]


def test_for_any_machine_the_smallest_files_come_first_and_among_them_the_most_accurate():
    others = [standing("float16", 150_000), standing("int8", loss=0.001), standing("int8 percentile", 90_500)]
    assert names(gate.order(EXACT, others, "any", 0.5)) == ["int8 percentile", "int8", "float16"]


def test_what_loses_too_much_on_validation_is_not_tried():
    others = [standing("int8", loss=0.0051), standing("int8 mixed", loss=0.005)]
    assert names(gate.order(EXACT, others, "any", 0.5)) == ["int8 mixed"]
    assert gate.why_not(others[0], EXACT, "any", 0.5) == "loses 0.51 points on validation"
    full = Standing("int8 full", 1, 0.2, 0.7, 1.0)
    assert gate.why_not(full, EXACT, "host", 0.5).endswith("on validation; 8 bits overflow on x86 without VNNI")


def test_host_goes_by_the_time_measured_here_and_takes_only_what_is_faster_than_float32():
    others = [standing("int8", milliseconds=0.4), standing("int8 signed", milliseconds=0.1), standing("float16")]
    others.append(standing("int8 mixed", milliseconds=0.29))
    assert names(gate.order(EXACT, others, "host", 0.5)) == ["int8 signed", "float16"]
    assert gate.why_not(others[0], EXACT, "host", 0.5) == "not faster here"


def test_for_the_host_what_is_within_noise_of_the_fastest_counts_as_equally_fast():
    others = [standing("int8", milliseconds=0.2), standing("int8 full", loss=0.001, milliseconds=0.195)]
    others += [standing("int8 tensor", milliseconds=0.192, loss=0.002), standing("int8 signed", milliseconds=0.25)]
    assert names(gate.order(EXACT, others, "host", 0.5)) == ["int8", "int8 full", "int8 tensor", "int8 signed"]
    assert gate.why_not(others[3], EXACT, "host", 0.5) == ""  # faster than float32, and behind others


@pytest.mark.parametrize(
    ("target", "first"),
    [("pi3", "int8"), ("pi4", "int8"), ("pi5", "int8 signed"), ("gpu", "float16")],
)
def test_other_machines_go_by_the_published_table_whatever_is_fast_here(target, first):
    others = [standing(name, milliseconds=9.0) for name in ("int8", "int8 signed", "int8 percentile")]
    others.append(standing("float16", 150_000, milliseconds=0.1))
    assert names(gate.order(EXACT, others, target, 0.5))[0] == first


def test_the_table_names_schemes_that_exist():
    from edgecnn_training.export import candidates

    source = Path(candidates.__file__).read_text(encoding="utf-8")
    for name in {name for allowed in gate.TARGETS.values() for name in allowed} - {"float16"}:
        assert f'"{name}"' in source


def test_a_candidate_that_is_hardly_smaller_is_not_for_other_machines():
    assert gate.order(EXACT, [standing("int8", 280_000)], "any", 0.5) == []
    assert gate.why_not(standing("int8", 280_000), EXACT, "any", 0.5) == "hardly smaller than float32"
    assert names(gate.order(EXACT, [standing("int8", 260_000)], "any", 0.5)) == ["int8"]


@pytest.mark.parametrize("target", ["any", "pi4", "host"])
def test_what_was_asked_for_by_name_need_be_neither_smaller_nor_faster(target):
    large = standing("int8", 280_000, milliseconds=EXACT.milliseconds)
    assert gate.order(EXACT, [large], target, 0.5) == []
    assert gate.order(EXACT, [large], target, 0.5, asked=True) == [large]
    assert gate.why_not(large, EXACT, target, 0.5, asked=True) == ""
    assert gate.order(EXACT, [standing("int8", 280_000, 0.02)], target, 0.5, asked=True) == []


def scores(labels, classes=3):
    return np.eye(classes, dtype=np.float32)[labels]


def test_a_loss_counts_the_pictures_on_which_both_differ():
    truth = np.array([0, 1, 2, 0, 1])
    loss = Loss.of(scores([0, 1, 2, 1, 0]), scores([1, 1, 2, 0, 2]), truth)
    assert (loss.worse, loss.better, loss.n, loss.measured) == (1, 1, 5, 0.0)
    assert loss.told("test").startswith("lost 0.00 points on test; with 5 pictures no more than ")


def test_163_pictures_without_a_difference_prove_1_8_points():
    truth = np.zeros(163, np.int64)
    loss = Loss.of(scores(truth), scores(truth), truth)
    assert loss.told("test") == "lost 0.00 points on test; with 163 pictures no more than 1.8 points is proven"
    assert gate.passes(loss, 0.5, prove=False)
    assert not gate.passes(loss, 1.8, prove=True)
    assert gate.passes(loss, 1.9, prove=True)


def test_a_proof_of_several_candidates_is_harder():
    assert gate.confidence_of_each(1) == pytest.approx(0.95)
    assert gate.confidence_of_each(5) == pytest.approx(0.99)
    assert gate.pictures_needed(0.5, 1) == 598
    assert gate.pictures_needed(0.5, 5) > gate.pictures_needed(0.5, 1)
    with pytest.raises(UsageError, match="--prove needs a --max-drop above 0"):
        gate.pictures_needed(0, 1)


def test_under_prove_candidates_with_a_true_loss_above_the_limit_pass_in_five_percent_of_the_draws_at_most():
    """Four candidates in turn, each worse by a little more than allowed, on 1,500 pictures of one draw."""
    rng, limit, n, rungs, draws = np.random.default_rng(0), 0.5, 1500, 4, 400
    sure = gate.confidence_of_each(rungs)
    accepted = 0
    for _ in range(draws):
        for _rung in range(rungs):
            worse, better, _same = rng.multinomial(n, [0.0081, 0.003, 1 - 0.0111])
            truth = np.zeros(n, np.int64)
            exact, other = truth.copy(), truth.copy()
            other[:worse] = 1
            exact[worse : worse + better] = 1
            if gate.passes(Loss.of(scores(exact), scores(other), truth, sure), limit, prove=True):
                accepted += 1
                break
    assert accepted / draws <= 0.05
    assert accepted > 0  # the draws reach the limit at all
