"""From what a user types to sources and sinks: ``open_source("pi?fps=10")``, ``open_sinks(["jsonl:-"])``.

What every source has in common, its options for what is looked at and how a live feed is read, is taken out here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from edgecnn import plugins, thinning
from edgecnn.errors import MissingProgramError, SourceError, UsageError, redacted, refuse_unknown_options
from edgecnn.frames import LIVE_OPTIONS, VIEW_OPTIONS, Found, Frame, Item, Source
from edgecnn.prediction import SINK_OPTIONS, ErrorResult, Result, Sink
from edgecnn.view import View

if TYPE_CHECKING:
    from edgecnn.feeds import Counts, Feed
    from edgecnn.live import Live

_DEVICE = re.compile(r"/dev/(video[0-9]|v4l/)")  # the path of a webcam


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
                feeds.append(_told_apart(cast("Feed", one), uri, feeds))
            else:
                sources.append(cast(Source, one))
        opened.pop_all()
    return _Chain(sources, _together(feeds) if feeds else None)


def is_feed(uri: str) -> bool:
    """Whether a text means a live feed where no path of this name is in its way: ``pi``, ``usb:0``, ``rtsp://…``."""
    scheme = "usb" if _DEVICE.match(uri) else _scheme(uri)
    if ":" not in uri and scheme not in plugins.names("edgecnn.sources"):
        return False  # known without loading any source
    module = _source_of(scheme)
    named = module is not None and "file" not in module.SCHEMES
    return named and (scheme != uri or getattr(module, "LIVE", False))


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
    schemes = schemes_of("edgecnn.sinks")
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
            own = {name: value for name, value in options.items() if name not in SINK_OPTIONS}
            thinned = thinning.thinner(options)
            sinks.append(thinned(schemes[scheme].open(place, {"top": str(top)} | own)))
            opened.callback(sinks[-1].close)
        opened.pop_all()
    return _Fan(sinks)


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

    @property
    def lost(self) -> Mapping[str, str]:
        """Why each live feed is lost that is lost at the moment, by its name."""
        return {} if self._live is None else self._live.lost

    @property
    def rightly_quiet(self) -> bool:
        """Whether nothing hangs, although no label comes; see `Live`."""
        return self._live is not None and self._live.rightly_quiet

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


def _told_apart(feed: Feed, uri: str, others: Sequence[Feed]) -> Feed:
    """A feed by another name than the others: with its options, and a number where these are the same too."""
    names = [other.name for other in others]
    if feed.name in names:
        feed.named, feed.name = True, redacted(uri)
        number = 2
        while feed.name in names:
            feed.name, number = f"{redacted(uri)} ({number})", number + 1
    return feed


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
    return Feed(name, opener, policy, view, source, policy_given="policy" in options)


def _open_one(uri: str, *, retry_first: bool) -> Source | Feed:
    """A source that is read to its end, or a live feed that is still to be read."""
    module, place, options = plugin_of(uri)
    view = View.of(options, skip=getattr(module, "SKIP", 0))
    own = {name: value for name, value in options.items() if name not in VIEW_OPTIONS}
    opener = functools.partial(module.open, place, {k: v for k, v in own.items() if k not in LIVE_OPTIONS})
    name = redacted(getattr(module, "name_of", str)(place))
    if any(option in LIVE_OPTIONS for option in own):
        from edgecnn.feeds import Policy

        Policy.of(own)  # a mistake is told before a connection is made that nobody would close
    try:
        source = cast(Source, opener())
    except SourceError as error:
        if not retry_first or not getattr(module, "LIVE", False) or isinstance(error, MissingProgramError):
            raise
        return _feed(name, opener, options, view, None, retry_first=True)
    if source.live:
        return _feed(name, opener, options, view, source, retry_first=retry_first)
    refuse_unknown_options(f"the source {name}", [one for one in own if one in LIVE_OPTIONS], VIEW_OPTIONS)
    return source if view == View() else _Viewed(source, view)


def plugin_of(uri: str) -> tuple[ModuleType, str, dict[str, str]]:
    """The plug-in that a URI belongs to, what it opens, and the options.

    The query of an address on the network is its server's: there the options follow a ``#``, which no server is sent.
    Of a command they follow its last ``?``.
    """
    if _DEVICE.match(uri):
        return plugins.load("edgecnn.sources", "usb"), *plugins.split_query(f"usb:{uri}")
    uri = re.sub(r"^[A-Z][A-Za-z]*(?=://)", lambda found: found[0].lower(), uri)  # RTSP:// is rtsp://
    is_path = uri != "-" and os.path.lexists(uri)
    module = None if is_path else _source_of(_scheme(uri))
    if module is None:
        return plugins.load("edgecnn.sources", "files"), uri, {}
    mark = getattr(module, "OPTIONS_AFTER", None)
    if mark is None:
        return module, *plugins.split_query(uri)
    place, found, query = uri.rpartition(mark)
    if not found:
        return module, uri, {}
    return module, place, plugins.split_query(f"?{query}")[1]


def _scheme(uri: str) -> str:
    bare = re.match(r"(-|[a-z0-9]+(?=\?[a-z_]+=))\?", uri)  # pi?fps=5 is a source, test?.jpg a pattern
    return bare[1] if bare else uri.partition(":")[0]


def _source_of(scheme: str) -> ModuleType | None:
    """The source of a scheme; most have a file of its name, and a picture's prediction waits for no other's import."""
    name = {"-": "stdin", "file": "files"}.get(scheme, scheme)
    if name in plugins.names("edgecnn.sources"):
        module = plugins.load("edgecnn.sources", name)
        if scheme in module.SCHEMES:
            return module
    if not re.fullmatch("[a-z][a-z0-9+.-]*", scheme) or os.path.splitext(scheme)[1]:
        return None  # no scheme at all, but a path that is not there
    return schemes_of("edgecnn.sources").get(scheme)


def schemes_of(package: str) -> Mapping[str, ModuleType]:
    """The plug-in for each scheme of a package."""
    modules = [plugins.load(package, name) for name in plugins.names(package)]
    return {scheme: module for module in modules for scheme in module.SCHEMES}
