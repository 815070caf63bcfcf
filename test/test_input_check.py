from __future__ import annotations

import numpy as np
import pytest
from helpers.events import H, W, random_events, with_hot

from cista_ros.event_filter import EventFilter
from cista_ros.input_check import InputCheck, Pace, rate_warning
from cista_ros.noise_filter import HotPixels, NoiseFilter, make_noise_filter

MS = 1_000_000


def warnings(events, check=None, pieces=20):
    check = check or InputCheck(H, W)
    return [text for part in np.array_split(events, pieces) for text in check.observe(part)]


@pytest.mark.parametrize("rate", [1e3, 1e4, 1e5])
@pytest.mark.parametrize(("factor", "name"), [(10**6, "microseconds"), (10**9, "nanoseconds")])
def test_microseconds_and_nanoseconds_read_as_seconds_are_recognised(rate, factor, name):
    t = np.arange(2000) * (1e9 / rate)
    if t[-1] * factor > 1e18:
        t = t[:1100]
    text = rate_warning(np.asarray(t * factor, float).astype(np.int64))
    assert "events per second" in text and f"{factor:.0e}" in text and name in text


@pytest.mark.parametrize("rate", [100, 1e4, 1e6, 1e8])
def test_possible_rates_are_not_warned_about_even_with_a_pause_of_a_day(rate):
    t = (np.arange(3000) * (1e9 / rate)).astype(np.int64)
    assert rate_warning(t) == ""
    t[1500:] += 86_400 * 10**9
    assert rate_warning(t) == ""
    assert rate_warning(np.zeros(3000, np.int64)) == "", "one time for all says nothing"


def test_seconds_read_as_nanoseconds_are_too_fast():
    assert "too small" in rate_warning(np.sort(np.random.default_rng(0).integers(0, 500, 3000)))


def test_a_stream_is_warned_about_once():
    events = random_events(5000, 1.0)
    events["t"] *= 10**6
    assert [text.count("1e+06") for text in warnings(events)] == [1]


def test_swapped_width_and_height_are_recognised():
    found = warnings(random_events(3000, 1.0, height=W, width=H))
    assert len(found) == 1 and "swapped" in found[0] and "24x20" in found[0]
    assert warnings(random_events(3000, 1.0, height=W, width=W)) == [], "neither orientation fits"


def test_pixels_at_absurd_rates_are_reported_with_the_options_that_help():
    events = with_hot(random_events(20_000, 1.0), [(2, 3), (9, 9)], 20_000, 1.0)
    found = warnings(events)
    assert len(found) == 1 and found[0].startswith("2 hot pixels") and "--hot-pixel-mask" in found[0]
    assert warnings(with_hot(random_events(20_000, 1.0), [(2, 3)], 500, 1.0)) == []
    assert warnings(events, InputCheck(H, W, noise_filter=make_noise_filter(H, W, "none", "learn"))) == []


def test_a_filter_that_drops_nearly_everything_warns():
    event_filter = EventFilter(H, W, noise_filter=make_noise_filter(H, W, "activity"))
    check = InputCheck(H, W, event_filter.counts, event_filter.noise_filter)
    found = []
    for part in np.array_split(random_events(3000, 100.0), 30):
        event_filter.accept(part)
        found += check.observe(part)
    assert len(found) == 1 and "95%" in found[0]


@pytest.mark.parametrize(("share", "count"), [(0.005, 0), (0.02, 1)])
def test_a_mask_over_more_than_one_per_cent_of_the_sensor_warns(share, count):
    mask = np.arange(H * W).reshape(H, W) < share * H * W
    check = InputCheck(H, W, noise_filter=NoiseFilter(HotPixels(H, W, mask=mask), None))
    assert ["1%" in text for text in warnings(random_events(100, 1.0), check)] == [True] * count


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
