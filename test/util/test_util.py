"""Threads, drawing and video."""

from __future__ import annotations

import os
import subprocess
import sys

import av
import numpy as np
import pytest

from cista_ros.errors import MissingPackageError
from cista_ros.events import make_events, no_events
from cista_ros.util.drawing import BRIGHTER, DARKER, contact_sheet, draw_activity, draw_events
from cista_ros.util.threads import wait_without_spinning
from cista_ros.util.video import VideoWriter


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_omp_wait_policy_is_set(monkeypatch, set_by_user, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_by_user)
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == expected


@pytest.mark.parametrize("program", ["cista_ros.commands.main", "cista_ros.node.programs"])
def test_programs_set_the_policy_before_they_import_torch(program):
    if program.startswith("cista_ros.node"):
        pytest.importorskip("rclpy")
    check = f"import sys, {program}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_pixels_have_the_colour_of_most_of_their_events():
    image = draw_events(make_events([1, 1, 2, 3, 3], [0, 0, 0, 1, 1], range(5), [1, 1, 0, 1, 0]), 2, 4)
    assert tuple(image[0, 1]) == BRIGHTER
    assert tuple(image[0, 2]) == DARKER
    assert image[1, 3].tolist() == [255] * 3, "one brighter and one darker: nothing"
    assert (draw_events(no_events(), 2, 4) == 255).all()


def test_each_activity_has_its_own_scale():
    activity = np.arange(200, dtype=np.float32).reshape(10, 20)
    shown = draw_activity(activity)
    assert (shown.dtype, shown.shape, shown[0, 0]) == (np.uint8, (10, 20), 0)
    assert (shown.ravel()[activity.ravel() >= np.percentile(activity, 99)] == 255).all() and shown[5, 5] == 136
    assert np.array_equal(shown, draw_activity(1000 * activity))
    assert not draw_activity(np.zeros((3, 4), np.float32)).any()
    few = np.zeros((20, 20), np.float32)
    few[3, 5] = 0.1
    assert (draw_activity(few) == 255).sum() == 1


def test_a_contact_sheet_shows_all_images_in_a_grid():
    images = [np.full((20, 30), value, np.uint8) for value in range(10, 60, 10)]
    sheet = contact_sheet([[image, image] for image in images], [f"{i}" for i in range(5)], columns=2)
    panel_height, panel_width = 20 + 6 + 22, 2 * (30 + 6)
    assert sheet.shape == (3 * panel_height, 2 * panel_width, 3)
    for value in range(10, 60, 10):
        assert (sheet == value).all(2).sum() >= 2 * 20 * 30


def read(path):
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [float(f.time) for f in frames], [f.to_ndarray(format="gray") for f in frames]


def test_a_video_has_the_images_at_their_times(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 48, dtype=np.uint8), (32, 1))
    stamps = [10**18, 10**18 + 20_000_000, 10**18 + 120_000_000]
    with VideoWriter(tmp_path / "a.mp4", 32, 48) as video:
        for stamp, image in zip(stamps, (ramp, ramp[:, ::-1], ramp), strict=True):
            video.write(np.ascontiguousarray(image), stamp)
    times, images = read(tmp_path / "a.mp4")
    assert times == pytest.approx([0, 0.02, 0.12], abs=1e-4)
    assert np.abs(images[0].astype(int) - ramp).mean() < 4
    assert np.abs(images[1].astype(int) - ramp[:, ::-1]).mean() < 4


def test_odd_sizes_and_stamps_that_go_back_are_written(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 33, 47) as video:
        for stamp in (1_000_000_000, 0, 0):
            video.write(np.zeros((33, 47), np.uint8), stamp)
    times, images = read(tmp_path / "a.mp4")
    assert times == sorted(set(times))
    assert images[0].shape == (34, 48)


def test_a_video_without_images_leaves_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 32, 48):
        pass
    assert not list(tmp_path.iterdir())


def test_a_pyav_without_h264_is_named_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", frozenset({"mpeg4"}))
    with pytest.raises(MissingPackageError, match=rf"{tmp_path}/a.mp4: .*libx264"):
        VideoWriter(tmp_path / "a.mp4", 32, 48)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_video_is_not_left_and_an_earlier_one_stays(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 32, 48) as video:
        video.write(np.zeros((32, 48), np.uint8), 0)
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"] and path.read_bytes() == b"earlier"


def test_a_pause_of_hours_is_shortened(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 32, 48) as video:
        for stamp in (0, 7 * 3600 * 10**9, 400 * 365 * 24 * 3600 * 10**9 // 2):
            video.write(np.zeros((32, 48), np.uint8), stamp)
    with av.open(str(tmp_path / "v.mp4")) as file:
        assert [float(frame.time) for frame in file.decode(video=0)] == [0, 10, 20]
