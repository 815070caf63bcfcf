"""The queue between the two threads: what it merges, what it skips, and that no event goes uncounted."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cista_ros.events import make_events
from cista_ros.node import backlog as module
from cista_ros.node.backlog import POLICIES, Backlog, Job
from cista_ros.windows import Window


def images():
    """An image maker that is never asked for an image: jobs only tell one from another."""
    return object()


def window(t, n=3, first=False):
    return Window(make_events(np.arange(n), np.zeros(n), np.arange(t, t + n), np.ones(n)), t + n - 1, first)


def take_all(backlog):
    jobs = []
    while backlog.pending()[0]:
        jobs.append(backlog.get())
    return jobs


def fill(backlog, windows, maker=None):
    maker = maker or images()
    for w in windows:
        backlog.put(Job((w,), maker, "dvs"))


def test_up_to_its_limit_it_is_a_plain_queue():
    backlog = Backlog(3, "merge")
    windows = [window(0, first=True), window(10), window(20)]
    fill(backlog, windows)
    assert [job.window for job in take_all(backlog)] == windows
    assert backlog.counts == module.BacklogCounts()


def test_merge_joins_the_two_oldest_and_loses_no_event():
    backlog = Backlog(2, "merge")
    fill(backlog, [window(0, first=True), window(10), window(20), window(30)])
    assert backlog.pending() == (2, 12)
    oldest, newest = take_all(backlog)
    assert oldest.window.events["t"].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert (oldest.window.stamp, oldest.window.first, oldest.window.merged) == (22, True, True)
    assert (newest.window.stamp, newest.window.first, newest.window.merged) == (32, False, False)
    assert backlog.counts == module.BacklogCounts(merged_windows=2)


def test_skip_drops_the_oldest_and_hands_on_that_a_stream_began():
    backlog = Backlog(2, "skip")
    fill(backlog, [window(0, first=True), window(10), window(20)])
    jobs = take_all(backlog)
    assert [(job.window.stamp, job.window.first) for job in jobs] == [(12, True), (22, False)]
    assert backlog.counts == module.BacklogCounts(skipped_windows=1, skipped_events=3)


def test_windows_of_two_streams_are_never_merged():
    backlog = Backlog(1, "merge")
    fill(backlog, [window(50), window(0, first=True)])
    (job,) = take_all(backlog)
    assert (job.window.stamp, job.window.first, job.window.merged) == (2, True, False)
    assert backlog.counts == module.BacklogCounts(skipped_windows=1, skipped_events=3)


def test_a_stream_that_ends_does_not_cost_its_events_while_the_next_can_be_merged():
    backlog = Backlog(2, "merge")
    fill(backlog, [window(50, first=True), window(0, first=True), window(10), window(20)])
    assert [job.window.stamp for job in take_all(backlog)] == [52, 22]
    assert backlog.counts == module.BacklogCounts(merged_windows=2)


def test_windows_of_two_image_makers_are_never_merged():
    backlog = Backlog(1, "merge")
    fill(backlog, [window(0)])
    fill(backlog, [window(10)])
    (job,) = take_all(backlog)
    assert (job.window.stamp, job.window.merged) == (12, False)
    assert backlog.counts.skipped_windows == 1


def test_merging_ends_where_memory_would_not(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_EVENTS", 7)
    backlog = Backlog(1, "merge")
    fill(backlog, [window(0, first=True), window(10), window(20)])
    (job,) = take_all(backlog)
    assert (job.window.stamp, job.window.first) == (22, True)
    assert backlog.counts == module.BacklogCounts(merged_windows=1, skipped_windows=1, skipped_events=6)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_waits_is_bounded_however_long_the_queue(policy, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_EVENTS", 7)
    backlog, maker = Backlog(100_000, policy), images()
    fill(backlog, [window(0, first=True), window(10), window(20), window(30)], maker)
    assert backlog.pending() == (2, 6)
    assert backlog.counts == module.BacklogCounts(skipped_windows=2, skipped_events=6)
    # One that has more events than may wait is not lost for that, but waits alone.
    fill(backlog, [window(40, n=9)], maker)
    assert backlog.pending() == (1, 9)
    (job,) = take_all(backlog)
    assert (job.window.stamp, job.window.first) == (48, True)
    assert backlog.counts == module.BacklogCounts(skipped_windows=4, skipped_events=12)


def test_close_wakes_who_waits_and_leaves_the_rest_pending():
    backlog = Backlog(5, "merge")
    got = []
    waiting = threading.Thread(target=lambda: got.append(backlog.get()))
    waiting.start()
    backlog.close()
    waiting.join(10)
    assert got == [None]
    fill(backlog, [window(0), window(10)])
    assert backlog.get() is None
    assert backlog.pending() == (2, 6)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5), st.booleans()),  # events, first
        st.tuples(st.just("get")),
        st.tuples(st.just("other images")),
        st.tuples(st.just("limit"), st.integers(1, 4)),
        st.tuples(st.just("policy"), st.sampled_from(POLICIES)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("policy", POLICIES)
@given(steps=steps)
def test_every_event_and_window_is_taken_skipped_or_pending_in_order(policy, steps):
    backlog, maker, taken, t = Backlog(2, policy), images(), [], 0
    puts, firsts = [], set()
    first = True
    for kind, *values in steps:
        if kind == "put":
            n, begins = values
            t += 10
            w = window(t, n, first or begins)
            backlog.put(Job((w,), maker, "dvs"))
            puts.append(w)
            firsts |= {w.stamp} if w.first else set()
            first = False
            assert backlog.pending()[0] <= backlog.limit
        elif kind == "get" and backlog.pending()[0]:
            taken.append(backlog.get())
        elif kind == "other images":
            maker, first = images(), True
        elif kind in ("limit", "policy"):
            setattr(backlog, kind, values[0])
    counts = backlog.counts
    events = sum(len(w.events) for w in puts)
    assert events == sum(job.events for job in taken) + counts.skipped_events + backlog.pending()[1]
    jobs = taken + take_all(backlog)
    assert len(puts) == len(jobs) + counts.merged_windows + counts.skipped_windows
    stamps = np.concatenate([[], *(job.window.events["t"] for job in jobs)])
    assert np.all(np.diff(stamps) > 0)
    for job in jobs:
        assert not any(w.first for w in job.windows[1:]), "two streams in one window"
    # A new stream's first window that is left says so, whichever were skipped before it.
    for before, after in zip([None, *jobs], jobs, strict=False):
        begun = any(before is None or s > before.window.stamp for s in firsts if s <= after.windows[0].stamp)
        if begun:
            assert after.windows[0].first
