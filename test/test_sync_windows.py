"""Windows at stamps that come in beside the events: those of StampWindows, if they come in time."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from helpers.events import cuts, events_at, times, windows_of
from hypothesis import given
from hypothesis import strategies as st

from cista_ros.sync_stamps import SyncStamps
from cista_ros.windows import StampWindows, SyncWindows

TIMEOUT = 400
stamp_lists = st.lists(st.integers(0, 2200), max_size=12)


def accounted(stamps: SyncStamps) -> bool:
    counts = asdict(stamps.counts)
    del counts["unsynced_windows"]
    return counts.pop("stamps") == sum(counts.values()) + len(stamps.waiting) + len(stamps.earlier)


def run(stamps, events, arrivals, cuts=(), timeout=TIMEOUT):
    """Windows of events of which each stamp comes after arrivals[i] of them; and what became of the stamps."""
    kept = SyncStamps()
    windower = SyncWindows(kept, timeout)
    where = sorted({*(min(cut, len(events)) for cut in cuts), *arrivals} - {0})
    found = []
    for at, part in zip([0, *where], np.split(events, where), strict=True):
        for stamp, arrival in zip(stamps, arrivals, strict=True):
            if arrival == at:
                found += windower.add_stamp(stamp)
        found += windower.push(part)
    return found + windower.flush(), kept


def of(windows):
    return [(w.stamp, w.events.tolist()) for w in windows]


@given(st.data(), stamp_lists.map(lambda s: sorted(set(s))), times, cuts)
def test_stamps_in_order_and_in_time_give_the_windows_of_stamps_known_beforehand(data, stamps, times, cuts):
    events = events_at(times)
    # In time: not later than events that a window with its timeout no longer holds.
    bounds = [(0, int(np.searchsorted(events["t"], s + TIMEOUT // 2))) for s in stamps]
    arrivals = list(np.maximum.accumulate([data.draw(st.integers(*b)) for b in bounds])) if stamps else []
    arrivals = [min(a, high) for a, (_, high) in zip(arrivals, bounds, strict=True)]
    before, kept = run(stamps, events, [0] * len(stamps), timeout=10**6)
    offline = windows_of(StampWindows(stamps), events)
    assert of(before)[: len(offline)] == of(offline)
    assert kept.counts.unsynced_windows == len(before) - len(offline) <= 1
    late, kept = run(stamps, events, arrivals, cuts, timeout=10**6)
    assert of(late) == of(before)
    assert kept.counts.late == 0 and accounted(kept)


@given(st.data(), stamp_lists, times, cuts)
def test_whenever_stamps_come_no_event_is_lost_and_every_stamp_is_accounted_for(data, stamps, times, cuts):
    events = events_at(times)
    arrivals = sorted(data.draw(st.integers(0, len(events))) for _ in stamps)
    windows, kept = run(stamps, events, arrivals, cuts)
    assert [e for w in windows for e in w.events.tolist()] == events.tolist()
    assert accounted(kept)
    assert kept.counts.used + kept.counts.unsynced_windows == len(windows)
    assert all(np.ptp(w.events["t"]) < TIMEOUT for w in windows)
    image_stamps = [w.stamp for w in windows]
    assert image_stamps == sorted(image_stamps)
    assert [w for w in windows if w.stamp < w.events["t"][-1]] == []


@given(stamp_lists, times, cuts)
def test_windows_do_not_depend_on_how_the_events_were_cut_into_messages(stamps, times, cuts):
    events, first = events_at(times), [0] * len(stamps)
    assert of(run(stamps, events, first, cuts)[0]) == of(run(stamps, events, first)[0])


def test_without_stamps_windows_end_by_the_timeout_and_are_counted():
    windows, kept = run([], events_at([0, 1, 399, 400, 1000]), [])
    assert [(w.stamp, len(w.events)) for w in windows] == [(399, 3), (400, 1), (1000, 1)]
    assert kept.counts.unsynced_windows == 3


def test_a_stamp_that_is_late_or_repeated_or_without_events_makes_no_image():
    kept = SyncStamps()
    windower = SyncWindows(kept, TIMEOUT)
    assert windower.push(events_at([10, 20, 30])) == []
    assert of(windower.add_stamp(20)) == [(20, events_at(range(10, 31, 10))[:2].tolist())]
    assert [windower.add_stamp(stamp) for stamp in (15, 25, 50, 50)] == [[], [], [], []]
    assert [w.stamp for w in windower.push(events_at([60]))] == [50]
    assert asdict(kept.counts) == {
        "stamps": 5, "used": 2, "empty": 1, "repeated": 1, "late": 1, "crowded_out": 0, "unsynced_windows": 0
    }  # fmt: skip


def test_stamps_of_the_next_round_of_a_loop_may_come_before_its_events_or_after_them():
    events, stamps = events_at(range(0, 10**9, 10**7)), [i * 10**8 + 5 for i in range(10)]
    whole = of(windows_of(StampWindows(stamps), events))
    for early in range(4):
        kept = SyncStamps()
        for stamp in stamps:
            kept.add(stamp)
        for _ in range(3):
            windower = SyncWindows(kept, 10**9)
            late = [s for s in stamps if s not in kept.waiting]
            found = windower.push(events[:5])
            for stamp in late:
                found += windower.add_stamp(stamp)
            found += windower.push(events[5:])
            for stamp in stamps[:early]:
                assert windower.add_stamp(stamp) == []
            found += windower.flush()
            assert of(found)[: len(whole)] == whole
        assert kept.counts.late == 0 and accounted(kept)


def test_stamps_far_ahead_of_the_events_do_not_gather_without_end(monkeypatch):
    monkeypatch.setattr("cista_ros.sync_stamps.MAX_WAITING_STAMPS", 5)
    kept = SyncStamps()
    for stamp in range(20):
        kept.add(stamp)
    assert kept.waiting == list(range(15, 20)) and kept.counts.crowded_out == 15 and accounted(kept)
