from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cista_ros.errors import EventError
from cista_ros.event_filter import AHEAD_NS, JUMP_NS, LONGEST_GAP_NS, EventFilter
from cista_ros.events import in_order, inside, make_events

H, W = 20, 30


def at(times, x=None):
    return make_events(x if x is not None else [1] * len(times), [2] * len(times), times, [1] * len(times))


MS = 1_000_000
FAR = 100 * AHEAD_NS


def take(event_filter, *chunks):
    """What came of the chunks in turn: for each part its times, and whether it begins a stream."""
    return [(p.events["t"].tolist(), p.begins_stream) for chunk in chunks for p in event_filter.accept(at(chunk))]


def released(event_filter):
    return [(p.events["t"].tolist(), p.begins_stream) for p in event_filter.release()]


times = st.one_of(st.integers(0, 5 * JUMP_NS), st.integers(0, 3 * AHEAD_NS), st.integers(0, FAR))


@given(
    st.lists(st.one_of(st.lists(st.tuples(st.integers(0, 40), times), max_size=12), st.none()), max_size=10),
    st.sampled_from([None, 2 * AHEAD_NS]),
)
def test_accepted_events_are_on_the_sensor_and_in_order_and_all_are_counted(chunks, max_gap):
    event_filter, newest = EventFilter(H, W, max_gap_ns=max_gap), None
    for chunk in chunks:
        if chunk is None:
            parts = event_filter.release()
            assert not event_filter.held_events
        else:
            parts = event_filter.accept(at([t for _, t in chunk], [x for x, _ in chunk]))
        for part in parts:
            events = part.events
            assert in_order(events)
            assert inside(events, H, W).all()
            if len(events):
                assert part.begins_stream or newest is None or events["t"][0] >= newest
                newest = events["t"][-1]
        counts = event_filter.counts
        known = counts.accepted + counts.outside + counts.late + counts.stray + event_filter.held_events
        assert counts.received == known


def test_events_outside_the_sensor_are_dropped_and_counted():
    event_filter = EventFilter(H, W)
    (part,) = event_filter.accept(at([1, 2, 3], [29, 30, 0]))
    assert part.events["t"].tolist() == [1, 3]
    assert (event_filter.counts.accepted, event_filter.counts.outside) == (2, 1)


def test_time_going_back_within_a_message_is_put_in_order_and_counted():
    event_filter = EventFilter(H, W)
    assert take(event_filter, [10, 30, 20, 40]) == [([10, 20, 30, 40], False)]
    assert event_filter.counts.reordered == 2


def test_stragglers_are_dropped_and_counted():
    event_filter = EventFilter(H, W)
    assert take(event_filter, [100, 200], [150, 200, 300])[1] == ([200, 300], False)
    assert event_filter.counts.late == 1


def test_a_looped_recording_begins_a_new_stream_once_the_next_message_confirms_it():
    event_filter = EventFilter(H, W)
    event_filter.accept(at([0, 100 * MS]))
    assert take(event_filter, [0, 5]) == []
    assert take(event_filter, [6, 7]) == [([0, 5], True), ([6, 7], False)]
    assert (event_filter.counts.time_jumps, event_filter.counts.late, event_filter.counts.stray) == (1, 0, 0)


def test_a_looped_recording_begins_a_new_stream_at_its_end_at_the_latest():
    event_filter = EventFilter(H, W)
    event_filter.accept(at([0, 100 * MS]))
    event_filter.accept(at([0, 5]))
    assert released(event_filter) == [([0, 5], True)]


def test_a_recording_of_a_single_message_can_loop_too():
    event_filter, message = EventFilter(H, W), list(range(0, 100 * MS, 5 * MS))
    assert take(event_filter, *[message] * 4) + released(event_filter) == [
        (message, begins) for begins in (False, *[True] * 3)
    ]


def test_one_wrong_stamp_begins_no_new_stream():
    event_filter = EventFilter(H, W)
    event_filter.accept(at([10 * JUMP_NS]))
    assert take(event_filter, [10 * JUMP_NS, 0, 11 * JUMP_NS]) == [([10 * JUMP_NS, 11 * JUMP_NS], False)]
    assert event_filter.counts.late == 1


@pytest.mark.parametrize("wrong", [50 * MS, AHEAD_NS, FAR])
def test_a_single_stamp_far_in_the_future_is_dropped_and_the_stream_continues(wrong):
    event_filter = EventFilter(H, W)
    messages = [[0, 1 * MS, wrong, 2 * MS], [3 * MS, 4 * MS], [5 * MS]]
    assert take(event_filter, *messages) == [([0, MS, 2 * MS], False), ([3 * MS, 4 * MS], False), ([5 * MS], False)]
    assert (event_filter.counts.stray, event_filter.counts.time_jumps, event_filter.counts.gaps) == (1, 0, 0)


@pytest.mark.parametrize("wrong", [20 * MS, 500 * MS, FAR])
def test_a_small_message_after_a_pause_waits_for_the_next_to_confirm_it(wrong):
    for then, stray in ((5 * MS, 1), (wrong + MS, 0)):
        event_filter = EventFilter(H, W)
        assert take(event_filter, [0, 1, 2], [wrong]) == [([0, 1, 2], False)]
        assert take(event_filter, [then]) == [([then] if stray else [wrong, then], False)]
        assert event_filter.counts.stray == stray


@pytest.mark.parametrize("wrong", [-FAR, -50 * MS, 2 * AHEAD_NS, FAR])
def test_a_single_message_of_another_time_is_dropped_and_the_stream_continues(wrong):
    event_filter = EventFilter(H, W, max_gap_ns=5 * AHEAD_NS)
    assert take(event_filter, [0, MS], [wrong, wrong + 1], [2 * MS, 3 * MS]) == [
        ([0, MS], False),
        ([2 * MS, 3 * MS], False),
    ]
    assert (event_filter.counts.stray, event_filter.counts.time_jumps, event_filter.counts.gaps) == (2, 0, 0)


def test_a_pause_within_a_message_loses_nothing():
    event_filter = EventFilter(H, W)
    parts = take(event_filter, [0, 1, 2, 30 * MS], [25 * MS, 31 * MS, 32 * MS])
    assert parts == [([0, 1, 2], False), ([25 * MS, 30 * MS, 31 * MS, 32 * MS], False)]
    assert event_filter.counts.stray == event_filter.counts.late == 0


@pytest.mark.parametrize(("gap", "begins"), [(3 * AHEAD_NS, False), (6 * AHEAD_NS, True)])
def test_a_long_gap_begins_a_new_stream_and_a_short_one_does_not(gap, begins):
    event_filter = EventFilter(H, W, max_gap_ns=5 * AHEAD_NS)
    after = [[gap, gap + 1], [gap + 2, gap + 3]]
    assert take(event_filter, [0, 1], *after) == [([0, 1], False), ([gap, gap + 1, gap + 2, gap + 3], begins)]
    assert (event_filter.counts.gaps, event_filter.counts.time_jumps) == (begins, 0)


def test_two_cameras_of_other_clocks_on_one_topic_do_not_reset_each_other():
    event_filter = EventFilter(H, W, max_gap_ns=5 * AHEAD_NS)
    for i in range(5):
        assert take(event_filter, [10 * i * MS, 10 * i * MS + 1]) == [([10 * i * MS, 10 * i * MS + 1], False)]
        assert take(event_filter, [FAR + 10 * i * MS]) == []
    assert (event_filter.counts.gaps, event_filter.counts.time_jumps, event_filter.counts.stray) == (0, 0, 4)


@pytest.mark.parametrize("size", [(0, 0), (0, 240), (15, 240), (65_535, 65_535)])
def test_a_sensor_size_that_cannot_be_is_refused(size):
    with pytest.raises(EventError, match=r"impossible sensor size \d+x\d+"):
        EventFilter(*size)


def test_a_gap_anywhere_within_a_chunk_begins_a_stream():
    late = [FAR + i * MS for i in range(6)]
    event_filter = EventFilter(H, W, max_gap_ns=AHEAD_NS)
    # In its second half, it waits for the next chunk; in its first half it does not.
    assert take(event_filter, [1, 2, *late]) == [([1, 2], False), (late, True)]
    assert event_filter.counts.gaps == 1 and event_filter.counts.accepted == 8


def test_events_decades_ahead_begin_a_stream_even_without_a_gap_limit():
    far = 3 * LONGEST_GAP_NS
    assert take(EventFilter(H, W), [1, 2, far, far + 1, far + 2]) == [([1, 2], False), ([far, far + 1, far + 2], True)]
