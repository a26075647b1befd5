"""Live feeds: which frames are labelled, what is counted, and what happens when one stands still or is lost."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from feeds import Scripted, Step, opener, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import live
from edgecnn.errors import ImageError, SourceError, UsageError
from edgecnn.feeds import Counts, Feed, Policy
from edgecnn.frames import Failure, Frame, Item, Packet
from edgecnn.live import Live
from edgecnn.view import View

QUICK = Policy(stall_s=0.2)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second is long for a test."""
    monkeypatch.setattr(live, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(live, "_LEAVE_S", 1.0)


def feed(*scripts: Sequence[Step], policy: Policy = QUICK, view: View | None = None, name: str = "cam") -> Feed:
    open_next, _ = opener(*scripts, name=name)
    return Feed(name, open_next, policy, view or View())


def read(*feeds: Feed, most: int = 10_000, slow_s: float = 0.0) -> tuple[list[Frame | Failure], dict[str, Counts]]:
    source = Live(feeds)
    items: list[Frame | Failure] = []
    try:
        for item in itertools.islice(source, most):
            items.append(item)
            time.sleep(slow_s)
    finally:
        source.close()
    return items, source.counts


def balanced(counts: Counts) -> bool:
    return counts.labelled + counts.dropped + counts.corrupt == counts.produced


def indexes(items: Sequence[Frame | Failure]) -> list[int]:
    return [item.index for item in items if isinstance(item, Frame)]


def test_a_reader_that_keeps_up_gets_every_frame() -> None:
    taken = threading.Semaphore(1)

    class WaitsForTheReader(Scripted):
        def __iter__(self) -> Iterator[Item]:
            for item in super().__iter__():
                taken.acquire()  # however slow the machine is
                yield item

    source = Live([Feed("cam", lambda: WaitsForTheReader(["frame"] * 20), Policy())])
    items = []
    for item in source:
        items.append(item)
        taken.release()
    source.close()
    assert indexes(items) == list(range(20))
    assert source.counts["cam"] == Counts(produced=20, labelled=20)


def test_for_a_slow_reader_the_newest_frame_wins_and_the_others_are_counted() -> None:
    items, counts = read(feed(["frame", 0.01] * 60), slow_s=0.1)
    found = indexes(items)
    assert found == sorted(found)
    assert found[-1] == 59
    assert 3 <= len(found) <= 20
    assert counts["cam"].dropped == 60 - len(found)
    assert balanced(counts["cam"])


def test_no_frame_waits_longer_than_until_the_next_one() -> None:
    source, ages = Live([feed(["frame", 0.02] * 50)]), []
    for item in source:
        assert isinstance(item, Frame)
        assert item.arrived_ns is not None
        ages.append((time.monotonic_ns() - item.arrived_ns) / 1e6)
        time.sleep(0.1)
    source.close()
    assert sorted(ages)[len(ages) // 2] < 60


def test_under_the_policy_all_the_feed_waits_and_loses_nothing() -> None:
    items, counts = read(feed(["frame"] * 40, policy=Policy(newest=False, stall_s=0.2)), slow_s=0.01)
    assert indexes(items) == list(range(40))
    assert counts["cam"] == Counts(produced=40, labelled=40)


def test_a_feed_that_waits_for_a_slow_reader_is_no_feed_that_stands_still() -> None:
    items, counts = read(feed(["frame"] * 4, policy=Policy(newest=False, stall_s=0.1)), slow_s=0.3)
    assert len(items) == 4
    assert counts["cam"].reconnects == 0


def test_a_damaged_frame_is_told_and_the_feed_goes_on() -> None:
    items, counts = read(feed(["frame", 0.05, "bad", 0.05, "frame", 0.05]))
    assert [type(item).__name__ for item in items] == ["Frame", "Failure", "Frame"]
    assert counts["cam"] == Counts(produced=3, labelled=2, corrupt=1)


def test_a_packet_is_decoded_only_when_its_turn_comes_and_one_that_cannot_be_is_counted_as_damaged() -> None:
    decoded: list[bytes] = []

    def decode(data: bytes) -> np.ndarray:  # type: ignore[type-arg]
        decoded.append(data)
        if data == b"bad":
            raise ImageError("not an image")
        return picture("cam", 0).image

    class Packets:
        live = True

        def __iter__(self) -> Iterator[Packet]:
            for number in range(30):
                yield Packet(b"bad" if number == 29 else b"good", decode, "cam", number)

        def close(self) -> None: ...

    source = Live([Feed("cam", Packets, QUICK)])
    items = []
    for item in source:
        items.append(item)
        time.sleep(0.05)
    source.close()
    assert len(decoded) == len(items) < 30
    assert isinstance(items[-1], Failure)
    assert source.counts["cam"].corrupt == 1
    assert balanced(source.counts["cam"])


def test_a_feed_that_never_gave_a_frame_ends_the_run_with_its_reason() -> None:
    with pytest.raises(SourceError, match=r"^cam: the cable was pulled$"):
        read(feed(["lost"]))
    with pytest.raises(SourceError, match=r"^cam: refuses the connection$"):
        read(feed("refuses"))


def test_unless_it_was_asked_to_wait_for_the_first_one() -> None:
    patient = Policy(stall_s=0.2, retry_first=True)
    items, counts = read(feed("refuses", "refuses", ["frame", 0.01, "frame"], policy=patient))
    assert items
    assert counts["cam"].reconnects == 1


def test_a_lost_feed_is_opened_anew_and_told_once_when_it_is_lost_and_once_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good: list[Step] = ["frame", 0.02, "frame", 0.02]
    with caplog.at_level(logging.WARNING, "edgecnn.live"):
        items, counts = read(feed([*good, "lost"], "refuses", "refuses", ["lost"], good))
    assert len(items) == 4
    assert counts["cam"].reconnects == 2
    assert counts["cam"].offline_s > 0
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0] == "cam is lost: the cable was pulled; trying again"
    assert said[1].startswith("cam is back after ")


def test_a_feed_that_stands_still_is_noticed_by_the_clock_and_opened_anew(caplog: pytest.LogCaptureFixture) -> None:
    open_next, opened = opener(["frame", "hang"], ["frame", 0.02, "frame"])
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "edgecnn.live"):
        items, counts = read(Feed("cam", open_next, QUICK))
    assert time.monotonic() - began < 2
    assert len(items) >= 2
    assert counts["cam"].reconnects == 1
    assert opened[0].closed.is_set()
    assert caplog.records[0].getMessage() == "cam is lost: no frame for 0.2 s; trying again"


def test_what_a_reader_that_hung_brings_later_is_not_taken() -> None:
    late = threading.Event()

    class Stubborn:
        live = True

        def __iter__(self) -> Iterator[Frame]:
            yield picture("cam", 0)
            late.wait(5)
            yield picture("cam", 99)

        def close(self) -> None: ...

    sources: list[object] = [Stubborn()]
    open_next, _ = opener([0.3, "frame", 0.1])
    feed = Feed("cam", lambda: sources.pop() if sources else open_next(), QUICK)  # type: ignore[arg-type, return-value]
    source = Live([feed])
    iterator = iter(source)
    assert isinstance(first := next(iterator), Frame)
    assert first.index == 0
    threading.Timer(0.25, late.set).start()
    assert [item.index for item in iterator if isinstance(item, Frame)] == [0]
    source.close()


def test_frames_that_are_old_when_they_come_are_not_labelled() -> None:
    items, counts = read(feed(["old", "old", 0.02, "frame", 0.02]))
    assert indexes(items) == [2]
    assert counts["cam"] == Counts(produced=3, labelled=1, dropped=2)


def test_after_so_many_retries_a_feed_is_given_up() -> None:
    policy = Policy(stall_s=0.2, retries=3)
    open_next, opened = opener(["frame", 0.02, "lost"], "refuses", "refuses", "refuses", "refuses")
    with pytest.raises(SourceError, match="refuses the connection; given up after 3 tries"):
        read(Feed("cam", open_next, policy))
    assert len(opened) == 4


def test_two_feeds_have_a_slot_each_and_a_slow_reader_takes_them_in_turn() -> None:
    quick, slow = feed(["frame", 0.005] * 100, name="quick"), feed(["frame", 0.05] * 10, name="slow")
    items, counts = read(quick, slow, slow_s=0.02)
    sources = [item.source for item in items]
    assert sources.count("slow") >= 8
    assert counts["quick"].dropped > 0
    assert all(balanced(one) for one in counts.values())


def test_one_of_two_that_is_given_up_does_not_end_the_other(caplog: pytest.LogCaptureFixture) -> None:
    broken = feed(["frame", 0.02, "lost"], "refuses", policy=Policy(stall_s=0.2, retries=1), name="broken")
    with caplog.at_level(logging.WARNING, "edgecnn.live"), pytest.raises(SourceError, match="broken: refuses"):
        read(broken, feed(["frame", 0.02] * 30, name="good"))
    assert any("broken is given up" in record.getMessage() for record in caplog.records)


def test_a_word_that_was_mistyped_ends_the_run_though_another_feed_is_fine() -> None:
    with pytest.raises(SourceError, match="typo: refuses"):
        read(feed("refuses", name="typo"), feed(["frame", 0.02] * 1000, name="good"))


def test_a_feed_that_ends_without_a_frame_is_an_error_and_says_what_left_all_out() -> None:
    with pytest.raises(SourceError, match=r"cam: it ended without a frame$"):
        read(feed([]))
    with pytest.raises(SourceError, match="it ended without a frame; look at skip and every"):
        read(feed(["frame"] * 3, view=View(skip=5)))


def test_a_feed_that_hangs_after_it_was_opened_anew_is_noticed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_OPEN_S", 0.3)
    monkeypatch.setattr(live, "_FIRST_WAIT_S", 0.4)  # longer than what is left of the stall: nobody is waited for then
    open_next, opened = opener(["frame", 0.05, "lost"], ["hang"], ["frame", 0.05])
    began = time.monotonic()
    items, _ = read(Feed("cam", open_next, Policy(stall_s=0.1)))
    assert len(items) == 2
    assert len(opened) == 3
    assert time.monotonic() - began < 5


def test_one_that_was_waited_for_and_never_came_does_not_end_the_others() -> None:
    never = feed("refuses", policy=Policy(retries=1, retry_first=True), name="never")
    source, seen = Live([never, feed(["frame", 0.02] * 20, name="good")]), list[Frame | Failure]()
    with pytest.raises(SourceError, match="never: refuses"):
        seen.extend(source)  # what came before the error stays
    source.close()
    assert len(seen) >= 15


def test_a_mistake_is_not_tried_again() -> None:
    def opens() -> Scripted:
        raise UsageError("size must be even")

    with pytest.raises(UsageError, match="size must be even"):
        read(Feed("cam", opens, Policy(retry_first=True)))


def test_under_the_policy_all_every_damaged_frame_is_told() -> None:
    items, counts = read(feed(["bad", "frame"] * 20, policy=Policy(newest=False, stall_s=1.0)), slow_s=0.002)
    assert sum(isinstance(item, Failure) for item in items) == 20
    assert counts["cam"] == Counts(produced=40, labelled=20, corrupt=20)


def test_one_that_breaks_off_after_each_frame_is_given_up() -> None:
    open_next, opened = opener(["frame", 0.01, "lost"])
    with pytest.raises(SourceError, match="given up after 3 tries"):
        read(Feed("cam", open_next, Policy(retries=3)))
    assert len(opened) == 4


def test_a_program_that_ends_slowly_does_not_hold_up_the_other_feed() -> None:
    class Slow(Scripted):
        def close(self) -> None:
            time.sleep(1.0)
            super().close()

    slow = Feed("slow", lambda: Slow(["frame", "hang"], "slow"), Policy(stall_s=0.1, retries=0))
    source, times = Live([slow, feed(["frame", 0.02] * 60, name="good")]), list[float]()
    with pytest.raises(SourceError, match="slow: no frame for"):
        times.extend(time.monotonic() for _ in source)
    source.close()
    assert max(np.diff(times)) < 0.6


def test_two_feeds_of_one_name_are_told_apart(edgecnn: Edgecnn, colors: Path) -> None:
    uris = ("test:?fps=0&frames=3", "test:?fps=0&frames=4&rotate=90", "test:?fps=0&frames=4&rotate=90")
    done = edgecnn("predict", colors, *uris)
    assert done.code == 0, done.err
    counted = Counter(json.loads(line)["source"] for line in done.out.splitlines())
    assert counted == {"test:": 3, uris[1]: 4, f"{uris[1]} (2)": 4}
    assert f"\n  {uris[1]}: 4 labelled, 0 dropped\n" in done.err


def test_closing_ends_a_feed_that_waits() -> None:
    source = Live([feed(["frame", "hang"])])
    iterator = iter(source)
    next(iterator)
    began = time.monotonic()
    source.close()
    assert list(iterator) == []
    assert time.monotonic() - began < 1
    source.close()


def test_a_fault_in_a_source_is_raised_where_it_is_read() -> None:
    class Faulty:
        live = True

        def __iter__(self) -> Iterator[Frame]:
            raise ZeroDivisionError("a bug")

        def close(self) -> None: ...

    with pytest.raises(ZeroDivisionError):
        read(Feed("cam", Faulty, QUICK))  # type: ignore[arg-type]


def test_frames_are_thinned_and_turned_as_the_view_says() -> None:
    view = View(rotate=90, every=3, skip=2)
    items, counts = read(feed(["frame", 0.01] * 12, view=view))
    assert indexes(items) == [2, 5, 8, 11]
    assert counts["cam"].produced == 4


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["frame", "frame", "bad", "old", 0.001]), min_size=1, max_size=30).map(tuple),
        min_size=1,
        max_size=4,
    )
)
def test_every_frame_is_accounted_for_whatever_happens(scripts: list[tuple[Step, ...]]) -> None:
    whole = [[*script, "lost"] for script in scripts[:-1]] + [list(scripts[-1])]
    policy = Policy(stall_s=1.0, retry_first=True)
    items, counts = read(feed(["frame", *whole[0]], *whole[1:], policy=policy))
    found = counts["cam"]
    assert balanced(found)
    assert found.labelled == len(indexes(items))
    wanted = sum(step in ("frame", "bad", "old") for script in whole for step in script) + 1
    assert found.produced == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "oldest"}, "policy must be newest or all; received 'oldest'"),
        ({"stall": "0"}, "stall must be a number of seconds from 0.1 to 3600; received '0'"),
        ({"stall": "inf"}, "stall must be a number of seconds"),
        ({"max_age": "-1"}, "max_age must be a number of seconds from 0.01 to 3600"),
        ({"retries": "many"}, "retries must be a whole number"),
    ],
)
def test_an_option_without_meaning_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Policy.of(options)


def test_waits_grow_to_half_a_minute_and_differ_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_FIRST_WAIT_S", 0.5)
    one = feed(["frame"], policy=Policy(retry_first=True))
    source = Live([one])
    waits = [source._lost(one, SourceError("x")) for _ in range(12)]
    assert all(wait is not None for wait in waits)
    found = [wait for wait in waits if wait is not None]
    assert 0.4 <= found[0] <= 0.6
    assert all(24 <= wait <= 36 for wait in found[7:])
    assert len(set(found)) == len(found)
