from __future__ import annotations

import numpy as np
import pytest

from cista_ros.errors import EventError
from cista_ros.events import EVENT_DTYPE, binned, concatenate, in_order, inside, make_events, make_triggers, no_events


def test_an_event_is_sixteen_aligned_bytes():
    assert EVENT_DTYPE.itemsize == 16
    assert EVENT_DTYPE.fields["t"][1] % 8 == 0


def test_an_event_array_has_the_values_of_its_columns():
    events = make_events([1, 65535], [2, 0], [-5, 2**62], [0, 1])
    assert events["x"].tolist() == [1, 65535]
    assert events["t"].tolist() == [-5, 2**62]
    assert events["p"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, -1], 0, 0, 1), "x must be whole numbers from 0 to 65535, not -1"),
        (([0], [70_000], [0], [1]), "y must be"),
        (([0], [0], [0.5], [1]), "t must be whole numbers"),
        (([0], [0], [float("nan")], [1]), "t must be whole numbers"),
        (([0], [0], [2**64], [1]), "t must be whole numbers"),
        (([0], [None], [0], [1]), "y must be whole numbers"),
        (([0], [0], [0], [float("nan")]), "p must be numbers"),
        (([0], [0], [0], ["on"]), "p must be numbers"),
        (([0, 1], [0], [0, 1], [1, 1]), "one length"),
    ],
)
def test_columns_that_an_event_cannot_hold_are_an_error(columns, message):
    with pytest.raises(EventError, match=message):
        make_events(*columns)
    assert make_events([1.0], [2.0], [3.0], [-1])["p"].tolist() == [False]


def test_triggers_have_the_values_of_their_columns_or_are_an_error():
    assert make_triggers([1, 2], [0, 255], [1, -1]).tolist() == [(1, 0, True), (2, 255, False)]
    for wrong in (256, -1, 0.5):
        with pytest.raises(EventError, match=f"triggers: id must be whole numbers from 0 to 255, not {wrong}"):
            make_triggers([1, 2, 3], np.array([0, 1, wrong]), True)


def test_concatenating_one_chunk_copies_nothing():
    events = make_events([1], [1], [1], [1])
    assert concatenate([events]) is events
    assert len(concatenate([])) == 0
    assert concatenate([events, no_events(), events])["t"].tolist() == [1, 1]


def test_inside_checks_all_four_borders():
    events = make_events([0, 239, 240, 0], [0, 179, 0, 180], range(4), [1] * 4)
    assert inside(events, 180, 240).tolist() == [True, True, False, False]


def test_equal_stamps_are_in_order_and_earlier_ones_are_not():
    assert in_order(make_events([0] * 3, [0] * 3, [1, 1, 2], [1] * 3))
    assert not in_order(make_events([0] * 3, [0] * 3, [1, 2, 1], [1] * 3))
    assert in_order(no_events())


def test_binned_events_keep_time_and_polarity_and_do_not_change_the_original():
    events = make_events([0, 1, 2, 5], [0, 3, 4, 5], [1, 2, 3, 4], [1, 0, 1, 0])
    coarse = binned(events, 2, 3, 2)
    assert coarse["x"].tolist() == [0, 0, 1, 1] and coarse["y"].tolist() == [0, 1, 2, 2]
    assert (coarse["t"] == events["t"]).all() and (coarse["p"] == events["p"]).all()
    assert events["x"].tolist() == [0, 1, 2, 5]
    assert binned(events, 1, 6, 6) is events
