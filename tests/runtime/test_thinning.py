"""Sinks that get fewer results: only changes, or one in so many seconds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import thinning
from edgecnn.errors import UsageError
from edgecnn.prediction import ErrorResult, Prediction, Result

LABELS = ("cat", "dog")


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def write(self, result: Result | ErrorResult) -> None:
        self.got.append(result.error if isinstance(result, ErrorResult) else result.prediction.label)

    def close(self) -> None:
        self.got.append("closed")


def result(label: str, source: str = "cam", index: int | None = 0, *, unknown: bool = False) -> Result:
    scores = np.array([0.9, 0.1] if label == "cat" else [0.1, 0.9], np.float32)
    prediction = Prediction(scores, LABELS, unknown=unknown)
    return Result(source, prediction, "model", "cpu", {}, index=index, time=0.0)


def test_without_options_it_is_the_sink_itself() -> None:
    sink = Kept()
    assert thinning.thinner({"top": "3"})(sink) is sink


@given(st.lists(st.sampled_from(["cat", "dog"]), max_size=30))
def test_only_changes_of_a_feed_are_passed_on(labels: list[str]) -> None:
    sink = Kept()
    only = thinning.thinner({"only": "change"})(sink)
    for label in labels:
        only.write(result(label))
    assert sink.got == [label for label, before in zip(labels, [None, *labels], strict=False) if label != before]


def test_each_feed_has_its_own_last_label_and_pictures_in_files_have_one_together() -> None:
    sink = Kept()
    only = thinning.thinner({"only": "change"})(sink)
    for source in ("door", "yard", "door", "yard"):
        only.write(result("cat", source))
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        only.write(result("dog", name, index=None))
    assert sink.got == ["cat", "cat", "dog"]


def test_unknown_and_an_error_are_changes_and_the_same_error_again_is_none() -> None:
    sink = Kept()
    only = thinning.thinner({"only": "change"})(sink)
    only.write(result("cat"))
    only.write(result("cat", unknown=True))
    only.write(result("dog", unknown=True))
    for _ in range(3):
        only.write(ErrorResult("cam", "damaged"))
    only.write(result("dog", unknown=True))
    assert sink.got == ["cat", "cat", "damaged", "dog"]


def test_a_change_that_comes_too_early_is_passed_on_later_if_it_still_is_one() -> None:
    sink = Kept()
    slow = thinning.thinner({"only": "change", "every": "0.2"})(sink)
    slow.write(result("cat"))
    slow.write(result("dog"))  # too early
    slow.write(result("cat"))
    assert sink.got == ["cat"]
    time.sleep(0.25)
    slow.write(result("cat"))  # none any more
    slow.write(result("dog"))
    slow.close()
    assert sink.got == ["cat", "dog", "closed"]


@pytest.mark.parametrize("option", ["only=new", "only=", "every=0", "every=-1", "every=nan", "every=1e3", "every="])
def test_other_values_are_refused(option: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(UsageError, match="must be"):
        thinning.thinner({name: value})


def test_on_the_command_line_a_sink_gets_less_and_a_mistake_costs_no_file(
    edgecnn: Edgecnn, colors: Path, tmp_path: Path
) -> None:
    everything, changes = tmp_path / "all.jsonl", tmp_path / "changes.jsonl"
    to = ("--to", f"jsonl:{everything}", "--to", f"jsonl:{changes}?only=change")
    assert edgecnn("predict", colors, "test:?frames=40&fps=0", *to).code == 0
    labels = [json.loads(line)["label"] for line in everything.read_text().splitlines()]
    expected = [label for label, before in zip(labels, [None, *labels], strict=False) if label != before]
    assert [json.loads(line)["label"] for line in changes.read_text().splitlines()] == expected
    assert len(expected) < len(labels)
    wrong = edgecnn("predict", colors, "test:", "--to", f"jsonl:{everything}?only=changes")
    assert (wrong.code, len(everything.read_text().splitlines())) == (2, 40)
    misspelt = edgecnn("predict", colors, "test:", "--to", f"jsonl:{everything}?onyl=change")
    assert "options of the sink jsonl must be one of top, only, every; received 'onyl'" in misspelt.err
