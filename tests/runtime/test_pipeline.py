from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecnn import Classifier, open_sinks, open_source, run
from edgecnn.errors import ImageError, SinkError, UsageError
from edgecnn.frames import Failure, Frame
from edgecnn.pipeline import Summary
from edgecnn.prediction import ErrorResult, Result


class Listed:
    """A source of given items that counts how often it was closed."""

    def __init__(self, items: list[Frame | Failure], *, live: bool = False) -> None:
        self.items, self.live, self.closed = items, live, 0

    def __iter__(self) -> Iterator[Frame | Failure]:
        yield from self.items

    def close(self) -> None:
        self.closed += 1


class Interrupted(Listed):
    """A source during which someone presses Ctrl-C after the last of its items."""

    def __iter__(self) -> Iterator[Frame | Failure]:
        yield from self.items
        raise KeyboardInterrupt


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.results: list[Result | ErrorResult] = []
        self.closed = 0

    def write(self, result: Result | ErrorResult) -> None:
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1


class Full(Kept):
    """A sink that cannot be written."""

    def write(self, result: Result | ErrorResult) -> None:
        raise SinkError("full")


def frame(name: str) -> Frame:
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., ["red", "green", "blue"].index(name)] = 255
    return Frame(image, name, 0, 1.5)


def failure(name: str) -> Failure:
    return Failure(name, ImageError("not\nan image"))


NAMES = ["x", "red", "blue", "y", "green", "red", "red", "z"]
ITEMS = [failure(name) if name in "xyz" else frame(name) for name in NAMES]


def test_the_python_example_of_the_design_runs(colors: Path, photos: Path, tmp_path: Path) -> None:
    model = Classifier(colors)
    summary = run(open_source(str(photos)), model, open_sinks([f"jsonl:{tmp_path / 'out'}"]))
    records = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [record["label"] for record in records] == ["green", "blue", "red"]
    assert (summary.frames, summary.failures) == (3, 0)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_every_result_comes_once_and_in_order_at_every_batch_size(colors: Path, batch: int) -> None:
    sink = Kept()
    summary = run(Listed(ITEMS), Classifier(colors), sink, batch=batch)
    assert [result.source for result in sink.results] == [item.source for item in ITEMS]
    assert all(r.prediction.label == r.source for r in sink.results if isinstance(r, Result))
    assert (summary.frames, summary.failures) == (5, 3)


def test_a_result_knows_its_model_device_and_times(colors: Path) -> None:
    sink, model = Kept(), Classifier(colors)
    run(Listed([frame("red")]), model, sink)
    (result,) = sink.results
    assert isinstance(result, Result)
    assert result.model == f"colors@{model.card.graph_sha256[:12]}"
    assert result.device == "cpu"
    assert result.ms["decode"] == 1.5
    assert all(result.ms[stage] > 0 for stage in ("preprocess", "inference"))


def test_an_error_is_told_in_one_line(colors: Path) -> None:
    sink = Kept()
    run(Listed([failure("x")]), Classifier(colors), sink)
    assert sink.results == [ErrorResult("x", "not an image")]


def test_source_and_sinks_are_closed_at_the_end_and_after_an_error(colors: Path) -> None:
    model = Classifier(colors)
    for sink in (Kept(), Full()):
        source = Listed([frame("red")])
        if isinstance(sink, Full):
            with pytest.raises(SinkError, match="full"):
                run(source, model, sink)
        else:
            run(source, model, sink)
        assert (source.closed, sink.closed) == (1, 1)


def test_a_live_source_ends_well_on_ctrl_c(colors: Path) -> None:
    source, sink = Interrupted([frame("red"), frame("blue")], live=True), Kept()
    summary = run(source, Classifier(colors), sink)
    assert (summary.frames, len(sink.results), source.closed, sink.closed) == (2, 2, 1, 1)


def test_on_ctrl_c_other_sources_and_sinks_are_closed_and_it_goes_on_to_the_caller(colors: Path) -> None:
    source, sink = Interrupted([frame("red")]), Kept()
    with pytest.raises(KeyboardInterrupt):
        run(source, Classifier(colors), sink)
    assert (len(sink.results), source.closed, sink.closed) == (1, 1, 1)


def test_several_sources_are_live_if_one_of_them_is(photos: Path) -> None:
    assert open_source(str(photos), "test:").live
    assert not open_source(str(photos), str(photos)).live


def test_a_batch_below_one_is_refused(colors: Path) -> None:
    with pytest.raises(UsageError, match="batch must be 1 or more; received 0"):
        run(Listed([]), Classifier(colors), Kept(), batch=0)


def test_a_source_without_frames_is_an_empty_run(colors: Path) -> None:
    summary = run(Listed([]), Classifier(colors), Kept())
    assert isinstance(summary, Summary)
    assert (summary.frames, summary.failures) == (0, 0)


def test_two_sinks_into_one_place_are_refused_and_leave_the_file_alone(tmp_path: Path) -> None:
    place = tmp_path / "out.txt"
    with pytest.raises(UsageError, match="is named twice"):
        open_sinks([f"jsonl:{place}", f"csv:{place}"])
