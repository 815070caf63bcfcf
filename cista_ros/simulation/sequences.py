"""Simulated training data: random scenes and event cameras, as voxel grids and true images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import CistaError
from ..voxel_grid import voxel_grids
from .pictures import Pictures
from .pixel import Events, NoiseSources, PixelModel, expand, merge, pixel_runs
from .scene import Draw, SceneConfig, Scenes


@dataclass(frozen=True)
class CameraConfig:
    """Ranges that event cameras are drawn from; pairs are (lowest, highest)."""

    threshold: tuple[float, float] = (0.05, 1.5)  # contrast C, log-uniform. V2V (Lou et al., 2025) draws .05 to 2.
    asymmetry: float = 1.5  # largest ratio between the polarities' C, either way (V2V: 1.5); log-uniform
    threshold_spread: tuple[float, float] = (0.0, 0.1)  # standard deviation over a sensor's pixels, relative to C
    refractory_ms: tuple[float, float] = (0.0, 1.0)  # in which a pixel reports nothing after an event
    # Cutoff of the photoreceptor at mean light, log-uniform; in proportion to light elsewhere (v2e, Hu et al., 2021,
    # where it is 10 to 300 Hz; OpenEB's simulator trains with 70 Hz).
    bandwidth_hz: tuple[float, float] = (100.0, 3000.0)
    leak_hz: tuple[float, float] = (0.0, 0.2)  # positive events per second of a pixel in constant light (v2e: 0.1)
    noise_hz: tuple[float, float] = (0.003, 3.0)  # of each pixel, log-uniform. By day .001 to .1, at night 1 to 3.
    hot_pixels: tuple[float, float] = (0.0, 0.001)  # share of pixels that fire all the time (V2V: up to 1e-3)
    hot_hz: tuple[float, float] = (10.0, 1000.0)  # rate of such a pixel, log-uniform


@dataclass(frozen=True)
class MotionConfig:
    """How scenes move in time.

    By default windows hold as many events as those of a hand-held DAVIS: on slider_depth of the Event Camera Dataset
    0.26 events per pixel, at 18 % of the pixels, 5 % of which have events of both polarities.
    """

    speed: tuple[float, float] = (0.1, 600.0)  # pixels per second of the fastest point, log-uniform
    # Mean number of events in a window, log-uniform; the motion within it follows from it, as far as `renders` allows.
    events_per_pixel: tuple[float, float] = (0.1, 1.0)
    renders: int = 12  # images rendered for each window; none moves much more than a pixel from the one before
    pauses: float = 0.3  # share of the sequences whose motion stops and goes
    pause_windows: tuple[float, float] = (4.0, 40.0)  # period of the stops, in windows
    rests: float = 0.3  # share of the sequences that come to rest at once
    rest_windows: tuple[float, float] = (8.0, 60.0)  # duration of a rest, in windows, log-uniform
    rest_ms: tuple[float, float] = (10.0, 50.0)  # duration of a window at rest
    quiet: float = 0.3  # share of the sequences with a rest whose camera has no noise, so that no event comes
    longest_ms: float = 50.0  # longest window, however slow the scene


@dataclass(frozen=True)
class SimulationConfig:
    """Scenes, cameras and motion that sequences are drawn from."""

    scene: SceneConfig = field(default_factory=SceneConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)


# Quantities of scenes, cameras and motion that are divided by, or drawn uniformly in the logarithm.
_POSITIVE = (
    {"dark", "radius", "response", "texels"}
    | {"threshold", "bandwidth_hz", "noise_hz", "hot_hz"}
    | {"speed", "events_per_pixel", "pause_windows", "rest_windows", "rest_ms"}
)


class RangeError(CistaError):
    """An impossible range in a configuration."""


def check_ranges(config: SimulationConfig) -> None:
    """Raise RangeError, naming the field, for a range that is upside down or below what its quantity can be."""
    for part in fields(config):
        for f in fields(inner := getattr(config, part.name)):
            value, name = getattr(inner, f.name), f"{part.name}.{f.name}"
            low, high = value if isinstance(value, tuple) else (value, value)
            if not low <= high:
                raise RangeError(f"{name}: the lowest value {low} is above the highest, {high}")
            if low < 0 or (low == 0 and f.name in _POSITIVE):
                raise RangeError(f"{name} must be {'above' if f.name in _POSITIVE else 'at least'} 0, not {low}")
    if config.camera.asymmetry < 1:
        raise RangeError(f"camera.asymmetry must be at least 1, not {config.camera.asymmetry}")
    if config.motion.renders < 1:
        raise RangeError(f"motion.renders must be at least 1, not {config.motion.renders}")


class Sequences(NamedTuple):
    """N sequences of T windows."""

    voxels: Tensor  # voxel grids (T, N, B, H, W), not normalised
    images: Tensor  # true images (T + 1, N, 1, H, W): images[t] when window t begins, images[t + 1] when it ends
    rests: Tensor  # bool (T, N): windows in which the scene does not move and whose events, if any, are noise


def draw_camera(config: CameraConfig, count: int, height: int, width: int, generator: torch.Generator) -> PixelModel:
    """Draw the pixels of N event cameras; thresholds differ between cameras and between pixels."""
    draw = Draw(generator)
    threshold = draw.log_uniform(config.threshold, count, 1, 1)
    spread = draw.uniform(config.threshold_spread, count, 1, 1)
    ratio = draw.log_uniform((1 / config.asymmetry, config.asymmetry), count, 1, 1)

    def over_pixels(mean: Tensor) -> Tensor:
        return mean * (1 + spread * draw.normal(count, height, width)).clamp(min=0.3)

    return PixelModel(
        positive=over_pixels(threshold),
        negative=over_pixels(threshold * ratio),
        refractory_ns=1e6 * draw.uniform(config.refractory_ms, count, 1, 1),
        leak=draw.uniform(config.leak_hz, count, 1, 1),
        bandwidth=draw.log_uniform(config.bandwidth_hz, count, 1, 1),
    )


def simulate(
    pictures: Pictures,
    config: SimulationConfig,
    count: int,
    windows: int,
    size: tuple[int, int],
    bins: int,
    generator: torch.Generator,
) -> Sequences:
    """Draw `count` scenes and cameras and simulate `windows` windows of each, on the pictures' device."""
    events, images, rests = simulate_events(pictures, config, count, windows, size, generator)
    voxels = window_grids(events, count, windows, config.motion.renders, size, bins)
    return Sequences(voxels.transpose(0, 1), images.transpose(0, 1)[:, :, None], rests.T)


def window_grids(
    events: Events, sequences: int, windows: int, segments: int, size: tuple[int, int], bins: int
) -> Tensor:
    """Return the voxel grids (N, T, B, H, W), float32, of windows of `segments` consecutive segments each.

    Equal to the bit to `voxel_grid` of each window's events, except that several events which all have one time fall
    into the first bin.
    """
    window = events.sequence * windows + torch.div(events.segment, segments, rounding_mode="floor")
    limits = torch.iinfo(torch.int64)
    count, device = sequences * windows, events.t.device
    first = torch.full((count,), limits.max, device=device).scatter_reduce(0, window, events.t, "amin")
    last = torch.full((count,), limits.min, device=device).scatter_reduce(0, window, events.t, "amax")
    times = torch.stack([first, torch.maximum(first, last)], 1)  # equal where a window has no events
    polarity = events.p.long() * 2 - 1
    grids = voxel_grids(events.t, events.x, events.y, polarity, window, times, *size, bins)
    return grids.view(sequences, windows, bins, *size)


def simulate_events(
    pictures: Pictures,
    config: SimulationConfig,
    count: int,
    windows: int,
    size: tuple[int, int],
    generator: torch.Generator,
) -> tuple[Events, Tensor, Tensor]:
    """Return the events of `simulate` (a segment is one render), images (N, T + 1, H, W) and rests (N, T)."""
    height, width = size
    motion = config.motion
    scenes = Scenes(pictures, count, height, width, config.scene, generator)
    camera = draw_camera(config.camera, count, height, width, generator)
    rests = _rests(motion, count, windows, generator)
    path, durations = _course(scenes, camera, motion, rests, generator)
    light = scenes.render(path)
    log_intensity = scenes.log_intensity(light)
    starts = durations.cumsum(1) - durations
    noise = draw_noise(config.camera, count, size, generator)
    quiet = Draw(generator).uniform((0.0, 1.0), count) < motion.quiet
    noisy = ~(rests.any(1) & quiet)[:, None, None]
    camera = replace(camera, leak=camera.leak * noisy)
    noise = NoiseSources(noise.background * noisy.flatten(), noise.hot * noisy)
    runs, _ = pixel_runs(log_intensity, durations, camera)
    events = merge(expand(runs, starts), *noise.events(starts, durations, generator))
    return events, scenes.expose(light[:, :: motion.renders]), rests


def draw_noise(config: CameraConfig, count: int, size: tuple[int, int], generator: torch.Generator) -> NoiseSources:
    """Draw the noise sources of N cameras, with fixed hot pixels."""
    draw = Draw(generator)
    hot = draw.uniform((0.0, 1.0), count, *size) < draw.uniform(config.hot_pixels, count, 1, 1)
    sign = torch.where(draw.uniform((0.0, 1.0), count, *size) < 0.5, -1, 1)
    return NoiseSources(
        draw.log_uniform(config.noise_hz, count), hot * sign * draw.log_uniform(config.hot_hz, count, *size)
    )


def _rests(config: MotionConfig, count: int, windows: int, generator: torch.Generator) -> Tensor:
    """Draw which windows are at rest, bool (N, T)."""
    draw, window = Draw(generator), torch.arange(windows, device=generator.device)
    comes = draw.uniform((0.0, 1.0), count, 1) < config.rests
    begins = draw.uniform((0.1, 0.7), count, 1) * windows
    ends = begins + draw.log_uniform(config.rest_windows, count, 1)
    return comes & (window >= begins) & (window < ends)


def _course(
    scenes: Scenes, camera: PixelModel, config: MotionConfig, rests: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw positions (N, S + 1) at the segments' ends and their durations int64 ns (N, S); rests: see `_rests`."""
    draw, count = Draw(generator), len(rests)
    device = generator.device
    # Estimate how many threshold crossings a motion of one pixel causes.
    look = scenes.log_intensity(scenes.render(torch.tensor([[0.0, 1.0]], device=device).expand(count, 2)))
    change = (look[:, 1] - look[:, 0]).abs()
    per_pixel = (change / (camera.positive + camera.negative) * 2).mean((1, 2)).clamp(min=1e-4)
    per_window = draw.log_uniform(config.events_per_pixel, count) / per_pixel
    step = (per_window / config.renders).clamp(max=1.0)

    resting = rests.repeat_interleave(config.renders, 1)
    segment = torch.arange(resting.shape[1], device=device) + 0.5
    period = draw.log_uniform(config.pause_windows, count, 1) * config.renders
    stops = draw.uniform((0.0, 1.0), count, 1) < config.pauses
    bias = torch.where(stops, draw.uniform((0.0, 1.0), count, 1), 2.0)
    phase = draw.uniform((0.0, 2 * math.pi), count, 1)
    pace = (bias + torch.sin(2 * math.pi * segment / period + phase)).clamp(0, 1)
    path = torch.nn.functional.pad((step[:, None] * pace * ~resting).cumsum(1), (1, 0))

    speed = draw.log_uniform(config.speed, count)
    longest = config.longest_ms / config.renders
    moving = (1e3 * step / speed).clamp(max=longest)[:, None]
    at_rest = draw.log_uniform(config.rest_ms, count, 1) / config.renders
    duration = torch.where(resting, at_rest, moving) * 1e6
    return path, duration.round().long().clamp(min=1)
