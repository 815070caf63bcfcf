"""Simulated straight into voxel grids, or as event arrays and then into voxel grids: the same numbers."""

from __future__ import annotations

import numpy as np
import torch

from cista_ros.events import in_order, inside
from cista_ros.simulation.pictures import Pictures
from cista_ros.simulation.pixel import event_array
from cista_ros.simulation.sequences import (
    CameraConfig,
    MotionConfig,
    SimulationConfig,
    simulate,
    simulate_events,
    window_grids,
)
from cista_ros.voxel_grid import voxel_grid

SIZE, WINDOWS, COUNT = (48, 64), 5, 3


def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures([rng.integers(0, 256, (20, 20)).astype(np.uint8).repeat(6, 0).repeat(6, 1) for _ in range(4)])


def test_both_ways_to_a_voxel_grid_agree_to_the_bit():
    config = SimulationConfig()
    renders = config.motion.renders
    events, _, _ = simulate_events(pictures(), config, COUNT, WINDOWS, SIZE, torch.Generator().manual_seed(3))
    grids = window_grids(events, COUNT, WINDOWS, renders, SIZE, bins=5)
    compared = 0
    for n in range(COUNT):
        for window in range(WINDOWS):
            mine = (events.sequence == n) & (torch.div(events.segment, renders, rounding_mode="floor") == window)
            array = event_array(type(events)(*(field[mine] for field in events)), n)
            assert in_order(array) and inside(array, *SIZE).all()
            assert np.array_equal(voxel_grid(array, *SIZE), grids[n, window].numpy())
            compared += len(array) > 100
    assert compared >= 5


def test_a_window_without_events_is_all_zero():
    events, _, _ = simulate_events(pictures(), SimulationConfig(), 1, 2, SIZE, torch.Generator().manual_seed(3))
    none = type(events)(*(field[:0] for field in events))
    assert not window_grids(none, 2, 3, 4, SIZE, bins=5).any()


def test_the_same_seed_gives_the_same_sequences_and_another_seed_others():
    def draw(seed: int):
        return simulate(pictures(), SimulationConfig(), 2, 3, SIZE, 5, torch.Generator().manual_seed(seed))

    once, again, other = draw(1), draw(1), draw(2)
    assert torch.equal(once.voxels, again.voxels) and torch.equal(once.images, again.images)
    assert not torch.equal(once.images, other.images)


def test_shapes_and_ranges():
    voxels, images, rests = simulate(pictures(), SimulationConfig(), 2, 3, SIZE, 4, torch.Generator().manual_seed(1))
    assert voxels.shape == (3, 2, 4, *SIZE) and images.shape == (4, 2, 1, *SIZE)
    assert images.min() >= 0 and images.max() <= 1
    assert voxels.isfinite().all() and voxels.any()
    assert rests.shape == (3, 2) and rests.dtype == torch.bool


def test_sequences_rest_without_events_and_continue() -> None:
    motion = MotionConfig(rests=1.0, quiet=1.0, rest_windows=(4.0, 6.0), events_per_pixel=(0.5, 0.5))
    config = SimulationConfig(camera=CameraConfig(bandwidth_hz=(1e9, 1e9)), motion=motion)
    made = simulate(pictures(), config, 6, 16, SIZE, 5, torch.Generator().manual_seed(1))
    empty = (made.voxels == 0).flatten(2).all(2)
    for n in range(6):
        rest = made.rests[:, n].nonzero().flatten()
        assert empty[rest, n].all()
        assert 4 <= len(rest) <= 7 and rest[-1] - rest[0] == len(rest) - 1, "one run"
        assert rest[0] > 0, "after something was seen"
        begin = made.images[rest[0], n]
        assert all(torch.equal(begin, made.images[t + 1, n]) for t in rest), "what is at rest looks the same"


def test_noise_continues_at_rest_unless_the_camera_is_quiet() -> None:
    motion = MotionConfig(rests=1.0, quiet=0.0, rest_windows=(6.0, 6.0), rest_ms=(40.0, 40.0))
    config = SimulationConfig(camera=CameraConfig(noise_hz=(1.0, 1.0), hot_pixels=(0.0, 0.0)), motion=motion)
    made = simulate(pictures(), config, 6, 16, SIZE, 5, torch.Generator().manual_seed(1))
    noise = made.voxels.abs().sum((2, 3, 4))[made.rests] / (SIZE[0] * SIZE[1])
    # One event a pixel and second for 40 ms, of either sign, and a leak of up to 0.2.
    assert 0.02 < noise.mean() < 0.06 and noise.min() > 0
