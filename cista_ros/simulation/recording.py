"""Record a scene or a clip with one event camera: frames, each with the events since the last."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from torch import Tensor

from ..events import NS, no_events
from ..recordings.recording import RecordingWriter
from ..tone_map import to_mono8
from ..wire.ros_types import CameraInfoMessage, EventMessage, ImageMessage
from .lens import Lens, pinhole
from .pictures import PictureError, Pictures
from .pixel import PixelState, event_array, expand, merge, pixel_runs
from .scene import Draw, Scenes
from .sequences import SimulationConfig, draw_camera, draw_noise

SRGB = 2.2  # exponent from a video's pixel values to linear light, approximately
MIDDLE_GREY = 0.18  # linear light of a well exposed video's mean
# A fast object moves by more than a few pixels between the frames of slower clips.
ENOUGH_FPS = 200
_USUAL_FPS = 25.0  # of a raw stream that states no rate
# Times are counted from here: a stamp of zero means "unknown" to much of ROS.
START_NS = NS
FRAME_ID = "dvs"
# The clock of a DAVIS ticks in microseconds.
CLOCK_NS = 1000


class Frame(NamedTuple):
    """Time in nanoseconds, camera frame float32 (H, W) in [0, 1], and the events (event array) since the last."""

    stamp: int
    image: np.ndarray
    events: np.ndarray


class Step(NamedTuple):
    """Images (S, H, W) and log intensity (S, H, W) at the times int64 ns (S,): all renders up to the next frame."""

    stamps: Tensor
    images: Tensor
    log_intensity: Tensor


@dataclass(frozen=True)
class Drive:
    """Motion of a scene."""

    speed: float  # pixels per second of its fastest point
    pause_s: float | None = None  # from one pause to the next; None for no pauses


def scene_steps(
    pictures: Pictures,
    config: SimulationConfig,
    size: tuple[int, int],
    seconds: float,
    fps: float,
    drive: Drive,
    generator: torch.Generator,
) -> Iterator[Step]:
    """Render one scene so finely that nothing moves much more than half a pixel between two images."""
    scene = Scenes(pictures, 1, *size, config.scene, generator)
    phase = float(Draw(generator).uniform((0.0, 2 * math.pi), 1))
    renders = max(1, math.ceil(2 * drive.speed / fps))
    tick = 1 / (fps * renders)

    def pace(t: Tensor) -> Tensor:
        if drive.pause_s is None:
            return torch.ones_like(t)
        return (0.6 + torch.sin(2 * math.pi * t / drive.pause_s + phase)).clamp(0, 1)

    path = torch.zeros(1, dtype=torch.float64)
    for frame in range(math.floor(seconds * fps) + 1):
        count = renders if frame else 1
        index = torch.arange(1 - count, 1) + frame * renders
        if frame:
            path = path[-1] + (drive.speed * tick * pace((index - 0.5).double() * tick)).cumsum(0)
        light = scene.render(path.float().to(generator.device)[None])
        stamps = (index.double() * (tick * NS)).round().long()
        yield Step(stamps, scene.expose(light)[0], scene.log_intensity(light)[0])


def open_clip(path: Path, seconds: float) -> tuple[float, Iterator[tuple[int, np.ndarray]]]:
    """Return a clip's rate (frames/s) and the frames of its first `seconds`: ns from its start, uint8 (H, W).

    Frames without times of their own (raw H.264) follow at the rate. PictureError if FFmpeg cannot read the file.
    """
    if not path.is_file():
        raise PictureError(f"{path}: no such clip")
    with _opened(path) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or _USUAL_FPS)
        next(container.decode(video=0))
    return rate, _clip_frames(path, seconds, rate)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with av.open(str(path)) as container:
            if container.format.name == "tty":  # FFmpeg would draw a text
                raise IndexError("text")
            yield container
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise PictureError(f"{path}: not a clip that can be read ({error})") from None


def _clip_frames(path: Path, seconds: float, rate: float) -> Iterator[tuple[int, np.ndarray]]:
    with _opened(path) as container:
        first = None
        for index, frame in enumerate(container.decode(video=0)):
            if frame.pts is None or frame.time_base is None:
                stamp = round(index * NS / rate)
            else:
                stamp = round(frame.pts * frame.time_base * NS)
            first = stamp if first is None else first
            if stamp - first > seconds * NS:
                return
            yield stamp - first, frame.to_ndarray(format="gray")


def clip_steps(frames: Iterable[tuple[int, np.ndarray]], config: SimulationConfig, fps: float) -> Iterator[Step]:
    """Yield a clip's frames, (stamp ns, uint8 (H, W)), without interpolation: its rate must be high enough.

    A camera frame, `fps` per second, is the clip's first frame that is late enough.
    """
    waiting: list[tuple[int, np.ndarray]] = []
    due = 0.0
    for frame in frames:
        waiting.append(frame)
        if frame[0] >= due - 1:  # stamps are rounded
            due += NS / fps
            stamps = torch.tensor([stamp for stamp, _ in waiting])
            images = torch.from_numpy(np.stack([image for _, image in waiting])).float() / 255
            yield Step(stamps, images, torch.log(images**SRGB / MIDDLE_GREY + config.scene.dark[0]))
            waiting = []


def record(steps: Iterable[Step], config: SimulationConfig, generator: torch.Generator) -> Iterator[Frame]:
    """Record steps with a camera drawn from the configuration; times as in the steps.

    The last image of each step becomes a frame; the first step only lets the pixels adapt. Computes in float64, so
    that times are good to the nanosecond.
    """
    steps = iter(steps)
    if (last := next(steps, None)) is None:
        return
    height, width = last.images.shape[-2:]
    camera = draw_camera(config.camera, 1, height, width, generator)
    noise = draw_noise(config.camera, 1, (height, width), generator)
    state = PixelState.at(last.log_intensity[-1:].double())
    yield _frame(last, no_events())
    for step in steps:
        log_intensity = torch.cat((last.log_intensity[-1:], step.log_intensity)).double()[None]
        stamps = torch.cat((last.stamps[-1:], step.stamps)).to(generator.device)[None]
        durations = stamps.diff(dim=1)
        runs, state = pixel_runs(log_intensity, durations, camera, state)
        events = merge(expand(runs, stamps[:, :-1]), *noise.events(stamps[:, :-1], durations, generator))
        yield _frame(step, event_array(events))
        last = step


def _frame(step: Step, events: np.ndarray) -> Frame:
    return Frame(int(step.stamps[-1]), step.images[-1].cpu().numpy(), events)


def write_frame(writer: RecordingWriter, frame: Frame, lens: Lens | None = None) -> None:
    """Write the events since the last frame, this frame, and the camera info of a lens (by default `pinhole`).

    The messages are as the driver of a DAVIS would have sent them.
    """
    height, width = frame.image.shape
    lens = lens or pinhole(height, width)
    stamp = START_NS + frame.stamp
    if len(frame.events):
        events = frame.events.copy()
        events["t"] += START_NS
        events["t"] -= events["t"] % CLOCK_NS
        writer.write(stamp, EventMessage(int(events["t"][-1]), FRAME_ID, height, width, events))
    writer.write(stamp, ImageMessage(stamp, FRAME_ID, "mono8", to_mono8(frame.image)))
    k, p = lens.matrix, np.column_stack((lens.matrix, np.zeros(3)))
    calibration = np.array(lens.distortion), k.ravel(), np.eye(3).ravel(), p.ravel()
    writer.write(stamp, CameraInfoMessage(stamp, FRAME_ID, height, width, lens.model, *calibration))
