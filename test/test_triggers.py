"""Pulses on an input of the event camera: windows that end at them, and the frames that they trigger."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings.makers import NS, T0, event_messages, frames, random_events, rig, with_topics, write_bag
from typer.testing import CliRunner

import cista_ros
from cista_ros.commands.main import app
from cista_ros.errors import RecordingError
from cista_ros.event_filter import EventFilter
from cista_ros.events import TRIGGER_DTYPE, trigger_times
from cista_ros.pipeline import choose_windows, read_windows
from cista_ros.recordings import open_recording
from cista_ros.trigger_pairs import MAX_FRAMES, TriggerPairs, missed_pulses, pair
from cista_ros.window_maker import WindowMaker
from cista_ros.wire.ros_types import ImageMessage

MS = 10**6


def cista(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def windows_of(path, event_time="sensor", **options):
    with open_recording(path, event_time=event_time) as source:
        kind, windower, note = choose_windows(source, "trigger", **options)
        assert kind == "trigger"
        return list(read_windows(source, WindowMaker(EventFilter(source.height, source.width), windower))), note


def test_the_trigger_bag_of_a_real_camera_has_the_triggers_of_an_independent_decoder(shared_file):
    with open_recording(shared_file("formats/evt3_trigger")) as source:
        found = source.triggers()
        assert sum(len(r.message.events) for r in source.read()) == 82_469
    # evt3 0.6 of PyPI, decode_file_with_triggers, on the words of all packets
    assert found.tolist() == [(14_547_491_000, 0, False), (14_549_491_000, 0, True)]


@pytest.mark.parametrize(("event_time", "missing"), [("sensor", ()), ("host", (3, 20))])
def test_images_of_a_rig_have_the_stamps_of_its_frames(tmp_path, event_time, missing):
    rows, truth = rig(1, missed_pulses=missing)
    path = write_bag(tmp_path / "rig", rows, "mcap")
    images = cista_ros.reconstruct(
        path, weights="cista-tc-small", windows="trigger", event_time=event_time, device="cpu"
    )
    assert [image.stamp for image in images] == list(truth.values())


def test_windows_end_at_the_triggers(tmp_path):
    rows, truth = rig(seconds=1, missed_frames=(5,))
    path = write_bag(tmp_path / "rig", rows, "mcap")
    windows, note = windows_of(path)
    ends = list(truth)
    assert [w.stamp for w in windows] == [truth[end] for end in ends] and note == ""
    assert len(ends) == 24
    for window, begin, end in zip(windows, [0, *ends], ends, strict=False):
        assert begin < window.events["t"][0] and window.events["t"][-1] <= end < window.events["t"][-1] + MS


@pytest.mark.parametrize(("edge", "offsets"), [("rising", [0]), ("falling", [5]), ("both", [0, 5])])
def test_without_frames_images_have_the_times_of_the_edges(tmp_path, edge, offsets):
    rows, truth = rig(seconds=1)
    path = write_bag(tmp_path / "rig", [row for row in rows if row[1] == "/dvs/events"], "mcap")
    windows, _ = windows_of(path, edge=edge, trigger_input=0)
    assert [w.stamp for w in windows] == [rise + offset * MS for rise in truth for offset in offsets]
    windows, _ = windows_of(path, edge=edge, start=0.2, end=0.4)
    assert len(windows) == 5 * len(offsets)


def test_frames_can_have_the_times_of_their_triggers(tmp_path):
    rows, truth = rig(1, missed_pulses=(4,))
    path = write_bag(tmp_path / "rig", rows, "mcap")
    images = {m.stamp: m.image for _, _, m in rows if isinstance(m, ImageMessage)}
    for edge, later in (("rising", 0), ("falling", 5 * MS)):
        with open_recording(path, frame_times=edge) as source:
            assert source.frame_stamps().tolist() == [time + later for time in truth]
            found = [r.message for r in source.read() if isinstance(r.message, ImageMessage)]
            assert [m.stamp - later for m in found] == list(truth)
            assert all(np.array_equal(m.image, images[truth[m.stamp - later]]) for m in found)
            assert any(f"left out 1 of 25 frames, which have no {edge} trigger" in note for note in source.notes)
            kind, _, note = choose_windows(source)
            assert (kind, note) == ("frames", "")
    plain = write_bag(tmp_path / "plain.bag", with_topics(event_messages(random_events(300)), frames(5)))
    with pytest.raises(RecordingError, match=r"plain\.bag: no rising triggers that expose its 5 frames"):
        open_recording(plain, frame_times="rising")


def test_commands_compare_frames_with_the_events_of_their_exposure(tmp_path):
    rows, truth = rig(1)
    path = write_bag(tmp_path / "rig", rows, "mcap")
    cista("convert", path, tmp_path / "out.bag", "--events", "dvs_msgs", "--frame-times", "rising")
    with open_recording(tmp_path / "out.bag") as converted:
        assert converted.frame_stamps().tolist() == list(truth)
    images = cista(
        "reconstruct",
        path,
        "-o",
        tmp_path / "images",
        "--weights=cista-tc-small",
        "--end=0.3",
        "--frame-times",
        "rising",
        "--json",
    )
    assert json.loads(images)["windows"] == "frames"
    rows = (tmp_path / "images" / "frames.csv").read_text().splitlines()[1:]
    assert len(rows) > 3 and {int(row.split(",")[1]) for row in rows} <= set(truth)
    options = ["evaluate", path, "-o", tmp_path / "scores", "--weights=cista-tc-small", "--no-figures"]
    assert "none of its frames lies within the time of its events" in cista(*options, code=2)
    scores = json.loads(cista(*options, "--frame-times", "rising", "--json"))
    assert [one["frames"] > 10 for one in scores["sequences"]] == [True] and not scores["failures"]


def test_frames_that_the_triggers_do_not_trigger_are_not_paired(tmp_path):
    rows, truth = rig(seconds=1)
    others = [(m.stamp, "/dvs/image_raw", m) for m in frames(23, period=43_210_987)]
    path = write_bag(
        tmp_path / "rig", sorted([r for r in rows if "image" not in r[1]] + others, key=lambda r: r[0]), "mcap"
    )
    windows, note = windows_of(path, event_time="sensor")
    assert [w.stamp for w in windows] == list(truth)
    assert "do not trigger the frames of /dvs/image_raw" in note


def test_missing_triggers_are_an_error_that_tells_which_there_are(tmp_path):
    rows, _ = rig(seconds=1)
    path = write_bag(tmp_path / "rig", rows, "mcap")
    plain = write_bag(tmp_path / "plain.bag", with_topics(event_messages(random_events(300))))
    for where, options, said in (
        (
            path,
            {"trigger_input": 2},
            "no rising triggers on input 2; there are 25 falling on input 0, 25 rising on input 0",
        ),
        (plain, {"edge": "both"}, "no triggers; there are none at all"),
        (path, {"start": 0.01, "end": 0.02}, "no triggers from 0.01 s to 0.02 s"),
    ):
        with pytest.raises(RecordingError, match=f"{where}: {said}"):
            windows_of(where, **options)


def test_sync_reports_delay_spread_drift_and_what_is_missing(tmp_path):
    rows, truth = rig(14, 25, 31 * MS, 200_000, 50e-6, missed_pulses=(40, 41, 300), missed_frames=(100, 250))
    path = write_bag(tmp_path / "rig", rows, "mcap")
    report = json.loads(cista("sync", path, "--event-time", "sensor", "--json", "--plot", tmp_path / "delay.png"))
    assert (tmp_path / "delay.png").read_bytes().startswith(b"\x89PNG")
    rising, falling = report["triggers"]
    assert (report["frames"], rising["count"], rising["missed_pulses"]) == (348, 347, 3)
    assert (rising["pairs"], rising["frames_without_trigger"], rising["triggers_without_frame"]) == (345, 3, 2)
    offsets = np.array(list(truth.values())) - np.array(list(truth))
    assert rising["delay_s"] == pytest.approx(np.median(offsets) / NS, abs=1e-9)
    slope = np.polyfit(np.array(list(truth)) / NS, (offsets - offsets[0]) / NS, 1)[0]
    assert rising["drift_ppm"] == pytest.approx(1e6 * slope, rel=1e-6) and 42 < rising["drift_ppm"] < 58
    assert rising["spread_s"] == pytest.approx(200e-6, rel=0.1)
    assert falling["delay_s"] == pytest.approx(rising["delay_s"] - 0.005, abs=1e-9)


def test_sync_on_one_clock_tells_the_delay_for_the_node(tmp_path):
    path = write_bag(tmp_path / "rig", rig(5, delay=31 * MS)[0], "mcap")
    assert "--windows trigger --edge rising --trigger-input 0 (node: trigger_delay: 0.03" in cista("sync", path)
    plain = write_bag(tmp_path / "plain.bag", with_topics(event_messages(random_events(300))))
    done = CliRunner().invoke(app, ["sync", str(plain), "--plot", str(tmp_path / "delay.png")])
    assert "Triggers: 0" in done.stdout and "delay.png is not written" in done.stderr


@given(st.data(), st.integers(2, 60), st.floats(-0.4, 0.4), st.sampled_from([0, 10**15]))
def test_pairs_are_found_in_any_order_of_arrival(data, count, delay, clocks):
    """Each frame stands within 0.4 periods of its trigger, less what is expected."""
    period = 40 * MS
    triggers = T0 + np.arange(count) * period
    stamps = triggers + clocks + round(delay * period)
    lost = data.draw(st.sets(st.integers(1, count - 1)))
    pairs = TriggerPairs(clocks)
    order = [("t", i) for i in range(count)] + [("f", i) for i in range(count) if i not in lost]
    shift = data.draw(st.integers(-MAX_FRAMES + 1, 300))  # frames come this many frames later
    for kind, i in sorted(order, key=lambda item: item[1] + (shift + 0.5 if item[0] == "f" else 0)):
        pairs.add_trigger(int(triggers[i])) if kind == "t" else pairs.add_frame(int(stamps[i]))
    assert pairs.frame_stamps == {int(triggers[i]): int(stamps[i]) for i in range(count) if i not in lost}
    assert pairs.unpaired_frames == 0


def test_frames_and_triggers_without_partner_do_not_gather_without_end(monkeypatch):
    monkeypatch.setattr("cista_ros.trigger_pairs.MAX_TRIGGERS", 20)
    pairs = TriggerPairs()
    for i in range(500):
        assert pairs.add_frame(T0 + i) == []
        pairs.add_trigger(i * MS)
    assert pairs.unpaired_frames == 400
    for i in range(500, 1000):
        assert pairs.add_trigger(i * MS) + pairs.add_frame(i * MS) == [i * MS]
    assert len(pairs.frame_stamps) == 20


@pytest.mark.parametrize(("clock", "count", "pauses"), [(0, 30_000, False), (T0, 400, True)])
def test_the_delay_is_found_whatever_is_missing(clock, count, pauses):
    """On one clock whose drift exceeds the period, or between clocks if the pulses pause: else no one could tell."""
    rng = np.random.default_rng(3)
    steps = np.where(rng.random(count) < 0.03, 7, 1) if pauses else np.ones(count, np.int64)
    rises = T0 + np.cumsum(steps) * 40 * MS
    stamps = rises + clock + np.rint((rises - T0) * 60e-6).astype(np.int64) + 25 * MS + rng.integers(-MS, MS, count)
    has_frame, has_trigger = rng.random(count) > 0.02, rng.random(count) > 0.02
    has_trigger[:30] = False
    found = pair(rises[has_trigger], stamps[has_frame])
    both = has_frame & has_trigger
    np.testing.assert_array_equal(found.triggers, rises[both])
    np.testing.assert_array_equal(found.frames, stamps[both])
    assert found.plausible and found.drift == pytest.approx(60e-6, abs=10e-6)


def test_regular_pairs_on_one_clock_have_a_delay_below_a_period():
    rises = T0 + np.arange(100) * 40 * MS
    for delay in (-3 * MS, 0, 34 * MS):
        found = pair(rises[1:], rises[:-1] + delay)
        assert np.all(found.delays == delay) and found.lone_triggers == found.lone_frames == 0
        assert sorted(round(other / MS) for other in found.other_delays)[0] < 0


@pytest.mark.parametrize("bounce", [0, 1000])
def test_pulses_that_come_twice_are_paired_within_seconds_or_not_at_all(bounce):
    """Two inputs have the same pulses, or one bounces; 1 us later is no period."""
    rises = T0 + np.arange(400) * 40 * MS
    stamps = rises + 5 * MS + np.random.default_rng(1).integers(-MS, MS, 400)
    found = pair(np.concatenate([rises, rises + bounce]), stamps)
    assert (found.plausible, len(found.triggers) == 400) == (not bounce, not bounce)


def test_pulses_that_are_missing_are_counted_by_their_gaps():
    rises = np.delete(np.arange(50) * 40 * MS, [5, 20, 21])
    assert [missed_pulses(rises), missed_pulses(rises[:1]), missed_pulses(rises[:0])] == [3, 0, 0]
    assert not pair(rises[:1], rises).plausible and not pair(rises, rises[:0]).plausible


def test_triggers_are_selected_by_edge_and_input():
    triggers = np.array([(1, 0, True), (2, 0, False), (3, 1, True)], TRIGGER_DTYPE)
    assert [trigger_times(triggers, edge).tolist() for edge in ("rising", "falling", "both")] == [
        [1, 3],
        [2],
        [1, 2, 3],
    ]
    assert trigger_times(triggers, "both", 0).tolist() == [1, 2]
