from __future__ import annotations

import math

import pytest
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import schedules  # noqa: E402
from edgecnn_training.recipe import SCHEDULES  # noqa: E402


def rate(schedule: object, step: int) -> float:
    return float(keras.ops.convert_to_numpy(schedule(step)))  # type: ignore[operator]


def test_one_cycle_rises_to_its_peak_and_falls_to_a_thousandth() -> None:
    schedule = schedules.schedule("one-cycle", 0.5, 1000, 0.2)
    assert rate(schedule, 0) == pytest.approx(0.5 / 25)
    assert rate(schedule, 100) == pytest.approx(0.5 * 0.52)  # halfway between 1/25 and 1
    assert rate(schedule, 200) == pytest.approx(0.5)
    assert rate(schedule, 600) == pytest.approx(0.5 * (1 / 1000 + 999 / 1000 / 2), rel=1e-5)
    assert rate(schedule, 1000) == pytest.approx(0.5 / 1000)
    assert rate(schedule, 2000) == pytest.approx(0.5 / 1000)  # never below, never up again


def test_cosine_begins_at_its_peak() -> None:
    schedule = schedules.schedule("cosine", 0.5, 1000, 0.2)
    assert rate(schedule, 0) == pytest.approx(0.5)
    assert rate(schedule, 250) == pytest.approx(
        0.5 * (1 / 1000 + 999 / 1000 * (1 + math.cos(math.pi / 4)) / 2), rel=1e-5
    )


def test_exponential_falls_by_the_same_factor_in_equal_times() -> None:
    schedule = schedules.schedule("exponential", 0.5, 1000, 0.2)
    assert rate(schedule, 0) == pytest.approx(0.5)
    assert rate(schedule, 500) == pytest.approx(0.05)
    assert rate(schedule, 1000) == pytest.approx(0.005)


def test_constant_is_a_number() -> None:
    assert schedules.schedule("constant", 0.5, 1000, 0.2) == 0.5


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_schedule_of_a_recipe_is_one_that_exists(name: str) -> None:
    assert name in schedules.SCHEDULES


@pytest.mark.parametrize("name", ["one-cycle", "exponential"])
def test_a_schedule_is_rebuilt_from_its_configuration(name: str) -> None:
    schedule = schedules.schedule(name, 0.5, 1000, 0.2)
    copy = type(schedule).from_config(schedule.get_config())  # type: ignore[attr-defined]
    assert [rate(copy, step) for step in (0, 10, 700)] == [rate(schedule, step) for step in (0, 10, 700)]
