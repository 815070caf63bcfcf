"""The ESIM pixel against cases that can be worked out by hand, and against a pixel written as plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cista_ros.simulation.pixel import NoiseSources, PixelModel, PixelState, event_array, expand, merge, pixel_runs

MS = 1_000_000


def model(positive: float = 0.3, negative: float | None = None, refractory_ms: float = 0.0, leak: float = 0.0):
    values = (positive, negative or positive, refractory_ms * 1e6, leak)
    return PixelModel(*(torch.tensor(v, dtype=torch.float64).view(1, 1, 1) for v in values))


def fire(levels: list[float], durations_ms: list[float], pixel: PixelModel) -> np.ndarray:
    """Events of one pixel whose log intensity goes through these levels."""
    log_intensity = torch.tensor(levels, dtype=torch.float64).view(1, -1, 1, 1)
    durations = torch.tensor([round(d * MS) for d in durations_ms]).view(1, -1)
    runs, _ = pixel_runs(log_intensity, durations, pixel)
    return event_array(expand(runs, durations.cumsum(1) - durations))


def loop_pixel(levels, durations_ns, positive, negative, refractory_ns, leak):
    """ESIM as a loop: follow the line, cross the thresholds one by one, keep the time of the last event."""
    reference, last, start, events = levels[0], -math.inf, 0, []
    for before, after, duration in zip(levels, levels[1:], durations_ns, strict=False):
        drift = leak * positive * duration * 1e-9
        after_seen = after + drift
        while True:
            if after_seen >= before and reference + positive <= after_seen:
                reference, p = reference + positive, True
            elif after_seen < before and reference - negative >= after_seen:
                reference, p = reference - negative, False
            else:
                break
            t = start + (reference - before) / (after_seen - before) * duration
            if t - last >= refractory_ns:
                events.append((t, p))
                last = t
        reference -= drift
        start += duration
    return events


@pytest.mark.parametrize(("rise", "polarity"), [(2.0, True), (-2.0, False)])
def test_a_linear_log_ramp_fires_floor_delta_over_c_events_at_the_exact_times(rise, polarity):
    events = fire([0.5, 0.5 + rise], [10], model(positive=0.3, negative=0.3))
    assert len(events) == math.floor(2.0 / 0.3) == 6
    assert (events["p"] == polarity).all()
    assert events["t"].tolist() == [round(10 * MS * k * 0.3 / 2.0) for k in range(1, 7)]


def test_a_ramp_cut_into_segments_fires_the_same_events():
    whole = fire([0.0, 2.0], [8], model())
    cut = fire([0.0, 0.25, 0.75, 1.0, 2.0], [1, 2, 1, 4], model())
    assert np.abs(whole["t"] - cut["t"]).max() <= 1
    assert len(whole) == 6


def test_a_constant_scene_fires_nothing():
    assert len(fire([0.7] * 50, [5] * 49, model(positive=0.01))) == 0


def test_thresholds_of_the_two_polarities_differ():
    events = fire([0.0, 1.0, -0.01], [1, 1], model(positive=0.3, negative=0.45))
    assert events["p"].sum() == 3
    # From the reference at 0.9 down to -0.01: crossings at 0.45 and 0.
    assert (~events["p"]).sum() == 2


def test_a_change_smaller_than_the_threshold_is_remembered_for_the_next_segment():
    assert len(fire([0.0, 0.2], [1], model(0.3))) == 0
    assert len(fire([0.0, 0.2, 0.4], [1, 1], model(0.3))) == 1


def test_the_refractory_period_drops_events_but_moves_the_reference():
    # Ten crossings, 1 ms apart; after each event 2.5 ms of silence: crossings 1, 4, 7, 10 are reported.
    pixel = model(0.1, refractory_ms=2.5)
    events = fire([0.0, 1.001], [10.01], pixel)
    assert events["t"].tolist() == [1 * MS, 4 * MS, 7 * MS, 10 * MS]
    # The reference is at 1.0, not at 0.4: the way back down to 0.05 takes 9 crossings.
    down = fire([0.0, 1.001, 1.001, 0.05], [10.01, 100, 1000], pixel)
    assert (~down["p"]).sum() == 9


def test_silence_reaches_into_the_next_segments():
    pixel = model(0.1, refractory_ms=5)
    events = fire([0.0, 0.105, 0.21, 0.315, 0.42], [2, 2, 2, 2], pixel)
    assert len(events) == 2
    assert events["t"][1] - events["t"][0] >= 5 * MS


def test_a_leak_fires_at_its_rate_in_constant_light():
    events = fire([0.0] * 101, [100] * 100, model(0.3, leak=1.5))  # 10 s
    assert len(events) in (14, 15)
    assert events["p"].all()
    assert np.allclose(np.diff(events["t"]), 1e9 / 1.5, atol=2)


def test_a_run_can_be_cut_and_continued_with_its_state():
    torch.manual_seed(0)
    levels = torch.randn(2, 9, 4, 5, dtype=torch.float64).cumsum(1)
    durations = torch.full((2, 8), 3 * MS)
    pixel = model(0.2, 0.25, refractory_ms=1.0, leak=3.0)
    starts = durations.cumsum(1) - durations
    whole, _ = pixel_runs(levels, durations, pixel)
    first, state = pixel_runs(levels[:, :5], durations[:, :4], pixel)
    second, _ = pixel_runs(levels[:, 4:], durations[:, 4:], pixel, state)
    cut = merge(expand(first, starts[:, :4]), expand(second, starts[:, 4:]))
    for sequence in range(2):
        assert np.array_equal(event_array(expand(whole, starts), sequence), event_array(cut, sequence))


@settings(deadline=None, max_examples=60)
@given(
    levels=st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=8),
    duration_ms=st.integers(1, 20),
    positive=st.floats(0.11, 0.9),
    negative=st.floats(0.11, 0.9),
    refractory_ms=st.sampled_from([0.0, 0.7, 3.3]),
    leak=st.sampled_from([0.0, 2.7]),
)
def test_closed_form_equals_the_plain_loop(levels, duration_ms, positive, negative, refractory_ms, leak):
    durations = [duration_ms * MS] * (len(levels) - 1)
    expected = loop_pixel(levels, durations, positive, negative, refractory_ms * 1e6, leak)
    events = fire(levels, [duration_ms] * (len(levels) - 1), model(positive, negative, refractory_ms, leak))
    # A crossing within a rounding error of a segment's end, or an event within one of the silence's end, may fall
    # either way; such draws are rare, and their number of events differs: by two where the light then turns.
    assert abs(len(events) - len(expected)) <= 2
    if len(events) == len(expected):
        assert all(abs(e["t"] - t) <= 2 and e["p"] == p for e, (t, p) in zip(events, sorted(expected), strict=True))


def test_adapted_pixels_start_silent():
    state = PixelState.at(torch.randn(1, 3, 3))
    assert not state.silent.any()


def test_a_photoreceptor_follows_a_step_as_a_low_pass_filter_does():
    # A step of log intensity from 0 to 1 (a photocurrent of e), sampled every 0.1 ms, threshold 0.1, cutoff 50 Hz at 1.
    pixel = replace(model(positive=0.1), bandwidth=torch.tensor(50.0, dtype=torch.float64).view(1, 1, 1))
    events = fire([0.0] + [1.0] * 400, [0.1] * 400, pixel)
    tau = 1 / (2 * math.pi * 50 * math.e)
    expected = [-tau * math.log(1 - 0.1 * k) for k in range(1, 10)]
    assert np.abs(events["t"][:9] * 1e-9 - expected).max() < 1e-4


def test_dark_pixels_are_slower():
    pixel = replace(model(positive=0.1), bandwidth=torch.tensor(50.0, dtype=torch.float64).view(1, 1, 1))
    bright, dark = (fire([level] + [level + 0.5] * 400, [0.1] * 400, pixel) for level in (0.0, -3.0))
    assert len(bright) >= len(dark) > 0 and bright["t"][0] < dark["t"][0]


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


def test_only_hot_pixels_fire_and_with_one_polarity():
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
