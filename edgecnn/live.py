"""Live feeds: a thread reads each, the newest frame waits in its slot, and what comes too fast is dropped and counted.

So a label is never about a picture that has waited in a queue. What can go wrong with a camera is met here once for all
sources: a feed that stands still is noticed by a clock of its own, since libraries notice late or never; one that is
lost is opened anew, after half a second, then twice as long each time, up to half a minute, and a little by chance so
that many programs do not come back at once; a frame that is old when it comes is not labelled.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgecnn.errors import EdgecnnError, MissingProgramError, SourceError
from edgecnn.feeds import Counts, Feed
from edgecnn.frames import Failure, Frame, Item, Packet, Source

log = logging.getLogger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S, _BY_CHANCE = 0.5, 30.0, 0.2
_OPEN_S = 20.0  # a source that takes longer to give its first frame is given up
_LEAVE_S = 4.5  # for readers and programs to end once they were told to
_STEADY = 30  # frames after which a feed counts as there again


class Live:
    """A source of the newest frames of one or several feeds, each in its turn; for one thread to iterate.

    Args:
        feeds: What to read.
    """

    live = True

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = list(feeds)
        self._news = threading.Condition()
        self._closing = threading.Event()
        self._readers: list[threading.Thread] = []
        self._next = 0

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the frames of each feed, by its name; feeds of one name count together."""
        with self._news:
            found: dict[str, Counts] = {}
            for feed in self._feeds:
                lost = 0.0 if feed._lost_at is None else time.monotonic() - feed._lost_at
                counts = replace(feed.counts, offline_s=feed.counts.offline_s + lost)
                found[feed.name] = found.get(feed.name, Counts()) + counts
            return found

    @property
    def lost(self) -> dict[str, str]:
        """Why each feed is lost that is lost at the moment, by its name."""
        with self._news:
            return {feed.name: feed._why for feed in self._feeds if feed._lost_at is not None}

    @property
    def rightly_quiet(self) -> bool:
        """Whether nothing hangs, although no label comes.

        That is where every feed is known to be away, since opening it again ended in an error, or may still bring its
        next frame. One that has stood still, gives only damaged frames, or has a frame that nobody takes, is not. Nor
        is one whose reader still hangs: it may be what keeps the device busy, until this process ends.
        """
        with self._news:
            return all(feed._over or _rightly_quiet(feed) for feed in self._feeds)

    def __iter__(self) -> Iterator[Frame | Failure]:
        """Yield the newest frame of each feed in turn, and wait where there is none.

        Raises:
            SourceError: A feed gave nothing from the beginning, or was given up and no other is left.
        """
        for feed in self._feeds:
            self._start(feed)
        while (found := self._take()) is not None:
            feed, item = found
            frame = item.decoded() if isinstance(item, Packet) else item
            with self._news:
                if isinstance(item, Packet) and isinstance(frame, Failure):
                    feed._count(labelled=-1, corrupt=1)
                feed._damaged = not isinstance(frame, Frame)
            if isinstance(frame, Frame):
                frame = replace(frame, image=feed.view(frame.image), numbered=True)
            yield replace(frame, source=feed.name) if feed.named else frame

    def close(self) -> None:
        """End all feeds and wait a little for their readers; idempotent. What nobody took counts as dropped."""
        self._closing.set()
        with self._news:
            sources = [feed.source for feed in self._feeds if feed.source is not None]
            for feed in self._feeds:
                feed._epoch += 1
                feed._count(dropped=isinstance(feed._slot, Frame | Packet))
                feed._slot = None
            self._news.notify_all()
        closers = [_closed_aside(source) for source in sources]
        end = time.monotonic() + _LEAVE_S
        for thread in (*closers, *self._readers):
            thread.join(max(0.0, end - time.monotonic()))

    def _start(self, feed: Feed, wait_s: float = 0.0) -> None:
        """Read a feed in a new thread; what an older one still brings is not taken."""
        with self._news:
            feed._epoch += 1
            feed._since = time.monotonic() + wait_s
            reads = (feed, feed._epoch, wait_s)
            reader = threading.Thread(target=self._read, args=reads, name=f"reads {feed.name}", daemon=True)
            feed._reader = reader
        self._readers = [*(one for one in self._readers if one.is_alive()), reader]
        reader.start()

    def _read(self, feed: Feed, epoch: int, wait_s: float) -> None:
        """What a reader does: open, read, and where that fails again after a while."""
        while not self._closing.wait(wait_s):
            try:
                ended = self._connect(feed, epoch)
            except BaseException as error:
                next_wait_s = self._failed(feed, epoch, error)
                if next_wait_s is None:
                    return
                wait_s = next_wait_s
            else:
                if ended:
                    self._end(feed, epoch)
                return

    def _connect(self, feed: Feed, epoch: int) -> bool:
        """Open the source and bring what it gives; True where it came to its end."""
        with self._news:
            if feed._epoch != epoch:
                return False
            source, again = feed.source, feed._ever or feed._tries > 0
            feed._since, feed._good = time.monotonic(), 0
            self._news.notify_all()  # whoever waits has one more to look after
        if source is None or again:
            source = feed.opener()
            with self._news:
                if feed._epoch != epoch:
                    source.close()
                    return False
                feed.source = source
                feed._count(reconnects=again)
                if not feed.policy_given:
                    feed.policy = replace(feed.policy, newest=not getattr(source, "patient", False))
        with contextlib.closing(source):
            for number, item in enumerate(source):
                if feed.view.wants(number) and not self._put(feed, epoch, item):
                    return False
                if not feed.view.wants(number):
                    self._seen(feed, epoch)
        return True

    def _seen(self, feed: Feed, epoch: int) -> None:
        with self._news:
            if feed._epoch == epoch:
                feed._since = time.monotonic()

    def _put(self, feed: Feed, epoch: int, item: Item) -> bool:
        """Put what came into the slot; False where the reader is no longer wanted."""
        now = time.monotonic_ns()
        if not isinstance(item, Failure) and item.arrived_ns is None:
            item = replace(item, arrived_ns=now)
        with self._news:
            while not feed.policy.newest and feed._slot is not None and feed._epoch == epoch:
                feed._since = None  # it waits for us
                self._news.wait()
            if feed._epoch != epoch:
                return False
            feed._since = time.monotonic()
            feed._count(produced=1)
            if isinstance(item, Failure):
                feed._count(corrupt=1)
                if feed.policy.newest:
                    feed._failures.append(item)
                else:
                    feed._slot = item
            elif feed.policy.newest and now - (item.arrived_ns or now) > feed.policy.max_age_s * 1e9:
                feed._count(dropped=1)
            else:
                feed._count(dropped=feed._slot is not None)
                feed._slot = item
                self._found(feed)
            self._news.notify_all()
        return True

    def _found(self, feed: Feed) -> None:
        """A good frame came: the feed is there, or there again."""
        if feed._lost_at is not None:
            away = time.monotonic() - feed._lost_at
            feed._count(offline_s=away)
            feed._lost_at = None
            log.warning("%s is back after %.1f s" if feed._ever else "%s is there after %.1f s", feed.name, away)
        feed._ever, feed._good = True, feed._good + 1
        if feed._good >= _STEADY:  # one that breaks off again and again is not there again yet
            feed._tries = 0

    def _failed(self, feed: Feed, epoch: int, error: BaseException, *, hangs: bool = False) -> float | None:
        """After how many seconds to try again; None where not."""
        with self._news:
            if feed._epoch != epoch:
                return None
            feed._since, feed._hangs = None, hangs
            wait_s = self._lost(feed, error) if isinstance(error, OSError) else None  # as a SourceError is
            if wait_s is None:
                feed._error, feed._over = error, True
                others = not all(one._over for one in self._feeds)  # without them the error tells it
                if others and (feed._ever or feed.policy.retry_first):
                    log.warning("%s is given up: %s", feed.name, " ".join(str(error).split()))
                self._news.notify_all()
            return wait_s

    def _lost(self, feed: Feed, error: Exception) -> float | None:
        """Note that a feed is lost; after how many seconds to try again, None where that is not wanted."""
        policy = feed.policy
        if isinstance(error, MissingProgramError) or (not feed._ever and not policy.retry_first) or _once(feed):
            return None
        feed._tries += 1
        if policy.retries is not None and feed._tries > policy.retries:
            return None
        state, feed._why = "is lost" if feed._ever else "is not there yet", " ".join(str(error).split())
        if feed._lost_at is None:
            feed._lost_at = time.monotonic()
            log.warning("%s %s: %s; trying again", feed.name, state, feed._why)
        longest: float = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(feed._tries - 1, 10))
        return longest * (1 - _BY_CHANCE + 2 * _BY_CHANCE * random.random())

    def _end(self, feed: Feed, epoch: int) -> None:
        with self._news:
            if feed._epoch == epoch:
                feed._over, feed._since = True, None
                self._news.notify_all()

    def _take(self) -> tuple[Feed, Frame | Packet | Failure] | None:
        """The next thing that came, of each feed in turn; None at the end of all."""
        while not self._closing.is_set():
            with self._news:
                found = self._ready()
                if found is not None:
                    return found
                broken = (feed for feed in self._feeds if feed._error is not None and not feed._ever)
                typed = next((feed for feed in broken if not feed.policy.retry_first), None)
                if typed is not None:
                    raise _explained(typed)
                if all(feed._over for feed in self._feeds):
                    failed = next((feed for feed in self._feeds if feed._error is not None), None)
                    if failed is not None:
                        raise _explained(failed)
                    empty = next((feed for feed in self._feeds if not feed.counts.produced), None)
                    if empty is not None:
                        raise SourceError(f"{empty.name.rstrip(':')}: it ended without a frame{_thinned(empty)}")
                    return None
                late = self._wait()
            for feed, since in late:
                self._stalled(feed, since)
        return None

    def _ready(self) -> tuple[Feed, Frame | Packet | Failure] | None:
        for step in range(len(self._feeds)):
            feed = self._feeds[(self._next + step) % len(self._feeds)]
            if feed._failures:
                return feed, feed._failures.popleft()
            if feed._slot is None:
                continue
            item, feed._slot = feed._slot, None
            self._news.notify_all()
            if isinstance(item, Failure):
                return feed, item
            if feed.policy.newest and _age_s(item) > feed.policy.max_age_s + _pause_s(feed):
                feed._count(dropped=1)
                continue
            self._next = (self._next + step + 1) % len(self._feeds)
            feed._count(labelled=1)
            return feed, item
        return None

    def _wait(self) -> list[tuple[Feed, float]]:
        """Wait for news; the feeds that have not given anything for too long, and since when."""
        now = time.monotonic()
        ends = {id(feed): feed._since + _patience_s(feed) for feed in self._feeds if feed._since is not None}
        if ends and min(ends.values()) <= now:
            return [(feed, feed._since) for feed in self._feeds if feed._since and ends.get(id(feed), now + 1) <= now]
        self._news.wait(min(ends.values()) - now if ends else None)
        return []

    def _stalled(self, feed: Feed, since: float) -> None:
        """Leave a reader that hangs to itself, and begin anew in another thread."""
        waited = _patience_s(feed)
        first = "" if feed._ever else "; is it the right source, and does it work by itself?"
        with self._news:
            if feed._since != since or feed._over:
                return  # something came meanwhile
            if _once(feed) and (feed._ever or feed.policy.retry_first):
                feed._since, feed._lost_at, feed._hangs = None, time.monotonic(), True
                feed._why = f"no frame for {waited:g} s"
                log.warning("%s has brought no frame for %g s; waiting", feed.name, waited)
                return
            source = feed.source
            error = SourceError(f"no frame for {waited:g} s{first}")
            wait_s = self._failed(feed, feed._epoch, error, hangs=True)
            feed._epoch += 1  # the reader that hangs has nothing more to say, not even that it came to its end
            if feed._reader is not None:
                feed._stuck = [one for one in (*feed._stuck, feed._reader) if one.is_alive()]
        if source is not None:
            _closed_aside(source)
        if wait_s is not None:
            self._start(feed, wait_s)


def _once(feed: Feed) -> bool:
    """Whether a source cannot be opened anew: what has gone through a pipe is gone."""
    return bool(getattr(feed.source, "once", False))


def _closed_aside(source: Source) -> threading.Thread:
    """Close a source in a thread of its own, since a program may take seconds to end."""

    def close() -> None:
        with contextlib.suppress(EdgecnnError, OSError):
            source.close()

    thread = threading.Thread(target=close, name="closes a source", daemon=True)
    thread.start()
    return thread


def _rightly_quiet(feed: Feed) -> bool:
    if feed._lost_at is None:
        return feed._slot is None and not feed._damaged
    return not feed._hangs and not any(reader.is_alive() for reader in feed._stuck)


def _age_s(item: Frame | Packet) -> float:
    return 0.0 if item.arrived_ns is None else (time.monotonic_ns() - item.arrived_ns) / 1e9


def _patience_s(feed: Feed) -> float:
    """How long to wait for a frame; a camera that starts needs longer."""
    known = feed._ever and feed._lost_at is None
    return _pause_s(feed) + (feed.policy.stall_s if known else max(_OPEN_S, feed.policy.stall_s))


def _pause_s(feed: Feed) -> float:
    """How long a source is quiet between two frames by what was asked of it."""
    return float(getattr(feed.source, "pause_s", 0.0))


def _thinned(feed: Feed) -> str:
    """What may be to blame where a feed ended without a frame that was wanted."""
    return "; look at skip and every" if feed.view.skip or feed.view.every > 1 else ""


def _explained(feed: Feed) -> BaseException:
    """The error that ends the run."""
    error = feed._error
    assert error is not None, "asked for where there is one"
    if not isinstance(error, SourceError) and (isinstance(error, EdgecnnError) or not isinstance(error, OSError)):
        return error  # it says what it is, or is a fault of ours
    text = " ".join(str(error).split())
    after = f"; given up after {feed.policy.retries:,} tries" if feed._ever else ""
    return SourceError((text if text.startswith(feed.name) else f"{feed.name.rstrip(':')}: {text}") + after)
