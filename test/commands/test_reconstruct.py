from __future__ import annotations

import csv
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from helpers import reference
from recordings import makers

from cista_ros.commands.frame_folder import FrameFolder
from cista_ros.events import concatenate, make_events
from cista_ros.recordings import open_recording
from cista_ros.wire.ros_types import EventMessage, ImageMessage

H, W, T0 = 20, 24, 1_700_000_000_000_000_000
MS = 1_000_000


def make_stream(n=2000, seconds=0.2, seed=0):
    rng = np.random.default_rng(seed)
    t = T0 + np.sort(rng.integers(0, round(seconds * 1e9), n))
    return make_events(rng.integers(0, W, n), rng.integers(0, H, n), t, rng.integers(0, 2, n))


def write_bag(path, events, frame_every_ms=40, seconds=0.2, height=H, width=W, clock=0):
    """A ROS 1 bag as the Event Camera Dataset has them: events in messages of 10 ms, frames beside them.

    The events' clock is `clock` nanoseconds before the host's.
    """
    rows = []
    cell = (events["t"] - T0) // (10 * MS)
    for k in np.unique(cell):
        part = events[cell == k]
        part["t"] += clock
        end = T0 + int(k + 1) * 10 * MS
        rows.append((end, "/dvs/events", EventMessage(end, "", height, width, part)))
    for ms in range(0, round(seconds * 1000), frame_every_ms) if frame_every_ms else ():
        stamp = T0 + ms * MS
        image = ImageMessage(stamp, "", "mono8", np.full((height, width), ms, np.uint8))
        rows.append((stamp, "/dvs/image_raw", image))
    return makers.write_bag(path, sorted(rows, key=lambda row: row[0]))


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "made.bag", make_stream())


def write_messages(path, messages):
    """Write a ROS 1 bag with (received, EventMessage) on /dvs/events."""
    return makers.write_bag(path, [(received, "/dvs/events", message) for received, message in messages])


@pytest.fixture
def reconstruct(cista):
    return partial(cista, "reconstruct")


def rows(out):
    with (Path(out) / "frames.csv").open() as file:
        return list(csv.DictReader(file))


def test_one_image_for_each_camera_frame_that_new_events_precede(reconstruct, tmp_path, bag, weights):
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--npz", "--json")
    assert done.code == 0, done.err
    events, stamps = make_stream(), T0 + np.arange(0, 200, 40) * MS
    edges = np.searchsorted(events["t"], stamps, "right")
    table = rows(tmp_path / "out")
    assert [int(row["stamp_ns"]) for row in table] == stamps[1:].tolist(), "no event precedes the first frame"
    assert [int(row["events"]) for row in table] == np.diff(edges).tolist()
    assert [int(row["steps"]) for row in table] == [round(n / 167) for n in np.diff(edges)]
    floats = np.load(tmp_path / "out" / "frames.npz")
    assert floats["image"].dtype == np.float32
    assert floats["image"].shape == (4, H, W)
    assert floats["stamp"].tolist() == stamps[1:].tolist()
    summary = json.loads(done.out)
    assert summary["images"] == 4
    assert summary["events"]["received"] == len(events)
    assert summary["events"]["used"] == edges[-1]
    assert summary["events"]["in_no_window"] == len(events) - edges[-1]


def test_pictures_are_the_tone_mapped_floats_and_the_video_shows_them(reconstruct, tmp_path, bag, weights):
    video = tmp_path / "v.mp4"
    done = reconstruct(bag, "-o", tmp_path / "o", "--weights", weights, "--npz", "--tone-map", "none", "--video", video)
    assert done.code == 0, done.err
    floats = np.load(tmp_path / "o" / "frames.npz")["image"]
    pictures = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((tmp_path / "o" / "frames").glob("*.png"))]
    assert [p.name for p in sorted((tmp_path / "o" / "frames").iterdir())] == [f"{i:08d}.png" for i in range(4)]
    np.testing.assert_array_equal(np.stack(pictures), np.rint(floats * 255))
    with av.open(str(video)) as file:
        assert [round(float(f.time), 3) for f in file.decode(video=0)] == [0, 0.04, 0.08, 0.12]


def test_recording_and_released_weights_give_the_images_of_an_independent_computation(
    reconstruct, tmp_path, bag_and_weights
):
    recording_bag, released_weights = bag_and_weights
    done = reconstruct(recording_bag, "-o", tmp_path, "--weights", released_weights, "--windows", "frames", "--npz")
    assert done.code == 0, done.err
    floats = np.load(tmp_path / "frames.npz")
    with open_recording(recording_bag) as recording:
        stamps = recording.frame_stamps()
        events = concatenate([r.message.events for r in recording.read(frames=False, camera_info=False)])
    network = reference.ReferenceCistaTC(
        torch.load(released_weights, map_location="cpu", weights_only=True)["state_dict"]
    )
    begin, expected, expected_stamps = 0, [], []
    for stamp in stamps:
        end = int(np.searchsorted(events["t"], stamp, "right"))
        if end > begin:
            part = events[begin:end]
            grid = reference.voxel_grid(part["x"], part["y"], part["t"], part["p"], 180, 240)
            expected.append(network.step(grid))
            expected_stamps.append(stamp)
            begin = end
    assert floats["stamp"].tolist() == expected_stamps
    np.testing.assert_allclose(floats["image"], np.stack(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--windows", "count", "--count", "500"), [500] * 4),
        (("--count", "500"), [500] * 4),
        (("--windows", "period", "--period", "0.05"), None),
        (("--windows", "adaptive", "--events-per-pixel", "1"), None),
        (("--windows", "count", "--count", "150", "--start", "0.05", "--end", "0.1"), None),
    ],
)
def test_other_windows_bear_their_last_events_time(reconstruct, tmp_path, bag, weights, options, expected):
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, *options)
    assert done.code == 0, done.err
    table, events = rows(tmp_path / "out"), make_stream()
    counts = [int(row["events"]) for row in table]
    if "--start" in options:
        # The recording begins with its first frame, at T0.
        events = events[(events["t"] >= T0 + 50 * MS) & (events["t"] < T0 + 100 * MS)]
    assert sum(counts) == len(events)
    assert [int(row["stamp_ns"]) for row in table] == events["t"][np.cumsum(counts) - 1].tolist()
    if expected:
        assert counts == expected


def test_without_frames_a_recording_is_cut_by_period_and_frames_are_refused(reconstruct, tmp_path, weights):
    bag = write_bag(tmp_path / "b.bag", make_stream(), frame_every_ms=0)
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--json")
    assert json.loads(done.out)["windows"] == "period"
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--windows", "frames")
    assert done.code == 2
    assert "no camera frames; use --windows period, count or adaptive" in done.err
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--frame-times", "rising")
    assert done.code == 2 and "no camera frames, so none whose times" in done.err


def test_frames_on_another_clock_than_the_events_do_not_make_one_window_of_everything(reconstruct, tmp_path, weights):
    for clock in (3600 * 10**9, -3600 * 10**9):
        bag = write_bag(tmp_path / f"{clock}.bag", make_stream(), clock=clock)
        done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--json")
        summary = json.loads(done.out)
        assert (summary["windows"], summary["events"]["used"]) == ("period", 2000)
        assert "none of the 5 frames of /dvs/image_raw lies within the time of the events: period windows" in " ".join(
            done.err.split()
        )
        done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--windows", "frames")
        assert done.code == 2 and "none of the 5 frames" in done.err


def test_a_video_that_cannot_be_written_leaves_the_earlier_frames_and_nothing_else(reconstruct, tmp_path, bag, weights):
    common = bag, "--weights", weights, "--npz", "--video"
    reconstruct(*common, tmp_path / "new" / "v.mp4", "-o", tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    assert tmp_path / "new" / "v.mp4" in before, "its folder is made"
    for out in ("out", "none"):
        done = reconstruct(*common, bag / "v.mp4", "-o", tmp_path / out)
        assert done.code == 2 and "made.bag: not a folder" in done.err
        assert sorted(tmp_path.rglob("*")) == before


def test_the_command_works_in_a_process_of_its_own(tmp_path, bag, weights):
    words = "reconstruct", bag, "-o", tmp_path, "--weights", weights
    command = [sys.executable, "-m", "cista_ros.commands.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "4 images" in done.stderr
    assert len(rows(tmp_path)) == 4


def test_frames_of_an_earlier_run_do_not_stay(reconstruct, tmp_path, bag, weights):
    out = tmp_path / "out"
    reconstruct(bag, "-o", out, "--weights", weights, "--windows", "count", "--count", "100", "--npz")
    (out / "frames" / "mine.png").write_bytes(b"")
    reconstruct(bag, "-o", out, "--weights", weights)
    assert len(list((out / "frames").glob("0*.png"))) == 4
    assert (out / "frames" / "mine.png").exists(), "what is not ours stays"
    assert not (out / "frames.npz").exists()


def test_auto_says_what_it_chose_and_shows_what_the_reference_shows(reconstruct, tmp_path, bag, weights):
    for runtime in ("auto", "eager"):
        options = ("--npz", "--json", "--runtime", runtime, "--precision", "fp32")
        done = reconstruct(bag, "-o", tmp_path / runtime, "--weights", weights, *options)
        assert done.code == 0, done.err
        chosen = json.loads(done.out)["runtime"]
        assert chosen == "eager" if runtime == "eager" else chosen in ("winograd", "fused")  # without a compiler
        assert f"runtime {chosen} fp32" in done.err
    one, other = (np.load(tmp_path / runtime / "frames.npz")["image"] for runtime in ("auto", "eager"))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_downscaled_pictures_are_smaller(reconstruct, tmp_path, weights):
    events = make_stream()
    large = events.copy()
    large["x"], large["y"] = 3 * events["x"], 3 * events["y"]
    bag = write_bag(tmp_path / "large.bag", large, height=3 * H, width=3 * W)
    small = write_bag(tmp_path / "small.bag", events)
    common = "--weights", weights, "--npz", "--max-events", "500"
    assert reconstruct(bag, "-o", tmp_path / "a", "--downscale", "3", *common).code == 0
    assert reconstruct(small, "-o", tmp_path / "b", *common).code == 0
    a, b = (np.load(tmp_path / name / "frames.npz")["image"] for name in "ab")
    np.testing.assert_array_equal(a, b)
    assert cv2.imread(str(tmp_path / "a" / "frames" / "00000000.png")).shape == (H, W, 3)


def test_events_outside_the_sensor_and_time_going_back_are_counted_and_told(reconstruct, tmp_path, weights):
    events = make_stream()
    events["x"][5] = W
    events["t"][100:110] = events["t"][100:110][::-1]
    bag = write_bag(tmp_path / "b.bag", events)
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights)
    assert done.code == 0
    assert "1 outside sensor" in done.err.replace("\n", "")


def test_a_sensor_that_changes_its_size_is_an_error_that_names_both(reconstruct, tmp_path, weights):
    store_bag = write_bag(tmp_path / "a.bag", make_stream())
    with open_recording(store_bag) as recording:
        data = [r for r in recording.read(frames=False)]
    changed = tmp_path / "b.bag"
    messages = []
    for i, item in enumerate(data):
        m = item.message
        messages.append((item.received, EventMessage(m.stamp, "", m.height + 2 * (i > 3), m.width, m.events)))
    write_messages(changed, messages)
    done = reconstruct(changed, "-o", tmp_path / "out", "--weights", weights)
    assert done.code == 2
    assert "/dvs/events changes from 24x20 to 24x22 pixels" in done.err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("nothing.bag",), "nothing.bag: no such file or folder"),
        (("{bag}", "--weights", "best"), "weights 'best': neither a file nor the name of shipped weights"),
        (
            ("{bag}", "--weights", "{bag}"),
            "not a weights file: neither .safetensors nor a torch checkpoint of plain weights (it is not a plain file",
        ),
        (("{bag}", "--device", "tpu"), "device 'tpu' is not one of auto, cpu, cuda, cuda:N"),
        (("{bag}", "--runtime", "warp"), "unknown runtime 'warp'"),
        (("{bag}", "--runtime", "cuda-graph", "--device", "cpu"), "needs a CUDA GPU, not cpu: use --device cuda"),
        (("{bag}", "--precision", "fp16", "--device", "cpu"), "no runtime supports fp16 on cpu"),
        (("{bag}", "--downscale", "2"), "downscale 2 is not possible on a 24x20 sensor"),
        (("{bag}", "--tone-map", "bright"), "'bright' is not one of"),
        (("{bag}", "--dask", "tcp://h:1"), "--dask: only for several recordings"),
        (("{bag}", "--windows", "seconds"), "'seconds' is not one of"),
        (
            ("{bag}", "--windows", "count", "--period", "0.1"),
            "option period: for windows of the kind period, not count",
        ),
        (("{bag}", "--count", "5", "--edge", "both"), "option edge: for windows of the kind trigger, not count"),
        (("{bag}", "--end", "inf"), "Invalid value for '--end': Input should be less than"),
        (("{bag}", "--max-gap", "1e300"), "Invalid value for '--max-gap': Input should be less than"),
        (("{bag}", "--period", "-1"), "Invalid value for '--period': Input should be greater than"),
        (("{bag}", "--events-topic", "/none"), "/none"),
        (("{bag}", "-o", "{bag}"), "made.bag"),
        (("{bag}", "--video", "{bag}/v.mp4"), "made.bag"),
        (("{bag}", "--video", "v.gif"), "v.gif: expected a name that ends in .mp4 or .m4v"),
        (("{bag}", "--video", "v"), "v: expected a name that ends in .mp4 or .m4v"),
    ],
)
def test_bad_input_ends_with_one_clear_line_and_exit_code_2(reconstruct, tmp_path, bag, weights, args, text):
    args = [a.replace("{bag}", str(bag)) for a in args]
    defaults = [] if "--weights" in args else ["--weights", weights]
    done = reconstruct(*args, *defaults, *([] if "-o" in args else ["-o", tmp_path / "out"]))
    (line,) = done.err.splitlines()
    assert done.code == 2 and text in line and "Traceback" not in line


def test_ctrl_c_is_told_and_leaves_no_video(reconstruct, tmp_path, bag, weights, monkeypatch):
    write = FrameFolder.write

    def interrupted(folder, *args):
        write(folder, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(FrameFolder, "write", interrupted)
    (tmp_path / "film").mkdir()
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--video", tmp_path / "film" / "v.mp4")
    assert done.code == 130 and done.err.splitlines()[-1] == "interrupted"
    assert "" not in done.err.splitlines()
    assert not list((tmp_path / "film").iterdir())


def test_images_at_given_times(reconstruct, tmp_path, weights):
    """Kalibr's recipe: the times of another camera's images, in nanoseconds or seconds, whatever frames there are."""
    bag, stamps = write_bag(tmp_path / "b.bag", make_stream()), T0 + np.array([30, 60, 61, 150]) * MS
    for name, text in (
        ("ns.csv", "# stamp\n" + "".join(f"{stamp},\n" for stamp in stamps)),
        ("s.txt", "".join(f"{stamp // 10**9}.{stamp % 10**9:09d}\n\n" for stamp in stamps)),
    ):
        (tmp_path / name).write_text(text)
        done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--stamps", tmp_path / name, "--json")
        assert done.code == 0, done.err
        assert [int(row["stamp_ns"]) for row in rows(tmp_path / "out")] == stamps.tolist()
        assert json.loads(done.out)["windows"] == "stamps"
    (tmp_path / "early.txt").write_text("0.1\n0.2\n")
    done = reconstruct(bag, "-o", tmp_path / "early", "--weights", weights, "--stamps", tmp_path / "early.txt")
    assert done.code == 2 and "the last stamp, 0.200000000 s, is before the first event" in done.err
    assert not (tmp_path / "early").exists()


@pytest.mark.parametrize(
    ("text", "stub"),
    [
        *((None, "no such file"), ("", "no time stamps"), ("5\nx\n", "line 2"), ("5\n4\n", "line 2: expected")),
        *((text, "line 1") for text in ("1e30", "1.0e999999", "1e999999999", "nan", "-inf")),
    ],
)
def test_bad_stamp_files_are_named(reconstruct, tmp_path, bag, weights, text, stub):
    path = tmp_path / "stamps.txt"
    if text is not None:
        path.write_text(text)
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--stamps", path)
    assert done.code == 2 and "stamps.txt" in done.err and stub in done.err


@pytest.mark.parametrize("frame_every_ms", [0, 20])
@pytest.mark.parametrize("kind", [None, "frames", "period"])
def test_a_selection_without_events_says_when_the_events_are(reconstruct, tmp_path, weights, frame_every_ms, kind):
    bag = write_bag(tmp_path / "b.bag", make_stream(), frame_every_ms=frame_every_ms)
    windows = ("--windows", kind) if kind else ()
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--start", "100", "--end", "110", *windows)
    (line,) = done.err.splitlines()
    assert done.code == 2 and "no events from 100 s to 110 s: the events are from 0.000 s to 0.200 s" in line
    assert not (tmp_path / "out").exists()


def test_an_end_at_a_frame_includes_it(reconstruct, tmp_path, bag, weights):
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--end", "0.08")
    assert done.code == 0, done.err
    assert [int(row["stamp_ns"]) for row in rows(tmp_path / "out")] == [T0 + 40 * MS, T0 + 80 * MS]


@pytest.mark.parametrize("messages", [4, 200])
def test_shuffled_events_stop_early(reconstruct, tmp_path, weights, messages):
    events = make_stream(20_000, 2.0)
    bag = tmp_path / "b.bag"
    parts = np.array_split(np.random.default_rng(0).permutation(events), messages)
    write_messages(bag, [(T0 + i * MS, EventMessage(T0 + i * MS, "", H, W, part)) for i, part in enumerate(parts)])
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights)
    assert done.code == 2 and "not in order of time" in " ".join(done.err.split())


def test_times_in_microseconds_are_warned_about(reconstruct, tmp_path, weights):
    events = make_stream()
    events["t"] = T0 + (events["t"] - T0) * 10**6
    bag = tmp_path / "b.bag"
    parts = np.array_split(events, 20)
    write_messages(bag, [(T0 + i * MS, EventMessage(T0 + i * MS, "", H, W, part)) for i, part in enumerate(parts)])
    done = reconstruct(bag, "-o", tmp_path / "out", "--weights", weights, "--windows", "count")
    assert "1e+06 times too large (microseconds read as seconds)" in " ".join(done.err.split())


def test_hot_pixels_are_reported_then_learned_then_read_from_the_file(reconstruct, tmp_path, weights):
    t = T0 + np.arange(0, 10**9, 50_000)
    hot = make_events(np.full(len(t), 3), np.full(len(t), 4), t, np.ones(len(t)))
    events = np.concatenate([make_stream(5000, 1.0), hot])
    bag = write_bag(tmp_path / "b.bag", events[np.argsort(events["t"], kind="stable")], frame_every_ms=0)
    common = bag, "-o", tmp_path / "out", "--weights", weights, "--json"
    done = reconstruct(*common)
    assert "1 hot pixels" in done.err and "--hot-pixel-mask" in done.err
    done = reconstruct(*common, "--hot-pixel-mask", "learn", "--noise-filter", "activity")
    learned = json.loads(done.out)["events"]
    assert learned["hot"] > 14_000 and learned["noise"] > 0 and "hot pixels" not in done.err
    assert (tmp_path / "out" / "hot_pixels.txt").read_text().splitlines()[1:] == ["3 4"]
    done = reconstruct(*common, "--hot-pixel-mask", tmp_path / "out" / "hot_pixels.txt")
    assert json.loads(done.out)["events"]["hot"] >= 20_000
    done = reconstruct(*common, "--hot-pixel-mask", tmp_path / "none.png")
    assert done.code == 2 and "none.png" in done.err
