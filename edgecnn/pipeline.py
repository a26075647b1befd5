"""From sources through a model to the sinks, and the words and URIs that name both.

::

    run(open_source("photos/"), Classifier("signs.onnx"), open_sinks(["jsonl:out.jsonl"]))
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from edgecnn import plugins
from edgecnn.classifier import MAP, Classifier
from edgecnn.errors import ImageError, SourceError, UsageError, redacted, refuse_unknown_options
from edgecnn.frames import LIVE_OPTIONS, VIEW_OPTIONS, Failure, Found, Frame, Image, Item, Packet, Source
from edgecnn.prediction import ErrorResult, Explanation, Prediction, Region, Result, Sink
from edgecnn.timing import Timing
from edgecnn.view import View

if TYPE_CHECKING:
    from edgecnn.feeds import Counts, Feed
    from edgecnn.live import Live

_DEVICE = re.compile(r"/dev/(video[0-9]|v4l/)")  # the path of a webcam


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


def open_source(*uris: str, retry_first: bool = False) -> Source:
    """Open one source, or several: first what lies in files, one after the other, then all live feeds at a time.

    Args:
        uris: Each the path of a picture, a video or a folder, a pattern such as ``photos/**/*.jpg``, ``-`` for standard
            input, or the URI of a live feed such as ``pi:0``, ``rtsp://host/stream`` or ``test:``. A path that exists
            is a path, whatever else its name could mean (``./-`` is a file called ``-``).
        retry_first: Whether a live feed that does not start is tried again, as one that had started is.

    Raises:
        SourceError: What was named is missing or holds nothing.
        UsageError: An unknown option in a query.
        MissingExtraError: A package that it takes is not installed.
    """
    feeds: list[Feed] = []
    with contextlib.ExitStack() as opened:
        sources: list[Source] = []
        for uri in uris:
            one = _open_one(uri, retry_first=retry_first)
            opened.callback(one.close)
            if one.live:
                feeds.append(cast("Feed", one))
            else:
                sources.append(cast(Source, one))
        opened.pop_all()
    return _Chain(sources, _together(feeds) if feeds else None)


def find_cameras() -> list[Found]:
    """What live sources there are on this machine, in the order of their kinds."""
    modules = [plugins.load("edgecnn.sources", name) for name in plugins.names("edgecnn.sources")]
    return [camera for module in modules if hasattr(module, "found") for camera in module.found()]


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


def run(source: Source, model: Classifier, sinks: Sink, *, batch: int = 1, timing: Timing | None = None) -> Summary:
    """Predict every frame of a source, in order, and close source and sinks at the end, however it comes.

    A live source ends well on `KeyboardInterrupt`, that is on Ctrl-C; with others it goes on to the caller.

    Args:
        source: From `open_source`.
        model: The model; it stays open.
        sinks: From `open_sinks`.
        batch: Frames per inference. More is quicker on many cores or a GPU, and holds results back until it is full;
            for a model that takes pictures of any size also the pictures, as large as they are.
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
            for results in _predicted(source, model, batch, wanted):
                for result in results:
                    failures += isinstance(result, ErrorResult)
                    frames += isinstance(result, Result)
                    if isinstance(result, Result):
                        timing.add(result.ms)
                    sinks.write(result)  # last: Ctrl-C may come while it writes
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


class _Chain:
    """Sources, one after the other, and then the live feeds."""

    def __init__(self, sources: Sequence[Source], live: Live | None) -> None:
        self._sources = [*sources, *([] if live is None else [live])]
        self._live = live
        self.live = live is not None

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What became of the frames of each live feed."""
        return {} if self._live is None else self._live.counts

    def __iter__(self) -> Iterator[Item]:
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


class _Viewed:
    """A source that is not live, looked at as its options say."""

    live = False

    def __init__(self, source: Source, view: View) -> None:
        self._source, self._view = source, view
        self.close = source.close

    def __iter__(self) -> Iterator[Item]:
        for number, item in enumerate(self._source):
            if self._view.wants(number):
                yield replace(item, image=self._view(item.image)) if isinstance(item, Frame) else item


def _together(feeds: Sequence[Feed]) -> Live:
    from edgecnn.live import Live

    return Live(feeds)


def _feed(
    name: str,
    opener: Callable[[], Source],
    options: Mapping[str, str],
    view: View,
    source: Source | None,
    *,
    retry_first: bool,
) -> Feed:
    from edgecnn.feeds import Feed, Policy  # here, as `Live`: pictures have no use for them, and wait 14 ms less

    policy = Policy.of(options, newest=not getattr(source, "patient", False), retry_first=retry_first)
    return Feed(name, opener, policy, view, source)


def _open_one(uri: str, *, retry_first: bool) -> Source | Feed:
    """A source that is read to its end, or a live feed that is still to be read."""
    module, place, options = _plugin_of(uri)
    view = View.of(options, skip=getattr(module, "SKIP", 0))
    own = {name: value for name, value in options.items() if name not in VIEW_OPTIONS}
    opener = functools.partial(module.open, place, {k: v for k, v in own.items() if k not in LIVE_OPTIONS})
    name = redacted(place)
    try:
        source = cast(Source, opener())
    except SourceError:
        if not retry_first or not getattr(module, "LIVE", False):
            raise
        return _feed(name, opener, options, view, None, retry_first=True)
    if source.live:
        return _feed(name, opener, options, view, source, retry_first=retry_first)
    refuse_unknown_options(f"the source {name}", [option for option in own if option in LIVE_OPTIONS], ())
    return source if view == View() else _Viewed(source, view)


def _plugin_of(uri: str) -> tuple[ModuleType, str, dict[str, str]]:
    """The plug-in that a URI belongs to, what it opens, and the options.

    The query of an address on the network is its server's: there the options follow a ``#``, which no server is sent.
    Of a command they follow its last ``?``.
    """
    if _DEVICE.match(uri):
        return plugins.load("edgecnn.sources", "usb"), *plugins.split_query(f"usb:{uri}")
    bare = re.match(r"(-|[a-z0-9]+(?=\?[a-z_]+=))\?", uri)  # pi?fps=5 is a source, test?.jpg a pattern
    scheme = bare[1] if bare else uri.partition(":")[0]
    is_path = uri != "-" and os.path.lexists(uri)
    module = None if is_path else _source_of(scheme)
    if module is None:
        return plugins.load("edgecnn.sources", "files"), uri, {}
    mark = getattr(module, "OPTIONS_AFTER", "?")
    if mark == "?":
        return module, *plugins.split_query(uri)
    place, found, query = uri.rpartition(mark[0])
    if not found:
        return module, uri, {}
    return module, place, plugins.split_query(f"?{query}")[1]


def _source_of(scheme: str) -> ModuleType | None:
    """The source of a scheme; most have a file of its name, and a picture's prediction waits for no other's import."""
    name = {"-": "stdin", "file": "files"}.get(scheme, scheme)
    if name in plugins.names("edgecnn.sources"):
        module = plugins.load("edgecnn.sources", name)
        if scheme in module.SCHEMES:
            return module
    if not re.fullmatch("[a-z][a-z0-9+.-]*", scheme) or os.path.splitext(scheme)[1]:
        return None  # no scheme at all, but a path that is not there
    return _schemes("edgecnn.sources").get(scheme)


def _schemes(package: str) -> Mapping[str, ModuleType]:
    """The plug-in for each scheme of a package."""
    modules = [plugins.load(package, name) for name in plugins.names(package)]
    return {scheme: module for module in modules for scheme in module.SCHEMES}
