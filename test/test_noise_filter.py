from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.events import H, W, random_events, with_hot
from hypothesis import given
from hypothesis import strategies as st

from cista_ros.errors import EventError
from cista_ros.event_filter import EventFilter
from cista_ros.events import concatenate, make_events
from cista_ros.noise_filter import ActivityFilter, HotPixels, make_noise_filter, mask_text, read_mask

MS = 1_000_000


def supported(events, support_ns):
    """Event by event: whether one of the 8 neighbours fired at most support_ns before it."""
    last, kept = {}, []
    for x, y, t in zip(*(events[k].tolist() for k in "xyt"), strict=True):
        near = [last.get((x + dx, y + dy), -(10**18)) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
        kept.append(t - max(near) <= support_ns)
        last[x, y] = t
    return kept


@given(st.integers(0, 200), st.integers(1, 60), st.lists(st.integers(0, 200), max_size=5), st.integers(0, 9))
def test_activity_equals_a_loop_over_the_events_however_they_are_cut(n, support, cuts, seed):
    events = random_events(n, 100e-9, seed, 6, 5)
    activity = ActivityFilter(6, 5, support)
    kept = [activity.keep(part) for part in np.split(events, sorted(min(cut, n) for cut in cuts))]
    assert np.concatenate(kept).tolist() == supported(events, support)


def test_activity_forgets_at_a_reset():
    pair = make_events([3, 4], [5, 5], [0, 1], [1, 1])
    activity = ActivityFilter(H, W)
    assert activity.keep(pair).tolist() == [False, True]
    activity.reset()
    assert activity.keep(pair).tolist() == [False, True]


def test_activity_takes_the_last_times_that_int64_holds():
    pair = make_events([3, 4], [5, 5], [2**63 - 2, 2**63 - 1], [1, 1])
    assert ActivityFilter(H, W).keep(pair).tolist() == [False, True]


def test_noise_goes_and_a_moving_edge_stays():
    noise = random_events(500, 1.0)  # about 1 event per pixel and second
    t = np.repeat(np.arange(0, 1000 * MS, 50 * MS), H)
    edge = make_events(np.repeat(np.arange(20), H), np.tile(np.arange(H), 20), t + np.tile(np.arange(H), 20), t % 2)
    keep = ActivityFilter(H, W).keep
    assert keep(noise).mean() < 0.15
    activity = ActivityFilter(H, W)
    assert activity.keep(edge).mean() > 0.9


@pytest.mark.parametrize("cuts", [1, 7, 400])
def test_hot_pixels_are_learned_within_300_ms_however_the_stream_is_cut(cuts):
    pixels = [(3, 4), (10, 10), (11, 10), (0, 0)]
    events = with_hot(random_events(5000, 1.0), pixels, 1000, 1.0)
    hot = HotPixels(H, W)
    kept = np.concatenate([hot.keep(part) for part in np.array_split(events, cuts)])
    assert sorted(zip(*np.nonzero(hot.mask.T), strict=True)) == sorted(pixels)
    of_hot = np.isin(events["y"].astype(int) * W + events["x"], [y * W + x for x, y in pixels])
    assert kept[~of_hot].all()
    assert kept[of_hot & (events["t"] < 200 * MS)].all() and not kept[of_hot & (events["t"] >= 200 * MS)].any()


def test_busy_scenes_and_short_bursts_are_not_hot():
    hot = HotPixels(H, W)
    hot.keep(random_events(200_000, 1.0))  # 400 Hz everywhere
    burst = make_events(np.full(100, 5), np.full(100, 5), np.arange(100) * MS // 2, np.ones(100))
    burst["t"] += 1010 * MS
    hot.keep(burst)
    hot.keep(random_events(100, 2.0)[-1:])
    assert not hot.mask.any()


@pytest.mark.parametrize("cuts", [1, 3, 50])
def test_the_event_filter_counts_every_event_that_is_noise_or_hot(cuts):
    events = with_hot(random_events(3000, 1.0), [(3, 4), (8, 9)], 1000, 1.0)
    noise = make_noise_filter(H, W, "activity", "learn")
    event_filter = EventFilter(H, W, noise_filter=noise)
    parts = [part for chunk in np.array_split(events, cuts) for part in event_filter.accept(chunk)]
    parts += event_filter.release()
    counts = event_filter.counts
    assert counts.received == counts.accepted + counts.hot + counts.noise == len(events)
    assert counts.accepted == sum(len(part.events) for part in parts)
    assert (counts.hot, counts.noise) == (noise.hot, noise.noise) and 1600 <= counts.hot < 1650
    whole = make_noise_filter(H, W, "activity", "learn")(events)
    assert concatenate([part.events for part in parts]).tolist() == whole.tolist()


def test_a_stream_begins_with_its_first_event_that_is_kept():
    mask = make_noise_filter(H, W, "activity")
    event_filter = EventFilter(H, W, noise_filter=mask)
    pair = make_events([3, 4, 4], [5, 5, 6], [0, 1, 2], [1, 1, 1])
    later = pair.copy()
    later["t"] += 100 * MS
    alone = make_events([10] * 3, [10] * 3, [0, 1, 2], [1] * 3)
    assert [part.begins_stream for part in event_filter.accept(later)] == [False]
    assert event_filter.accept(alone) == [], "held: its time must be confirmed"
    parts = event_filter.accept(make_events([15, 16], [15, 15], [3, 4], [1, 1]))
    assert [part.begins_stream for part in parts] == [True] and event_filter.counts.time_jumps == 1


@pytest.mark.parametrize("name", ["mask.png", "mask.txt"])
def test_masks_are_images_or_text(tmp_path, name):
    mask = np.random.default_rng(0).random((H, W)) < 0.05
    path = tmp_path / name
    if name.endswith("png"):
        cv2.imwrite(str(path), np.where(mask, 255, 0).astype(np.uint8))
    else:
        path.write_text(mask_text(mask))
    np.testing.assert_array_equal(read_mask(path, H, W), mask)
    noise, events = make_noise_filter(H, W, "none", path), random_events(1000, 1.0)
    kept = noise(events)
    assert kept.tolist() == events[~mask[events["y"], events["x"]]].tolist()
    assert noise.hot == len(events) - len(kept) > 0


@pytest.mark.parametrize(
    ("content", "stub"),
    [
        (b"1 2 3\n", "line 1"),
        (b"# x y\n\n3 4\n99 1\n", "line 4: pixel 99 1 is outside"),
        (b"\xff\xfe\x00", "line 1"),
        (cv2.imencode(".png", np.zeros((5, 6), np.uint8))[1].tobytes(), "6x5 pixels, expected the sensor.s 24x20"),
        (b"", "empty"),
        (None, "no such file"),
    ],
)
def test_bad_masks_are_named(tmp_path, content, stub):
    path = tmp_path / "mask"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EventError, match=f"mask: .*{stub}"):
        read_mask(path, H, W)


def test_nothing_is_filtered_by_default_and_unknown_kinds_are_refused():
    assert make_noise_filter(H, W) is None
    with pytest.raises(ValueError, match="none, activity"):
        make_noise_filter(H, W, "loud")
