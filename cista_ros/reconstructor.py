"""Windows in, images out: a network with its recurrent state on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .errors import DeviceError, EventError
from .events import binned
from .networks import Network
from .networks.network import MIN_SIZE
from .runtime import make_runtime
from .util.threads import one_thread
from .voxel_grid import clip_hot_pixels, normalise, upload, voxel_grid, voxel_grid_torch
from .windows import default_max_events, split_evenly

# A voxel grid of fewer cells is normalised sooner than several threads have met for each of its passes.
ONE_THREAD_CELLS = 1 << 20


def choose_device(name: str = "auto") -> torch.device:
    """`auto` (the GPU where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        DeviceError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()) or (kind == "cpu" and index):
        raise DeviceError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(f"device {name!r} was asked for, but torch {torch.__version__} finds no CUDA GPU here")
        if index and int(index) >= torch.cuda.device_count():
            raise DeviceError(f"device {name!r} was asked for, but there are {torch.cuda.device_count()} GPUs")
    return torch.device(name)


def binned_size(height: int, width: int, factor: int) -> tuple[int, int]:
    """Height and width of the grid that is coarser by a whole factor, and still holds every pixel.

    Raises:
        EventError: the factor is less than 1, or leaves less than the networks' 16x16 pixels.
    """
    small = (-(-height // factor), -(-width // factor)) if factor >= 1 else (0, 0)
    if factor < 1 or min(small) < MIN_SIZE:
        raise EventError(
            f"downscale {factor} is not possible on a {width}x{height} sensor: expected a whole number of at least 1"
            f" that leaves {MIN_SIZE}x{MIN_SIZE} pixels"
        )
    return small


@dataclass(frozen=True)
class Reconstruction:
    """An image float32 (H, W) in [0, 1], before any tone map, and how many network steps it took."""

    image: np.ndarray
    steps: int


class Reconstructor:
    """Reconstructs the windows of one event stream, in turn.

    Args:
        network: as `load_network` gives it; moved to the device.
        height, width: the sensor's size in pixels.
        device: as `choose_device` takes it.
        max_events: a window of more events is split evenly and reconstructed in several steps; None for the paper's
            limit, scaled with the sensor's area.
        hot_pixels: limit the voxels of pixels that fire without end (off in the released network).
        runtime: how the network is run, one of runtime.RUNTIMES; `eager` is the network as it is written.
        precision: of the arithmetic, one of runtime.PRECISIONS; `auto` is less than fp32 only where runtime `auto`
            finds that it pays (docs/performance.md).
        downscale: events are binned to a grid coarser by this whole factor before the network; so are the images.

    Attributes:
        image_height, image_width: of the images.
        runtime_note: which runtime it is, and, for `auto`, why.

    Raises:
        DeviceError, RuntimeUnavailableError: the device or the runtime cannot do this.
    """

    def __init__(
        self,
        network: Network,
        height: int,
        width: int,
        device: str | torch.device = "auto",
        max_events: int | None = None,
        hot_pixels: bool = False,
        runtime: str = "eager",
        precision: str = "auto",
        downscale: int = 1,
    ) -> None:
        self.device = choose_device(device) if isinstance(device, str) else device
        self.network = network.to(self.device)
        self.height, self.width = height, width
        self.max_events = max_events
        self.hot_pixels = hot_pixels
        self.downscale = downscale
        self.image_height, self.image_width = binned_size(height, width, downscale)
        self.runtime, self.runtime_note = make_runtime(
            runtime, self.network, self.image_height, self.image_width, self.device, precision
        )

    def reset(self) -> None:
        """Begin a new sequence: forget all that the network remembers."""
        self.runtime.reset()

    def reconstruct(self, events: np.ndarray, split: bool = True) -> Reconstruction:
        """One image of one window.

        Args:
            events: event array (N,), in time order, all on the sensor; none make an empty voxel grid.
            split: heed max_events; if not, the window is one step, however many its events.
        """
        limit = self.max_events or default_max_events(self.height, self.width)
        parts = split_evenly(events, limit) if split else [events]
        for part in parts:
            image = self._step(part)
        return Reconstruction(image.cpu().numpy(), len(parts))

    @torch.inference_mode()
    def code_activity(self) -> np.ndarray | None:
        """How active the sparse code of the last image is: the mean of |Z| over its channels, float32 (h, w), at half
        the image's resolution, rounded up. None of a network without a sparse code.
        """
        code = self.runtime.code()
        return None if code is None else code.float().abs().mean(0).cpu().numpy()

    @torch.inference_mode()
    def _step(self, events: np.ndarray) -> torch.Tensor:
        events = binned(events, self.downscale)
        if self.runtime.takes_events:
            return self.runtime.step_events(events, self.hot_pixels).clamp(0, 1)
        grid = self._voxel_grid(events)
        if self.hot_pixels:
            grid = clip_hot_pixels(grid)
        if self.network.conventions.normalise:
            with one_thread(grid.device.type == "cpu" and grid.numel() < ONE_THREAD_CELLS):
                grid = normalise(grid)
        # Networks that end in a sigmoid are in the range already; FireNet's output is linear.
        return self.runtime.step(grid).clamp(0, 1)

    def _voxel_grid(self, events: np.ndarray) -> torch.Tensor:
        bins = self.network.bins
        if self.device.type == "cpu":
            return torch.from_numpy(voxel_grid(events, self.image_height, self.image_width, bins))
        return voxel_grid_torch(*upload(events, self.device), self.image_height, self.image_width, bins)
