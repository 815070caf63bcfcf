from __future__ import annotations

import av
import numpy as np
import pytest

from cista_ros.util.video import VideoWriter


def read(path):
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [float(f.time) for f in frames], [f.to_ndarray(format="gray") for f in frames]


def test_pictures_come_back_at_their_own_times(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 48, dtype=np.uint8), (32, 1))
    stamps = [10**18, 10**18 + 20_000_000, 10**18 + 120_000_000]
    with VideoWriter(tmp_path / "a.mp4", 32, 48) as video:
        for stamp, image in zip(stamps, (ramp, ramp[:, ::-1], ramp), strict=True):
            video.write(np.ascontiguousarray(image), stamp)
    times, images = read(tmp_path / "a.mp4")
    assert times == pytest.approx([0, 0.02, 0.12], abs=1e-4)
    assert np.abs(images[0].astype(int) - ramp).mean() < 4
    assert np.abs(images[1].astype(int) - ramp[:, ::-1]).mean() < 4


def test_odd_sizes_and_stamps_that_go_back_are_no_trouble(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 33, 47) as video:
        for stamp in (1_000_000_000, 0, 0):
            video.write(np.zeros((33, 47), np.uint8), stamp)
    times, images = read(tmp_path / "a.mp4")
    assert times == sorted(set(times))
    assert images[0].shape == (34, 48)


def test_a_video_without_pictures_is_closed_without_error(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 32, 48):
        pass


def test_a_pause_of_hours_is_shortened(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 32, 48) as video:
        for stamp in (0, 7 * 3600 * 10**9, 400 * 365 * 24 * 3600 * 10**9 // 2):
            video.write(np.zeros((32, 48), np.uint8), stamp)
    with av.open(str(tmp_path / "v.mp4")) as file:
        assert [float(frame.time) for frame in file.decode(video=0)] == [0, 10, 20]
