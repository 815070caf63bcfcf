"""Formats are detected by content."""

import re
import subprocess
import sys

import numpy as np
import pytest
from recordings.makers import error_of, event_messages, random_events, with_topics, write_any, write_bag

from cista_ros.errors import RecordingError
from cista_ros.recordings import find_recordings, open_recording


@pytest.mark.parametrize("name", ["a.bag", "folder", "a.zip", "a.mcap"])
def test_a_missing_path_is_an_error(tmp_path, name):
    assert error_of(tmp_path / name) == "no such file or folder"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.xyz", b"\x07\x08", "unknown format"),
        ("a", b"\x07\x08", "unknown format"),
        *((name, b"", "the file is empty") for name in ("a", "a.bag", "a.mcap", "a.h5", "a.npy", "a.aedat4", "a.txt")),
        ("a.raw", b"version https://git-lfs.github.com/spec/v1\noid sha256:140ed9\n", "run `git lfs pull`"),
        ("a.bag.active", b"#ROSBA", "never closed"),
        ("a.mcap", b"hello", "cannot be read as a bag"),
    ],
)
def test_a_file_of_no_known_format_is_an_error(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert expected in error_of(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"time_unit": "h"}, "time_unit 'h'; expected one of s, ms, us, ns"),
        ({"event_time": "camera"}, "event_time 'camera'; expected one of sensor, host"),
        *(({"columns": order}, f"columns '{order}'; expected t, x, y and p") for order in ("txy", "txypp", "abcd")),
        *(({"time_offset": float(offset)}, f"time offset {offset} s") for offset in ("nan", "1e+12", "-inf")),
    ],
)
def test_an_invalid_option_is_an_error(tmp_path, options, expected):
    with pytest.raises(RecordingError, match=re.escape(expected)):
        open_recording(tmp_path, **options)


def test_an_option_that_the_recording_does_not_use_is_an_error(tmp_path):
    bag, text = (write_any(tmp_path, kind, random_events(50)) for kind in ("ros1", "text"))
    assert "--time-unit is for text" in error_of(bag, time_unit="us")
    assert "--columns is for text" in error_of(bag, columns="txyp")
    np.savez(tmp_path / "a.npz", **dict.fromkeys("xytp", np.zeros(3)))
    assert "arrays whose columns have no names" in error_of(tmp_path / "a.npz", columns="txyp")
    open_recording(text, time_unit="s", columns="t, x y p").close()


def test_a_folder_of_something_else_is_an_error(tmp_path):
    assert "neither metadata.yaml (rosbag2) nor events.txt" in error_of(tmp_path)


def test_what_is_neither_a_file_nor_a_folder_is_an_error():
    assert "neither a file nor a folder; expected" in error_of("/dev/null")


def test_a_rosbag2_folder_without_metadata_is_an_error_that_names_the_tool(tmp_path):
    (tmp_path / "a_0.mcap").write_bytes(b"")
    assert "ros2 bag reindex" in error_of(tmp_path)


@pytest.mark.parametrize("kind", ["ros1"])
def test_the_content_of_a_file_decides_and_not_its_name(tmp_path, kind):
    events = random_events(50)
    path = write_bag(tmp_path / "bag", with_topics(event_messages(events, 2)), kind)
    with open_recording(path.rename(tmp_path / "recording")) as recording:
        assert sum(len(r.message.events) for r in recording.read()) == 50


def test_the_suffix_of_an_archive_may_be_upper_case(tmp_path):
    path = write_any(tmp_path, "zip", random_events(50))
    with open_recording(path.rename(tmp_path / "A.ZIP")) as recording:
        assert recording.first_event == random_events(50)["t"][0]


def test_formats_are_imported_only_when_needed():
    code = "import sys, cista_ros.recordings; print(sorted({'rosbags', 'cv2', 'torch', 'rclpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_recordings_in_folders_are_found_and_have_distinct_names(tmp_path):
    for name in ("a.bag", "a.raw", "x/left/events.h5", "x/right/events.h5", ".hidden/b.bag", "out/c.bag", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("3 May")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "events.txt").write_text("0.1 1 2 1\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_recordings([tmp_path], leave_out=tmp_path / "out")
    names = {"a.bag": "a.bag", "a.raw": "a.raw", "text": "text"}
    names |= {"left_events": "x/left/events.h5", "right_events": "x/right/events.h5"}
    assert found == {name: tmp_path / path for name, path in names.items()}
    for paths, text in (
        ([tmp_path / "out", tmp_path / "x" / ".." / "out" / "c.bag"], "c.bag: the recording is given twice"),
        ([tmp_path / "none"], "none: no such file or folder"),
    ):
        with pytest.raises(RecordingError, match=text):
            find_recordings(paths)
