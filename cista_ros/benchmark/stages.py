"""Time the stages around the network: decode, window, voxel grid, upload, tone map, message."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..events import make_events
from ..noise_filter import ActivityFilter, HotPixels, NoiseFilter
from ..tone_map import make_tone_map, to_mono8
from ..voxel_grid import normalise, upload, voxel_grid, voxel_grid_torch
from ..windows import CountWindows
from ..wire import cdr
from ..wire.ros_types import EVENT_ARRAY, EventMessage, ImageMessage
from .machine import timed

SAMPLES = 15
DECODE_AND_GRID = "decode and voxel grid"


@dataclass(frozen=True)
class Stage:
    """Time of one stage for one window of `events` events, and its median throughput in million events per second."""

    stage: str
    height: int
    width: int
    events: int
    ms_median: float
    ms_min: float
    mev_per_s: float


def measure_stages(height: int, width: int, count: int, device: torch.device) -> list[Stage]:
    """Time each stage by itself for a window of `count` random events."""
    rng = np.random.default_rng(0)
    events = make_events(
        rng.integers(0, width, count),
        rng.integers(0, height, count),
        np.sort(rng.integers(0, 33_000_000, count)),
        rng.integers(0, 2, count),
    )
    message = cdr.encode(EventMessage(0, "camera", height, width, events))
    grid = torch.from_numpy(voxel_grid(events, height, width)).to(device)
    image = rng.random((height, width), np.float32)
    tone_map = make_tone_map("natural")
    noise_filter = NoiseFilter(HotPixels(height, width), ActivityFilter(height, width))
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: cdr.decode(EVENT_ARRAY, message),
        "noise filter": lambda: noise_filter(events),
        "window": lambda: CountWindows(count).push(events),
        "voxel grid": lambda: voxel_grid(events, height, width),
        DECODE_AND_GRID: lambda: voxel_grid(cdr.decode(EVENT_ARRAY, message).events, height, width),
        "normalise": lambda: normalise(grid),
        "tone map": lambda: tone_map(image),
        "message": lambda: cdr.encode(ImageMessage(0, "camera", "mono8", to_mono8(image))),
    }
    if device.type == "cuda":
        words = upload(events, device)
        stages["upload"] = lambda: upload(events, device)
        stages["voxel grid"] = lambda: voxel_grid_torch(words, height, width)
    rows = []
    for name, run in stages.items():
        samples = [1e3 * timed(run, device)[0] for _ in range(SAMPLES + 2)][2:]
        median = statistics.median(samples)
        rows.append(Stage(name, height, width, count, median, min(samples), count / median / 1e3))
    return rows
