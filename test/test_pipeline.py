from __future__ import annotations

import numpy as np

from cista_ros.event_filter import EventFilter
from cista_ros.events import make_events
from cista_ros.reconstructor import Reconstructor
from cista_ros.tone_map import make_tone_map, none
from cista_ros.window_maker import WindowMaker
from cista_ros.windows import CountWindows, PeriodWindows, StampWindows, merge

H, W = 20, 24
MS = 1_000_000


def events_at(times, seed=0):
    rng, n = np.random.default_rng(seed), len(times)
    return make_events(rng.integers(0, W, n), rng.integers(0, H, n), times, rng.integers(0, 2, n))


def stream(milliseconds=100):
    return events_at(np.arange(0, milliseconds * MS, MS // 10))


def window_maker(period_ms=10):
    return WindowMaker(EventFilter(H, W), lambda: PeriodWindows(period_ms * MS))


def image_maker(network, tone_map="natural"):
    return Reconstructor(network, H, W, "cpu", tone_map=tone_map, runtime="eager")


def test_the_first_window_of_a_stream_is_marked_and_no_other():
    windows = window_maker()
    found = windows.push(stream()) + windows.flush()
    assert [w.first for w in found] == [True] + [False] * 9


def test_a_jump_back_ends_the_open_window_and_begins_a_stream():
    windows = window_maker()
    found = windows.push(stream(25))
    found += windows.push(stream(25))
    found += windows.flush()
    assert [w.first for w in found] == [True, False, False] * 2
    assert sum(len(w.events) for w in found) == 500, "the window that was open is not lost"


def test_stamps_increase_even_where_events_share_one_time():
    windows = WindowMaker(EventFilter(H, W), lambda: CountWindows(10))
    found = windows.push(events_at([5] * 35)) + windows.flush()
    assert [w.stamp for w in found] == [5, 6, 7, 8]


def test_restart_and_recut_differ_in_who_begins_a_stream():
    windows = window_maker()
    windows.push(stream(5))
    assert [w.first for w in windows.recut(lambda: CountWindows(7))] == [True]
    later = events_at(np.arange(10 * MS, 11 * MS, MS // 20))
    assert [(len(w.events), w.first) for w in windows.push(later)] == [(7, False), (7, False)]
    assert [len(w.events) for w in windows.restart()] == [6]
    assert windows.push(events_at(np.arange(20 * MS, 20 * MS + 7)))[0].first


def test_frames_have_the_network_image_and_the_tone_mapped_one(small_network):
    windows = window_maker()
    window = windows.push(stream())[0]
    frame = image_maker(small_network, "stretch").make(window)
    expected = Reconstructor(small_network, H, W, "cpu", runtime="eager").reconstruct(window.events).image
    np.testing.assert_array_equal(frame.image, expected)
    np.testing.assert_array_equal(frame.shown, make_tone_map("stretch")(expected))
    assert (frame.stamp, frame.steps) == (window.stamp, 1)
    np.testing.assert_array_equal(frame.events, window.events)


def test_a_looped_stream_gives_the_same_frames_again(small_network):
    windows, images = window_maker(), image_maker(small_network)
    found = windows.push(stream()) + windows.push(stream()) + windows.flush()
    shown = [images.make(window).shown for window in found]
    assert len(shown) == 20
    for first, second in zip(shown[:10], shown[10:], strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_merged_window_takes_one_step_however_many_its_events(small_network):
    windows = window_maker()
    first, second, *_ = windows.push(events_at(np.arange(0, 30 * MS, MS // 50)))
    images = image_maker(small_network)
    assert images.make(first).steps > 1
    assert images.make(merge(first, second)).steps == 1


def test_a_tone_map_can_be_exchanged_between_windows(small_network):
    windows = window_maker().push(stream())
    images = image_maker(small_network)
    images.make(windows[0])
    images.tone_map = none
    frame = images.make(windows[1])
    np.testing.assert_array_equal(frame.shown, frame.image)


def test_a_window_closed_by_a_gap_does_not_get_the_stamp_of_a_frame_after_the_gap():
    second = 1_000 * MS
    frames = np.array([20 * second, 21 * second])
    windows = WindowMaker(EventFilter(H, W, max_gap_ns=5 * second), lambda: StampWindows(frames))
    found = []
    for times in ([second, second + 1], [2 * second], [15 * second, 15 * second + 1], [15 * second + 2]):
        found += windows.push(events_at(times))
    found += windows.push(events_at([20 * second + 1])) + windows.flush()
    assert [(w.stamp, w.first) for w in found] == [(2 * second, True), (20 * second, True), (21 * second, False)]


def test_windows_carry_the_sensor_size_and_the_latest_frame_id():
    windows = window_maker()
    first = windows.push(stream(25), "left")
    assert [(w.height, w.width, w.frame_id) for w in first] == [(H, W, "left")] * 2
    assert [w.frame_id for w in windows.flush()] == ["left"]
    assert merge(*first).frame_id == "left"


def test_pushing_a_stream_in_pieces_gives_the_frames_of_its_windows(small_network):
    events = stream()
    reconstructor = image_maker(small_network)
    reconstructor.windows = window_maker()
    frames = [frame for part in np.array_split(events, 7) for frame in reconstructor.push(part)]
    frames += reconstructor.flush()
    windows, images = window_maker(), image_maker(small_network)
    expected = [images.make(window) for window in windows.push(events) + windows.flush()]
    assert [f.stamp for f in frames] == [f.stamp for f in expected]
    for frame, wanted in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.shown, wanted.shown)
    assert sum(len(f.events) for f in frames) == len(events)
    assert reconstructor.flush() == []
