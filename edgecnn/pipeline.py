"""From sources through a model to the sinks, and the words and URIs that name both.

::

    run(open_source("photos/"), Classifier("signs.onnx"), open_sinks(["jsonl:out.jsonl"]))
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import cast
from urllib.parse import unquote

from edgecnn import plugins
from edgecnn.classifier import MAP, Classifier
from edgecnn.errors import ImageError, UsageError
from edgecnn.frames import Failure, Frame, Image, Source
from edgecnn.prediction import ErrorResult, Explanation, Prediction, Region, Result, Sink


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to.

    Attributes:
        frames: Pictures that were predicted.
        failures: Inputs that gave no picture.
        seconds: Wall time.
    """

    frames: int
    failures: int
    seconds: float


def open_source(*uris: str) -> Source:
    """Open one source, or several to be read one after the other.

    Args:
        uris: Each the path of a picture or a folder, a pattern such as ``photos/**/*.jpg``, ``-`` for standard input,
            or ``test:`` for a synthetic live feed. A path that exists is a path, whatever else its name could mean
            (``./-`` is a file called ``-``).

    Raises:
        SourceError: What was named is missing or holds nothing.
        UsageError: An unknown option in a query.
    """
    with contextlib.ExitStack() as opened:
        sources = []
        for uri in uris:
            sources.append(_open_one(uri))
            opened.callback(sources[-1].close)
        opened.pop_all()
    return _Chain(sources)


def open_sinks(uris: Sequence[str], *, top: int = 3) -> Sink:
    """Open sinks that all get every result.

    Args:
        uris: ``jsonl:-``, ``csv:out.csv``, ``table:-``, ``images:drawn`` …; ``-`` is standard output.
        top: How many labels to pass on, where a URI does not say it (``jsonl:-?top=5``).

    Raises:
        UsageError: An unknown sink or option, or none at all.
        SinkError: One cannot be written.
    """
    if not uris:
        raise UsageError("a run needs a sink; received none: type jsonl:- for standard output")
    schemes = _schemes("edgecnn.sinks")
    with contextlib.ExitStack() as opened:
        sinks: list[Sink] = []
        targets: set[str] = set()
        for uri in uris:
            scheme = uri.partition(":")[0]
            if scheme not in schemes:
                raise UsageError(f"a sink must begin with one of {', '.join(schemes)} and a colon; received {uri!r}")
            place, options = plugins.split_query(uri)
            target = unquote(place.partition(":")[2])
            where = target if target == "-" or "\0" in target else os.path.realpath(target)
            if where in targets:
                raise UsageError(f"each sink must write to a place of its own; {target!r} is named twice: name another")
            targets.add(where)
            sinks.append(schemes[scheme].open(place, {"top": str(top)} | options))
            opened.callback(sinks[-1].close)
        opened.pop_all()
    return _Fan(sinks)


def run(source: Source, model: Classifier, sinks: Sink, *, batch: int = 1) -> Summary:
    """Predict every frame of a source, in order, and close source and sinks at the end, however it comes.

    A live source ends well on `KeyboardInterrupt`, that is on Ctrl-C; with others it goes on to the caller.

    Args:
        source: From `open_source`.
        model: The model; it stays open.
        sinks: From `open_sinks`.
        batch: Frames per inference. More is quicker on many cores or a GPU, and holds results back until it is full;
            for a model that takes pictures of any size also the pictures, as large as they are.

    Raises:
        UsageError: `batch` below 1, or a sink wants to know where a model looked that does not tell.
        SinkError: Results cannot be written.
        ModelError: The model fails.
    """
    started = time.perf_counter()
    frames = failures = 0
    with contextlib.closing(source), contextlib.closing(sinks):
        if batch < 1:
            raise UsageError(f"batch must be 1 or more; received {batch}")
        wanted = frozenset(getattr(sinks, "wants", ()))
        if MAP in wanted:
            model.check_explains()
        try:
            for results in _predicted(source, model, batch, wanted):
                for result in results:
                    sinks.write(result)
                    failures += isinstance(result, ErrorResult)
                    frames += isinstance(result, Result)
        except KeyboardInterrupt:
            if not source.live:
                raise
    return Summary(frames, failures, time.perf_counter() - started)


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


def _predicted(
    source: Source, model: Classifier, batch: int, wanted: Collection[str]
) -> Iterator[list[Result | ErrorResult]]:
    """Results in the order of the source; a failure waits for the frames before it."""
    waiting: list[_Ready | ErrorResult] = []
    count = 0
    for item in source:
        if isinstance(item, Frame):
            ready = _ready(item, model, keep="image" in wanted, live=source.live)
        else:
            ready = _failed(item)
        waiting.append(ready)
        count += isinstance(ready, _Ready)
        if count == batch or count == 0:
            yield _predict(waiting, model, explain=MAP in wanted)
            waiting, count = [], 0
    yield _predict(waiting, model, explain=MAP in wanted)


def _ready(frame: Frame, model: Classifier, *, keep: bool, live: bool) -> _Ready | ErrorResult:
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
        index=frame.index if live else None,
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
            ms = {**item.ms, "inference": inference_ms}
            results.append(
                Result(item.source, next(predictions), name, model.device, ms, image=item.image, index=item.index)
            )
        else:
            results.append(item)
    return results


def _judged(ready: Sequence[_Ready], model: Classifier, *, explain: bool) -> list[Prediction]:
    fitted = [item.fitted for item in ready]
    if not explain:
        return [model.judge(row) for row in model.scores_of(fitted)]
    each = zip(*model.explained_of(fitted), ready, strict=True)
    return [model.judge(row, Explanation(maps, item.region)) for row, maps, item in each]


class _Chain:
    """Sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.live = any(source.live for source in sources)

    def __iter__(self) -> Iterator[Frame | Failure]:
        for source in self._sources:
            yield from source

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # closes the others too where one fails
            for source in self._sources:
                stack.callback(source.close)


class _Fan:
    """Sinks that all get the same."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self.wants = frozenset(what for sink in sinks for what in getattr(sink, "wants", ()))

    def write(self, result: Result | ErrorResult) -> None:
        for sink in self._sinks:
            sink.write(result)

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)


def _open_one(uri: str) -> Source:
    schemes = _schemes("edgecnn.sources")
    scheme = "-" if uri.startswith("-?") else uri.partition(":")[0]  # test?.jpg is a pattern
    is_path = uri != "-" and os.path.lexists(uri)
    if is_path or scheme not in schemes:
        scheme, place, options = "file", uri, dict[str, str]()
    else:
        place, options = plugins.split_query(uri)
    return cast(Source, schemes[scheme].open(place, options))


def _schemes(package: str) -> Mapping[str, ModuleType]:
    """The plug-in for each scheme of a package."""
    modules = [plugins.load(package, name) for name in plugins.names(package)]
    return {scheme: module for module in modules for scheme in module.SCHEMES}
