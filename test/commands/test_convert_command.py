"""`cista convert`: what it says and how it ends."""

import json
from functools import partial

import numpy as np
import pytest
from recordings.makers import event_messages, random_events, with_topics, write_bag

from cista_ros.commands.convert import describe
from cista_ros.events import make_events
from cista_ros.recordings import open_recording
from cista_ros.recordings.write import write_recording
from cista_ros.wire.ros_types import EventMessage


@pytest.fixture
def convert(cista):
    return partial(cista, "convert")


def test_converts_by_the_outputs_name_and_tells_what_was_written(convert, recording_bag, tmp_path):
    done = convert(recording_bag, tmp_path / "out.mcap", "--events", "mono", "--metadata-version", 9, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    with open_recording(recording_bag) as recording:
        events = sum(len(r.message.events) for r in recording.read(frames=False, camera_info=False))
    assert (summary["format"], summary["events"], summary["images"]) == ("ros2-mcap", events, 5)
    assert summary["left_out_topics"] == []
    with open_recording(recording_bag) as one, open_recording(tmp_path / "out.mcap") as other:
        assert other.events_type == "event_camera_msgs/msg/EventPacket"
        for a, b in zip(one.read(camera_info=False), other.read(camera_info=False), strict=True):
            assert (a.topic, a.received) == (b.topic, b.received)
            for name in ("events", "image"):
                if hasattr(a.message, name):
                    np.testing.assert_array_equal(getattr(a.message, name), getattr(b.message, name))


def test_names_a_folder_as_one_and_uses_singular_and_plural():
    counts = {"events": 2, "images": 1, "camera_infos": 0, "seconds": 1.0, "events_per_second": 2e6, "notes": []}
    for format, output, said in ("ros2-mcap", "e.mcap", "e.mcap (a rosbag2 folder)"), ("ros1", "e.bag", "e.bag"):
        assert describe(counts | {"format": format, "output": output}) == [
            f"2 events, 1 image and 0 camera infos in 1.0 s (2.0 million events/s): {said}"
        ]


def test_bad_input_ends_with_code_2_and_one_line_and_nothing_written(convert, tmp_path):
    bag = write_bag(tmp_path / "in.bag", with_topics(event_messages(random_events(300))))
    there = tmp_path / "there.bag"
    there.write_text("precious")
    for arguments, said in (
        ((tmp_path / "none.bag", tmp_path / "out"), "none.bag: no such file or folder"),
        ((bag, there), "there.bag: already exists"),
        ((bag, tmp_path / "nodir" / "x.bag"), "nodir: no such folder"),
        ((bag, tmp_path / "out", "--format", "ros1"), "out: the name of a ROS 1 bag must end in .bag"),
        ((bag, tmp_path / "out.zip", "--format", "ros2"), "out.zip: *.zip is the name of ECD text, not of ros2"),
        ((bag, tmp_path / "out.foo"), "no format has the suffix .foo; expected .bag (ros1)"),
        ((bag, tmp_path / "out", "--events", "evt3"), "evt3's time begins between 0 and 16.8 s"),
    ):
        done = convert(*arguments)
        assert done.code == 2
        assert said in done.err.splitlines()[-1]
    assert there.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bag", "there.bag"]


def test_several_recordings_are_converted_into_a_folder_and_existing_outputs_are_kept(convert, tmp_path):
    for name in "ab":
        write_bag(tmp_path / f"{name}.bag", with_topics(event_messages(random_events(300))))
    (tmp_path / "bad.bag").write_bytes(b"no bag")
    done = convert(tmp_path / "a.bag", tmp_path / "b.bag", tmp_path / "out.mcap")
    assert done.code == 2 and "out.mcap: several recordings need a folder" in done.err
    command = tmp_path, tmp_path / "out", "--format", "hdf5", "--lossy", "--json", "--jobs"
    done = convert(*command, 2)
    assert done.code == 1 and done.err.count("bad.bag: ") == done.err.count("failed: bad: ") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.h5", "b.h5"}
    said = json.loads(done.out)
    assert [summary["events"] for summary in said["recordings"].values()] == [300, 300]
    (tmp_path / "worse.bag").write_bytes(b"no bag")
    assert convert(tmp_path / "bad.bag", tmp_path / "worse.bag", tmp_path / "none").code == 2, "all fail"
    (tmp_path / "worse.bag").unlink()
    (tmp_path / "bad.bag").unlink()
    (tmp_path / "out" / "b.h5").unlink()
    written = (tmp_path / "out" / "a.h5").stat().st_mtime_ns
    done = convert(*command, 1)
    assert done.code == 0 and (tmp_path / "out" / "b.h5").is_file()
    assert (tmp_path / "out" / "a.h5").stat().st_mtime_ns == written
    assert json.loads(done.out)["recordings"]["a"]["finished_before"]


def test_frames_can_be_omitted(convert, sample_bag, tmp_path):
    done = convert(sample_bag, tmp_path / "out.bag", "--no-frames", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["images"] == summary["camera_infos"] == 0 < summary["events"]
    assert "/dvs/image_raw" in summary["left_out_topics"]
    with open_recording(tmp_path / "out.bag") as recording:
        assert recording.frames_topic is None and not len(recording.frame_stamps())


def test_times_in_microseconds_are_warned_about(convert, tmp_path):
    t = np.arange(1500) * 50 * 10**9  # 20 000 events per second, read as seconds
    x, y, p = np.arange(1500) % 240, np.arange(1500) % 180, np.arange(1500) % 2
    with write_recording(tmp_path / "in.bag", "ros1") as writer:
        for i, part in enumerate(np.array_split(make_events(x, y, t, p), 10)):
            message = EventMessage(int(part["t"][-1]), "", 180, 240, part)
            writer.write(i * 10**9, message)
    done = convert(tmp_path / "in.bag", tmp_path / "out.bag")
    assert done.code == 0, done.err
    assert "microseconds read as seconds" in " ".join(done.err.split())
