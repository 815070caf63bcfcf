"""How fast event time passes, by which the node tells slow playback from silence."""

from __future__ import annotations

import pytest

from cista_ros.node.inputs import Pace

MS = 1_000_000


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1.0, 1.0), (0.05, 0.05), (10.0, 1.0), (1e-6, Pace.SLOWEST)],
    ids=["real", "slow", "fast", "stopped"],
)
def test_the_pace_is_that_of_the_playback_but_at_most_1(rate, expected):
    pace = Pace()
    for i in range(10):
        pace.add(i * 0.033 / rate, i * 33 * MS)
    assert pace() == pytest.approx(expected)


def test_a_pause_of_a_real_camera_does_not_change_the_pace():
    pace = Pace()
    for second in (0, 1, 5, 5.1, 9):
        pace.add(second, round(second * 1000) * MS)
    assert pace() == pytest.approx(1)


def test_one_message_or_a_jump_back_leaves_the_pace_unknown():
    pace = Pace()
    assert pace() == Pace.UNKNOWN
    pace.add(0, 500 * MS)
    pace.add(0.2, 510 * MS)
    pace.add(0.3, 0)
    assert pace() == Pace.UNKNOWN
