from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from helpers.events import cuts, events_at, times, windows_of
from hypothesis import given
from hypothesis import strategies as st

from cista_ros.events import make_events
from cista_ros.sync_stamps import SyncStamps
from cista_ros.windows import (
    AdaptiveWindows,
    CountWindows,
    PeriodWindows,
    StampWindows,
    SyncWindows,
    Window,
    default_max_events,
    merge,
    split_evenly,
)

windowers = st.one_of(
    st.integers(1, 900).map(lambda period: lambda: PeriodWindows(period)),
    st.integers(1, 30).map(lambda count: lambda: CountWindows(count)),
    st.tuples(st.integers(1, 12), st.integers(0, 40), st.integers(1, 500)).map(
        lambda p: lambda: AdaptiveWindows(180, 240, p[0] / 1000, p[1], p[1] + p[2])
    ),
    st.lists(st.integers(0, 2200), max_size=9).map(lambda stamps: lambda: StampWindows(sorted(stamps))),
)


@given(windowers, times, cuts)
def test_windows_do_not_depend_on_how_the_stream_was_cut_into_messages(make, times, cuts):
    events = events_at(times)
    whole, parts = windows_of(make(), events), windows_of(make(), events, cuts)
    assert [w.stamp for w in whole] == [w.stamp for w in parts]
    assert [w.events.tolist() for w in whole] == [w.events.tolist() for w in parts]


@given(windowers, times, cuts)
def test_no_event_is_lost_doubled_or_moved_and_no_window_is_empty(make, times, cuts):
    events, windower = events_at(times), make()
    windows = windows_of(windower, events, cuts)
    assert all(len(w.events) for w in windows)
    used = [e for w in windows for e in w.events.tolist()]
    assert used == events[: len(used)].tolist()
    assert len(events) - len(used) == getattr(windower, "events_after", 0)
    assert windower.open_events == 0


@given(st.integers(1, 500), times)
def test_period_windows_lie_on_a_grid_that_begins_with_the_first_event(period, times):
    events = events_at(times)
    cells = [np.unique((w.events["t"] - events["t"][0]) // period) for w in windows_of(PeriodWindows(period), events)]
    assert all(len(cell) == 1 for cell in cells)
    assert len(np.unique(np.concatenate(cells))) == len(cells)


@given(st.integers(1, 20), times)
def test_count_windows_hold_exactly_so_many_events_but_for_the_last(count, times):
    lengths = [len(w.events) for w in windows_of(CountWindows(count), events_at(times))]
    assert all(n == count for n in lengths[:-1])
    assert lengths[-1] <= count


def test_a_full_count_window_does_not_wait_for_the_next_event():
    assert len(CountWindows(3).push(events_at([1, 2, 3]))) == 1


def areas(events, rows=6, columns=8):
    """Of a sensor of 180x240 pixels (rows x columns), counted one by one."""
    return [(int(e["y"]) * rows // 180, int(e["x"]) * columns // 240) for e in events]


@given(st.integers(1, 12), st.integers(0, 400), st.integers(1, 900), times)
def test_adaptive_windows_end_with_the_event_that_fills_the_first_area_within_their_times(limit, shortest, more, times):
    events, longest = events_at(times), shortest + more
    expected, open_events, full = [], [], False
    for event in events:
        first = open_events[0]["t"] if open_events else event["t"]
        if open_events and event["t"] >= first + (shortest if full else longest):
            expected.append(len(open_events))
            open_events, full, first = [], False, event["t"]
        open_events.append(event)
        full = full or Counter(areas(open_events))[areas([event])[0]] >= limit
        if full and event["t"] >= first + shortest:
            expected.append(len(open_events))
            open_events, full = [], False
    expected += [len(open_events)] if open_events else []
    windows = windows_of(AdaptiveWindows(180, 240, limit / (30 * 30), shortest, longest), events)
    assert [len(w.events) for w in windows] == expected


def test_a_small_thing_that_moves_fast_is_followed_as_closely_as_a_view_that_moves():
    rng = np.random.default_rng(0)
    t = np.arange(20_000) * 1000
    everywhere = make_events(rng.integers(0, 240, 20_000), rng.integers(0, 180, 20_000), t, t % 2)
    one_area = everywhere[(everywhere["x"] < 30) & (everywhere["y"] < 30)]
    all_of_it, part = (len(AdaptiveWindows(180, 240, 0.1, 0, 10**9).push(e)) for e in (everywhere, one_area))
    assert part > 0.8 * all_of_it * 90 / Counter(areas(everywhere[:4000])).most_common(1)[0][1]
    assert part == len(one_area) // 90


@given(st.lists(st.integers(0, 2200), min_size=1, max_size=9), times)
def test_stamp_windows_hold_what_searchsorted_says(stamps, times):
    stamps, events = np.unique(stamps), events_at(times)
    edges = np.searchsorted(events["t"], stamps, "right")
    expected = [(s, b - a) for s, a, b in zip(stamps, [0, *edges[:-1]], edges, strict=True) if b > a]
    windows = windows_of(StampWindows(stamps), events)
    assert [(w.stamp, len(w.events)) for w in windows] == expected


def test_an_event_at_a_frames_stamp_belongs_to_that_frame():
    windows = windows_of(StampWindows([10, 20]), events_at([10, 11, 20]))
    assert [(w.stamp, w.events["t"].tolist()) for w in windows] == [(10, [10]), (20, [11, 20])]


@pytest.mark.parametrize(
    "make",
    [
        lambda: PeriodWindows(0),
        lambda: CountWindows(0),
        lambda: StampWindows([2, 1]),
        lambda: AdaptiveWindows(180, 240, 0.0, 0, 1),
        lambda: AdaptiveWindows(180, 240, 1.0, 5, 5),
        lambda: SyncWindows(SyncStamps(), 0),
    ],
)
def test_impossible_windows_are_refused(make):
    with pytest.raises(ValueError, match="must"):
        make()


def test_the_paper_limit_scales_with_the_sensor():
    assert default_max_events(180, 240) == 15_000
    assert default_max_events(480, 640) == 106_667


@pytest.mark.parametrize(("n", "parts"), [(1, 1), (15_000, 1), (22_499, 1), (22_501, 2), (37_501, 3), (75_000, 5)])
def test_many_events_are_split_by_the_rounded_ratio(n, parts):
    pieces = split_evenly(events_at(range(n)), 15_000)
    assert len(pieces) == parts
    assert np.ptp([len(piece) for piece in pieces]) <= 1
    assert np.concatenate(pieces)["t"].tolist() == list(range(n))


def test_a_merged_window_has_both_windows_events_and_the_later_stamp():
    events = events_at(range(4))
    window = merge(Window(events[:1], 0, first=True), Window(events[1:], 3))
    assert (window.events.tolist(), window.stamp, window.first, window.merged) == (events.tolist(), 3, True, True)
