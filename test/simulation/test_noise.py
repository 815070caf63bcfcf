"""Noise events come at the rates asked for, inside their segments and the sensor."""

from __future__ import annotations

import torch

from cista_ros.simulation.noise import NoiseSources

DURATIONS = torch.tensor([[300_000_000, 700_000_000], [1_000_000_000, 2_000_000_000]])
STARTS = DURATIONS.cumsum(1) - DURATIONS


def noise(background, hot):
    return NoiseSources(background, hot).events(STARTS, DURATIONS, torch.Generator().manual_seed(0))


def check_times(events):
    start, duration = STARTS[events.sequence, events.segment], DURATIONS[events.sequence, events.segment]
    assert ((events.t >= start) & (events.t < start + duration)).all()


def test_background_activity_has_its_rate_everywhere():
    events = noise(torch.tensor([5.0, 1.0]), torch.zeros(2, 40, 50))[0]
    check_times(events)
    counts = torch.bincount(events.sequence)
    assert abs(counts[0] - 5 * 2000 * 1) < 5 * 100 and abs(counts[1] - 1 * 2000 * 3) < 5 * 78
    assert abs(events.p.float().mean() - 0.5) < 0.02
    assert events.x.unique().tolist() == list(range(50)) and events.y.unique().tolist() == list(range(40))


def test_hot_pixels_fire_alone_and_with_one_polarity():
    rate = torch.zeros(2, 40, 50)
    rate[0, 3, 4], rate[1, 39, 49] = 200.0, -100.0
    events = noise(torch.zeros(2), rate)[1]
    check_times(events)
    first, second = events.sequence == 0, events.sequence == 1
    assert set(zip(events.y[first].tolist(), events.x[first].tolist(), strict=True)) == {(3, 4)}
    assert events.p[first].all() and not events.p[second].any()
    assert abs(first.sum() - 200) < 75 and abs(second.sum() - 300) < 90


def test_without_rates_there_are_no_events():
    assert not any(len(events.t) for events in noise(torch.zeros(2), torch.zeros(2, 4, 4)))
