"""Windows in, frames out: a network with its recurrent state on a device, and a tone map.

`Reconstructor.push` runs the whole pipeline in one thread: events in, frames out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from .errors import DeviceError, EventError
from .event_filter import EventFilter
from .events import NS, binned
from .networks import Network, choose_weights, load_network
from .noise_filter import make_noise_filter
from .runtime import make_runtime
from .tone_map import ToneMap, make_tone_map, reset_tone_map
from .util.threads import one_thread
from .voxel_grid import clip_hot_pixels, normalise, upload, voxel_grid, voxel_grid_torch
from .window_maker import WindowMaker
from .windows import Window, Windower, default_max_events, make_windower, required_kind, split_evenly

# A smaller voxel grid is normalised faster by one thread than several threads take to synchronise.
ONE_THREAD_CELLS = 1 << 20


def choose_device(name: str = "auto") -> torch.device:
    """Return the torch device of a name: `auto` (the GPU if there is one), `cpu`, `cuda` or `cuda:N`.

    DeviceError if the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not (match := re.fullmatch("cpu|cuda(?::(0|[1-9][0-9]?))?", name)):
        raise DeviceError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N")
    if name != "cpu":
        if not torch.cuda.is_available():
            raise DeviceError(f"device {name!r}: torch {torch.__version__} finds no CUDA GPU")
        if int(match[1] or 0) >= torch.cuda.device_count():
            raise DeviceError(f"device {name!r}: this machine has {torch.cuda.device_count()} GPUs")
    return torch.device(name)


def binned_size(height: int, width: int, factor: int, smallest: int) -> tuple[int, int]:
    """Return height and width of the grid that is coarser by a whole factor, rounded down as ROS's image_geometry does.

    EventError if the factor is less than 1, or leaves fewer than `smallest` rows or columns.
    """
    small = (height // factor, width // factor) if factor >= 1 else (0, 0)
    if min(small) < smallest:
        raise EventError(
            f"downscale {factor} is not possible on a {width}x{height} sensor: expected a whole number, at least 1,"
            f" that leaves this network at least {smallest}x{smallest} pixels"
        )
    return small


@dataclass(frozen=True)
class Frame:
    """A reconstruction."""

    image: np.ndarray  #: float32 (H, W) in [0, 1], the network's output
    shown: np.ndarray  #: the same after the tone map
    stamp: int  #: time in nanoseconds
    events: np.ndarray  #: the event array (N,) that it was made from
    steps: int  #: number of network steps


class Reconstruction(NamedTuple):
    """An image float32 (H, W) in [0, 1] before the tone map, and the number of network steps."""

    image: np.ndarray
    steps: int


class Reconstructor:
    """Reconstructs the event stream of one camera.

    `push` and `flush` are the whole pipeline. A program with two threads pushes events into a WindowMaker of its own in
    one of them and calls `make` with the windows in the other.

    Args:
        network: as returned by `load_network`; moved to the device.
        height, width: sensor size in pixels.
        device: a torch device, or a name for `choose_device`.
        windows: the front half of the pipeline; default: windows of 1/30 s.
        tone_map: a tone map or its name, one of tone_map.TONE_MAPS.
        max_events: windows with more events are split evenly into several network steps; None for the paper's limit,
            scaled with the sensor's area.
        clip_hot_pixels: limit the voxels of pixels that fire continuously (off in the released network).
        runtime: one of runtime.RUNTIMES; `eager` runs the network as it is written.
        precision: one of runtime.PRECISIONS; `auto` is below fp32 only where runtime `auto` finds that it pays
            (docs/reference/performance.md).
        downscale: bin the events to a grid coarser by this whole factor; images are as coarse.
    Attributes:
        image_height, image_width: size of the images.
        runtime_note: the chosen runtime and, for `auto`, the reason.
    Raises:
        DeviceError, RuntimeUnavailableError: the device or the runtime cannot run this network.
        EventError: impossible sensor size or downscale.
    """

    def __init__(
        self,
        network: Network,
        height: int,
        width: int,
        device: str | torch.device = "auto",
        *,
        windows: WindowMaker | None = None,
        tone_map: str | ToneMap = "natural",
        max_events: int | None = None,
        clip_hot_pixels: bool = False,
        runtime: str = "auto",
        precision: str = "auto",
        downscale: int = 1,
    ) -> None:
        self.device = choose_device(device) if isinstance(device, str) else device
        self.network = network.to(self.device)
        self.height, self.width = height, width
        self.windows = windows or WindowMaker(
            EventFilter(height, width), partial(make_windower, "period", height, width)
        )
        self.tone_map = make_tone_map(tone_map) if isinstance(tone_map, str) else tone_map
        self.max_events = max_events
        self.clip_hot_pixels = clip_hot_pixels
        self.downscale = downscale
        self.image_height, self.image_width = binned_size(height, width, downscale, network.min_size)
        self.runtime, self.runtime_note = make_runtime(
            runtime, self.network, self.image_height, self.image_width, self.device, precision
        )

    @classmethod
    def from_weights(
        cls,
        weights: str | Path,
        height: int,
        width: int,
        device: str | torch.device = "auto",
        *,
        windows: str | Callable[[], Windower] | None = None,
        window_options: dict[str, Any] | None = None,
        max_gap: float = 5.0,
        noise_filter: str = "none",
        hot_pixel_mask: str | Path = "",
        **options: Any,
    ) -> Reconstructor:
        """Make a reconstructor from weights: shipped or fetched ones by name, a file, or `auto`.

        Args:
            height, width, device, options: as for Reconstructor.
            windows, window_options: for `make_windower`; or windows is a function that makes a windower. Default: the
                kind that the options are for, else `period`.
            max_gap: a gap of more seconds in the events begins a new stream; 0 for no limit.
            noise_filter, hot_pixel_mask: as for `make_noise_filter`.
        Raises:
            CistaError: no such weights (CheckpointError), or as for Reconstructor.
        """
        device = choose_device(device) if isinstance(device, str) else device
        name, _ = choose_weights(str(weights), device)
        noise = make_noise_filter(height, width, noise_filter, hot_pixel_mask)
        event_filter = EventFilter(height, width, max_gap_ns=round(max_gap * NS) or None, noise_filter=noise)
        if windows is None or isinstance(windows, str):
            window_options = window_options or {}
            kind = required_kind(windows, window_options) or "period"
            windows = partial(make_windower, kind, height, width, **window_options)
        maker = WindowMaker(event_filter, windows)
        return cls(load_network(name), height, width, device, windows=maker, **options)

    def push(self, events: np.ndarray) -> list[Frame]:
        """Add an event array (N,), t in nanoseconds, and return the frames of the windows that it completes."""
        return [self.make(window) for window in self.windows.push(events)]

    def flush(self) -> list[Frame]:
        """Close the open window and return its frame, if it has any events."""
        return [self.make(window) for window in self.windows.flush()]

    def make(self, window: Window) -> Frame:
        """Reconstruct and tone-map one window."""
        if window.first:
            self.reset()
        image, steps = self.reconstruct(window.events, split=not window.merged)
        return Frame(image, self.tone_map(image), window.stamp, window.events, steps)

    def reset(self) -> None:
        """Begin a new sequence: clear the network's state and the tone map's memory."""
        self.runtime.reset()
        reset_tone_map(self.tone_map)

    def reconstruct(self, events: np.ndarray, split: bool = True) -> Reconstruction:
        """Reconstruct the image of one window (N,), in time order and on the sensor, without a tone map.

        An empty one gives an empty voxel grid. Without `split` the window is one step, however many events it has.
        """
        limit = self.max_events or default_max_events(self.height, self.width)
        parts = split_evenly(events, limit) if split else [events]
        for part in parts:
            image = self._step(part)
        return Reconstruction(image.cpu().numpy(), len(parts))

    @torch.inference_mode()
    def code_activity(self) -> np.ndarray | None:
        """Return the channel mean of abs(Z) of the last sparse code, float32 (h, w); None without one.

        h, w are half the image's size, rounded up.
        """
        code = self.runtime.code()
        return None if code is None else code.float().abs().mean(0).cpu().numpy()

    @torch.inference_mode()
    def _step(self, events: np.ndarray) -> torch.Tensor:
        events = binned(events, self.downscale, self.image_height, self.image_width)
        if self.runtime.takes_events:
            return self.runtime.step_events(events, self.clip_hot_pixels).clamp(0, 1)
        size = self.image_height, self.image_width, self.network.bins
        if self.device.type == "cpu":
            grid = torch.from_numpy(voxel_grid(events, *size))
        else:
            grid = voxel_grid_torch(upload(events, self.device), *size)
        if self.clip_hot_pixels:
            grid = clip_hot_pixels(grid)
        if self.network.conventions.normalise:
            with one_thread(grid.device.type == "cpu" and grid.numel() < ONE_THREAD_CELLS):
                grid = normalise(grid)
        # FireNet's output is linear; the others end in a sigmoid and are within [0, 1] already.
        return self.runtime.step(grid).clamp(0, 1)
