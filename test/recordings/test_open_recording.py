"""Telling formats apart, and saying which are read."""

import subprocess
import sys

import pytest

from cista_ros.errors import CistaError, RecordingError
from cista_ros.recordings import open_recording

READ = "a ROS 1 bag (.bag), a rosbag2 (its folder, .mcap or .db3), or ECD text (a folder with events.txt, or its .zip)"


def error_of(path):
    with pytest.raises(RecordingError) as caught:
        open_recording(path)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["a.bag", "folder", "a.zip", "a.mcap"])
def test_a_path_that_does_not_exist(tmp_path, name):
    assert error_of(tmp_path / name) == f"no such file or folder; expected {READ}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.raw", "files named *.raw are not read"),
        ("a", "not a format that is read"),
        ("events.txt", "a text file (to read ECD text, give the folder that holds events.txt)"),
        ("a.bag.active", "a ROS 1 bag that was never closed (run `rosbag reindex` on it and rename it to .bag)"),
    ],
)
def test_a_file_of_another_format(tmp_path, name, expected):
    (tmp_path / name).write_bytes(b"")
    assert error_of(tmp_path / name) == f"{expected}; expected {READ}"


def test_a_folder_of_something_else(tmp_path):
    expected = "a folder with neither metadata.yaml (rosbag2) nor events.txt (ECD text)"
    assert error_of(tmp_path) == f"{expected}; expected {READ}"


def test_a_rosbag2_folder_without_metadata(tmp_path):
    (tmp_path / "a_0.mcap").write_bytes(b"")
    expected = "a rosbag2 folder without metadata.yaml (run `ros2 bag reindex` on it, or give the file inside)"
    assert error_of(tmp_path) == f"{expected}; expected {READ}"


def test_is_an_error_of_ours(tmp_path):
    with pytest.raises(CistaError):
        open_recording(str(tmp_path / "nothing"))


def test_formats_are_imported_only_when_needed():
    code = "import sys, cista_ros.recordings; print(sorted({'rosbags', 'cv2', 'torch', 'rclpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
