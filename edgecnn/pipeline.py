"""From sources through a model to the sinks.

::

    run(open_source("photos/"), Classifier("signs.onnx"), open_sinks(["jsonl:out.jsonl"]))
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgecnn.classifier import MAP, Classifier
from edgecnn.errors import ImageError, UsageError
from edgecnn.frames import Failure, Frame, Image, Packet, Source
from edgecnn.prediction import ErrorResult, Explanation, Prediction, Region, Result, Sink
from edgecnn.timing import Timing

if TYPE_CHECKING:
    from edgecnn.feeds import Counts


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to.

    Attributes:
        frames: Pictures that were predicted.
        failures: Inputs that gave no picture.
        seconds: Wall time.
        feeds: Of live feeds, what became of the frames of each, by its name.
        timing: Of live feeds, how long the labels took.
    """

    frames: int
    failures: int
    seconds: float
    feeds: Mapping[str, Counts] = field(default_factory=dict)
    timing: Timing = field(default_factory=Timing)


def run(source: Source, model: Classifier, sinks: Sink, *, batch: int = 1, timing: Timing | None = None) -> Summary:
    """Predict every frame of a source, in order, and close source and sinks at the end, however it comes.

    A live source ends well on `KeyboardInterrupt`, that is on Ctrl-C; with others it goes on to the caller.

    Args:
        source: From `open_source`.
        model: The model; it stays open.
        sinks: From `open_sinks`.
        batch: Frames per inference; of a live feed always 1. More is quicker on many cores or a GPU, and holds results
            back until it is full; for a model that takes pictures of any size also the pictures, as large as they are.
        timing: Where to count the times of live feeds, for another thread to look at; None for a new one.

    Raises:
        UsageError: `batch` below 1, or a sink wants to know where a model looked that does not tell.
        SinkError: Results cannot be written.
        ModelError: The model fails.
    """
    started = time.perf_counter()
    frames = failures = 0
    timing = timing or Timing()
    with contextlib.closing(source), contextlib.closing(sinks):
        if batch < 1:
            raise UsageError(f"batch must be 1 or more; received {batch}")
        wanted = frozenset(getattr(sinks, "wants", ()))
        if MAP in wanted:
            model.check_explains()
        try:
            for results in _predicted(source, model, 1 if source.live else batch, wanted):
                for result in results:
                    sinks.write(result)
                    failures += isinstance(result, ErrorResult)
                    frames += isinstance(result, Result)
                    if isinstance(result, Result):
                        timing.add(result.ms)
        except KeyboardInterrupt:
            if not source.live:
                raise
    counts = getattr(source, "counts", {})
    return Summary(frames, failures, time.perf_counter() - started, counts, timing)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A frame as the model takes it: in the network's size, or in any.

    The picture itself is let go where no sink wants it, so that batches of photos stay small.
    """

    source: str
    fitted: Image
    ms: Mapping[str, float]
    region: Region
    image: Image | None
    index: int | None
    arrived_ns: int | None
    sensor_ns: int | None


def _predicted(
    source: Source, model: Classifier, batch: int, wanted: Collection[str]
) -> Iterator[list[Result | ErrorResult]]:
    """Results in the order of the source; a failure waits for the frames before it."""
    waiting: list[_Ready | ErrorResult] = []
    count = 0
    for item in source:
        if isinstance(item, Packet):
            item = item.decoded()
        ready = _ready(item, model, keep="image" in wanted) if isinstance(item, Frame) else _failed(item)
        waiting.append(ready)
        count += isinstance(ready, _Ready)
        if count == batch or count == 0:
            yield _predict(waiting, model, explain=MAP in wanted)
            waiting, count = [], 0
    yield _predict(waiting, model, explain=MAP in wanted)


def _ready(frame: Frame, model: Classifier, *, keep: bool) -> _Ready | ErrorResult:
    begin = time.perf_counter()
    try:
        fitted = model.fit(frame.image)
    except ImageError as error:  # too large for a model that takes any size
        return _failed(Failure(frame.source, error))
    ms = {"decode": frame.decode_ms, "preprocess": (time.perf_counter() - begin) * 1000}
    return _Ready(
        source=frame.source,
        fitted=fitted,
        ms=ms,
        region=model.region(*frame.image.shape[:2]),
        image=frame.image if keep else None,
        index=frame.index if frame.numbered else None,
        arrived_ns=frame.arrived_ns,
        sensor_ns=frame.sensor_ns,
    )


def _failed(failure: Failure) -> ErrorResult:
    return ErrorResult(failure.source, " ".join(str(failure.error).split()))


def _predict(items: Sequence[_Ready | ErrorResult], model: Classifier, *, explain: bool) -> list[Result | ErrorResult]:
    ready = [item for item in items if isinstance(item, _Ready)]
    begin = time.perf_counter()
    predictions = iter(_judged(ready, model, explain=explain) if ready else ())
    inference_ms = (time.perf_counter() - begin) * 1000 / max(1, len(ready))
    name = f"{model.card.name}@{model.card.graph_sha256[:12]}"
    results: list[Result | ErrorResult] = []
    for item in items:
        if isinstance(item, _Ready):
            ms = {**item.ms, "inference": inference_ms, **_since(item)}
            results.append(
                Result(
                    item.source,
                    next(predictions),
                    name,
                    model.device,
                    ms,
                    image=item.image,
                    index=item.index,
                    time=None if item.arrived_ns is None else time.time(),
                )
            )
        else:
            results.append(item)
    return results


def _since(item: _Ready) -> dict[str, float]:
    """How long the label took since its frame had arrived, and since the camera saw it, in milliseconds."""
    now = time.monotonic_ns()
    named = (("capture_to_label", item.arrived_ns), ("glass_to_label", item.sensor_ns))
    return {name: (now - began) / 1e6 for name, began in named if began is not None}


def _judged(ready: Sequence[_Ready], model: Classifier, *, explain: bool) -> list[Prediction]:
    fitted = [item.fitted for item in ready]
    if not explain:
        return [model.judge(row) for row in model.scores_of(fitted)]
    each = zip(*model.explained_of(fitted), ready, strict=True)
    return [model.judge(row, Explanation(maps, item.region)) for row, maps, item in each]
