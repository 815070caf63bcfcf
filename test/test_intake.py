from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cista_ros.errors import EventError
from cista_ros.events import in_order, inside, make_events
from cista_ros.intake import JUMP_NS, Intake

H, W = 20, 30


def at(times, x=None):
    return make_events(x if x is not None else [1] * len(times), [2] * len(times), times, [1] * len(times))


@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5 * JUMP_NS)), max_size=12), max_size=8))
def test_whatever_comes_in_comes_out_on_the_sensor_in_order_and_accounted_for(chunks):
    intake, newest = Intake(H, W), None
    for chunk in chunks:
        events, jumped = intake.accept(at([t for _, t in chunk], [x for x, _ in chunk]))
        assert in_order(events)
        assert inside(events, H, W).all()
        if len(events):
            assert jumped or newest is None or events["t"][0] >= newest
            newest = events["t"][-1]
        counts = intake.counts
        assert counts.received == counts.accepted + counts.outside + counts.late


def test_events_outside_the_sensor_are_dropped_and_counted():
    intake = Intake(H, W)
    events, _ = intake.accept(at([1, 2, 3], [29, 30, 0]))
    assert events["t"].tolist() == [1, 3]
    assert (intake.counts.accepted, intake.counts.outside) == (2, 1)


def test_time_going_back_within_a_message_is_put_in_order_and_counted():
    intake = Intake(H, W)
    events, jumped = intake.accept(at([10, 30, 20, 40]))
    assert events["t"].tolist() == [10, 20, 30, 40]
    assert not jumped
    assert intake.counts.reordered == 2


def test_stragglers_are_dropped_and_counted():
    intake = Intake(H, W)
    intake.accept(at([100, 200]))
    events, jumped = intake.accept(at([150, 200, 300]))
    assert (events["t"].tolist(), jumped, intake.counts.late) == ([200, 300], False, 1)


def test_a_looped_recording_begins_a_new_stream():
    intake = Intake(H, W)
    intake.accept(at([0, 10 * JUMP_NS]))
    events, jumped = intake.accept(at([0, 5]))
    assert (events["t"].tolist(), jumped, intake.counts.time_jumps, intake.counts.late) == ([0, 5], True, 1, 0)


def test_a_recording_of_a_single_message_can_loop_too():
    intake = Intake(H, W)
    for expected in (False, True, True):
        events, jumped = intake.accept(at([0, 5 * JUMP_NS, 10 * JUMP_NS]))
        assert (len(events), jumped) == (3, expected)


def test_one_wrong_stamp_begins_no_new_stream():
    intake = Intake(H, W)
    intake.accept(at([10 * JUMP_NS]))
    events, jumped = intake.accept(at([10 * JUMP_NS, 0, 11 * JUMP_NS]))
    assert (len(events), jumped, intake.counts.late) == (2, False, 1)


@pytest.mark.parametrize("size", [(0, 0), (0, 240), (15, 240), (65_535, 65_535)])
def test_a_sensor_size_that_cannot_be_is_refused(size):
    with pytest.raises(EventError, match=r"^a sensor of \d+x\d+ pixels; expected 16x16 to 4194304 pixels in all$"):
        Intake(*size)
