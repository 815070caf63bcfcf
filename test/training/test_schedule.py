"""What changes while a training goes on."""

from __future__ import annotations

import pytest
from small import config

from cista_ros.training.trainer import ema_decay, forcing_probability, learning_rate, sequence_length


def rates(schedule: str, iterations: int = 100) -> list[float]:
    wanted = config(
        f"iterations={iterations}", f"optimiser.schedule={schedule}", "optimiser.warm_up=10", "optimiser.decay=0.2"
    )
    return [learning_rate(wanted, i) / 1e-3 for i in range(iterations)]


@pytest.mark.parametrize("schedule", ["paper", "cosine", "trapezoid", "constant"])
def test_every_schedule_warms_up(schedule):
    values = rates(schedule)
    assert values[0] == pytest.approx(0.1, rel=0.01) and values[:10] == sorted(values[:10])


def test_their_shapes():
    assert rates("paper")[49] == 1 and rates("paper")[50] == pytest.approx(0.9)
    assert rates("cosine")[50] == pytest.approx(0.5) and rates("cosine")[99] < 0.001
    trapezoid = rates("trapezoid")
    assert (
        set(trapezoid[10:80]) == {1.0} and trapezoid[90] == pytest.approx(0.5) and trapezoid[99] == pytest.approx(0.05)
    )
    assert rates("constant")[99] == 1


def test_sequences_grow_and_teaching_ends():
    wanted = config()
    assert [sequence_length(wanted, i) for i in (0, 2, 4, 5)] == [3, 4, 4, 4]
    assert [forcing_probability(wanted, i) for i in (0, 2, 4, 9)] == [0.5, 0.25, 0.0, 0.0]


def test_the_average_soon_forgets_the_random_start():
    assert ema_decay(config(), 0) == 0.1 and ema_decay(config(), 10**6) == 0.999
