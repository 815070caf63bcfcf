"""Scenes and clips before one camera, frame by frame (simulation/recording.py, clip.py)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from cista_ros.events import concatenate, in_order, inside
from cista_ros.simulation.pictures import PictureError, Pictures
from cista_ros.simulation.recording import MIDDLE_GREY, SRGB, Drive, clip_steps, open_clip, record, scene_steps
from cista_ros.simulation.scene import SceneConfig
from cista_ros.simulation.sequences import CameraConfig, SimulationConfig
from cista_ros.util.video import VideoWriter

SIZE = (32, 40)
QUIET = SimulationConfig(
    SceneConfig(haze=(0.0, 0.0), dark=(0.01, 0.01)),
    CameraConfig(
        threshold=(0.3, 0.3),
        asymmetry=1.0,
        threshold_spread=(0.0, 0.0),
        refractory_ms=(0.0, 0.0),
        bandwidth_hz=(1e9, 1e9),
        leak_hz=(0.0, 0.0),
        noise_hz=(1e-12, 1e-12),
        hot_pixels=(0.0, 0.0),
    ),
)


def simulated(seconds=0.4, fps=20.0, speed=80.0, seed=0, config=QUIET, pause=None):
    rng = np.random.default_rng(0)
    pictures = Pictures([rng.integers(0, 256, (20, 20)).astype(np.uint8).repeat(5, 0).repeat(5, 1) for _ in range(3)])
    generator = torch.Generator().manual_seed(seed)
    steps = scene_steps(pictures, config, SIZE, seconds, fps, Drive(speed, pause), generator)
    return list(record(steps, config, generator))


def test_frames_come_at_their_rate_and_events_lie_between_them():
    frames = simulated()
    assert [f.stamp for f in frames] == [i * 50_000_000 for i in range(9)]
    assert not len(frames[0].events) and all(len(f.events) > 50 for f in frames[1:])
    for before, frame in pairwise(frames):
        assert before.stamp <= frame.events["t"][0] and frame.events["t"][-1] <= frame.stamp
        assert frame.image.shape == SIZE and frame.image.dtype == np.float32
    events = concatenate([f.events for f in frames])
    assert in_order(events) and inside(events, *SIZE).all()


def test_events_tell_how_log_intensity_changed():
    frames = simulated()
    # A dark, linear frame is proportional to light, of which the mean brightness of the background is 1.
    plain = replace(QUIET, scene=replace(QUIET.scene, mean=(0.05, 0.05), response=(1.0, 1.0), objects=(0.0, 0.0)))
    frames = simulated(config=plain)
    events = concatenate([f.events for f in frames])
    total = np.zeros(SIZE)
    np.add.at(total, (events["y"], events["x"]), np.where(events["p"], 0.3, -0.3))
    change = np.log(frames[-1].image) - np.log(frames[0].image)
    bright = np.minimum(frames[0].image, frames[-1].image) > 0.01  # where the dark current does not matter
    assert bright.mean() > 0.3 and np.abs(total - change)[bright].max() < 0.3 + 0.1


def test_the_seed_decides():
    def events(seed):
        return concatenate([f.events for f in simulated(seed=seed)])

    assert np.array_equal(events(1), events(1))
    assert not np.array_equal(events(1), events(2))


def test_a_pause_is_silent():
    frames = simulated(seconds=2.0, pause=1.0)
    counts = [len(f.events) for f in frames[1:]]
    assert min(counts) == 0 < max(counts)


def test_noise_continues_in_a_pause():
    noisy = replace(QUIET, camera=replace(QUIET.camera, noise_hz=(50.0, 50.0)))
    frames = simulated(seconds=2.0, pause=1.0, config=noisy)
    counts = np.array([len(f.events) for f in frames[1:]])
    assert counts.min() > 0.5 * 50 * 0.05 * SIZE[0] * SIZE[1]


def test_a_clip_that_brightens_fires_at_the_exact_times():
    # Log intensity rises in a straight line from frame to frame only to the accuracy of 8 bits: ask the frames.
    stamps = [10_000_000 * i for i in range(11)]
    frames = [(stamp, np.full((16, 16), 25 + 20 * i, np.uint8)) for i, stamp in enumerate(stamps)]
    made = list(record(clip_steps(frames, QUIET, fps=20), QUIET, torch.Generator().manual_seed(0)))
    assert [f.stamp for f in made] == [0, 50_000_000, 100_000_000]
    levels = np.log(0.01 + (np.array([image[0, 0] for _, image in frames]) / 255) ** SRGB / MIDDLE_GREY)
    crossings = levels[0] + 0.3 * np.arange(1, 1 + int((levels[-1] - levels[0]) / 0.3))
    expected = np.interp(crossings, levels, stamps)
    events = concatenate([f.events for f in made])
    one = events[(events["x"] == 3) & (events["y"] == 7)]
    assert one["p"].all() and np.abs(one["t"] - expected).max() < 100  # the levels are float32
    assert len(events) == len(one) * 256


def test_a_clip_is_read_in_its_own_time(tmp_path):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 32, 48) as video:
        for i in range(20):
            video.write(np.full((32, 48), 40 + 10 * i, np.uint8), i * 5_000_000)
    frames = list(open_clip(path, seconds=0.0605)[1])
    assert [round(stamp / 1e6) for stamp, _ in frames] == [5 * i for i in range(13)]
    assert [abs(int(image.mean()) - (40 + 10 * i)) <= 3 for i, (_, image) in enumerate(frames)] == [True] * 13


def test_a_file_that_is_not_a_clip_is_named(tmp_path):
    with pytest.raises(PictureError, match=r"none.mp4: no such clip"):
        open_clip(tmp_path / "none.mp4", 1)
    (tmp_path / "text.mp4").write_text("nothing")
    with pytest.raises(PictureError, match=r"text.mp4: not a clip"):
        open_clip(tmp_path / "text.mp4", 1)
    (tmp_path / "events.txt").write_text("0.003811000 96 133 0\n" * 50)  # FFmpeg would draw it
    with pytest.raises(PictureError, match=r"events.txt: not a clip"):
        open_clip(tmp_path / "events.txt", 1)
    clip, rng = tmp_path / "damaged.mp4", np.random.default_rng(0)
    with VideoWriter(clip, 48, 64) as video:
        for i in range(60):
            video.write(rng.integers(0, 256, (48, 64), np.uint8), i * 5_000_000)
    content = clip.read_bytes()
    middle = slice(len(content) // 3, len(content) * 2 // 3)
    clip.write_bytes(content[: middle.start] + rng.bytes(middle.stop - middle.start) + content[middle.stop :])
    frames = open_clip(clip, 1)[1]
    with pytest.raises(PictureError, match=r"damaged.mp4: not a clip that can be read \(.*Invalid data"):
        list(frames)
