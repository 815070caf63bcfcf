"""What the recorder keeps for the next image: all of it up to a bound, none of it copied again and again."""

from __future__ import annotations

import numpy as np
import pytest

from cista_ros.events import make_events
from cista_ros.node import recorder as module
from cista_ros.node.recorder import WaitingEvents


def message(*t):
    return make_events(np.zeros(len(t)), np.zeros(len(t)), np.array(t), True)


def times(taken):
    events, arrived = taken
    return events["t"].tolist(), arrived


def test_an_image_takes_what_is_not_later_and_the_arrival_of_the_first_message_with_something_later():
    waiting = WaitingEvents()
    for arrival, events in enumerate([message(0, 1), message(2, 3), message(3, 5)]):
        waiting.add(events, float(arrival))
    assert times(waiting.take(-1)) == ([], 0.0)
    assert times(waiting.take(2)) == ([0, 1, 2], 1.0)
    assert times(waiting.take(3)) == ([3, 3], 2.0)
    assert times(waiting.take(4)) == ([], 2.0)
    assert len(waiting) == 1
    assert times(waiting.take(5)) == ([5], None)
    assert times(waiting.take(6)) == ([], None)
    assert (len(waiting), waiting.dropped) == (0, 0)


@pytest.mark.parametrize("bound", ["MAX_EVENTS", "MAX_MESSAGES"])
def test_without_images_the_oldest_messages_events_are_dropped_and_counted(monkeypatch, bound):
    monkeypatch.setattr(module, bound, {"MAX_EVENTS": 9, "MAX_MESSAGES": 4}[bound])
    waiting = WaitingEvents()
    for i in range(1000):
        waiting.add(message(10 * i, 10 * i + 1), float(i))
        assert len(waiting) <= 8
    assert (len(waiting), waiting.dropped) == (8, 1992)
    # When the message with the first later event came is not known any more.
    assert times(waiting.take(9000)) == ([], None)
    assert times(waiting.take(9970)) == ([9960, 9961, 9970], 997.0)
    assert len(waiting) + waiting.dropped == 2000 - 3


def test_one_message_that_has_more_than_the_bound_is_kept(monkeypatch):
    monkeypatch.setattr(module, "MAX_EVENTS", 2)
    waiting = WaitingEvents()
    waiting.add(message(0, 1, 2), 0.0)
    assert times(waiting.take(1)) == ([0, 1], 0.0)
    assert waiting.dropped == 0


def test_events_of_a_stream_that_ended_are_dropped_and_counted():
    waiting = WaitingEvents()
    waiting.add(message(100, 101), 0.0)
    waiting.add(message(5, 6), 1.0)
    assert (len(waiting), waiting.dropped) == (2, 2)
    assert times(waiting.take(5)) == ([5], 1.0)


def test_time_may_go_back_within_a_message():
    waiting = WaitingEvents()
    waiting.add(message(4, 9, 1, 7), 0.0)
    assert times(waiting.take(5)) == ([1, 4], 0.0)
    assert times(waiting.take(9)) == ([7, 9], None)


def test_a_message_that_waits_is_not_copied_by_those_after_it():
    waiting, first = WaitingEvents(), message(0, 1)
    waiting.add(first, 0.0)
    waiting.add(message(2, 3), 1.0)
    events, _ = waiting.take(1)
    assert events is first
