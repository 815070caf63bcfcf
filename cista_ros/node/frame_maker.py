"""The network of the node: loaded from weights, and run for one sensor size."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import CistaError, DeviceError
from ..events import no_events
from ..networks import Network, choose_weights, find_weights, load_network
from ..networks.network import MIN_SIZE
from ..reconstructor import Frame, Reconstructor, choose_device
from ..runtime import make_runtime
from ..tone_map import make_tone_map
from ..windows import Window
from .parameters import Settings

# Seconds until the next attempt to prepare a network that failed: another process may have freed memory by then.
RETRY_S = 10.0


class NotReadyError(CistaError):
    """The network cannot be run for this sensor size."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on its device.

    Attributes:
        version: changes when the file of the weights does.
        weights: name of the weights.
        note: name of the weights and, for `auto`, the reason for the choice.
    """

    network: Network
    device: torch.device
    version: tuple[int, ...]
    weights: str
    note: str


def weights_version(settings: Settings) -> tuple[int, ...]:
    """Return a value that changes when these settings choose other weights, or the file of the weights changes."""
    return _version(choose_weights(settings.weights, choose_device(settings.device))[0])


def _version(weights: str) -> tuple[int, ...]:
    stat = find_weights(weights).stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def load(settings: Settings) -> LoadedNetwork:
    """Load the network of these settings onto their device.

    Raises:
        CheckpointError, DeviceError, RuntimeUnavailableError: the weights or the device do not exist, memory is short,
            or the runtime does not support the network.
    """
    device = choose_device(settings.device)
    weights, note = choose_weights(settings.weights, device)
    version = _version(weights)
    network = load_network(weights)
    try:
        network = network.to(device)
        make_runtime(settings.runtime, network, MIN_SIZE, MIN_SIZE, device, settings.precision)
        return LoadedNetwork(network, device, version, weights, note)
    except RuntimeError as error:  # out of memory, driver too old …
        raise DeviceError(f"cannot put {weights} on {device}: {error}") from None


class FrameMaker:
    """Makes the frames of one sensor size. Creates the runtime for the first frame, or in `prepare`.

    Args:
        loaded: the network.
        settings: how to run it and display its frames.
        height, width: sensor size in pixels.
        on_ready: called with a line about the runtime when that is ready.

    Attributes:
        error: why the network cannot be run; None if it can, or before the first attempt.
        ready_at: monotonic seconds when the runtime was made; None before that.
    """

    def __init__(
        self, loaded: LoadedNetwork, settings: Settings, height: int, width: int, on_ready: Callable[[str], None]
    ) -> None:
        self.loaded = loaded
        self.height, self.width = height, width
        self.error: CistaError | None = None
        self.ready_at: float | None = None
        self._settings, self._on_ready = settings, on_ready
        self._reconstructor: Reconstructor | None = None
        self._tone_map = ""
        self._retry_at = 0.0

    @property
    def downscale(self) -> int:
        """Factor by which these frames are smaller than the sensor."""
        return self._settings.downscale

    def adjust(self, settings: Settings) -> None:
        """Apply settings that need no new runtime, from the next window on. For any thread."""
        self._settings = settings

    def prepare(self) -> None:
        """Create the runtime and run one step, so that a failure is known now.

        Raises:
            EventError, DeviceError, RuntimeUnavailableError: the network cannot be run for this sensor size.
        """
        settings, device = self._settings, self.loaded.device
        try:
            reconstructor = Reconstructor(
                self.loaded.network,
                self.height,
                self.width,
                device,
                tone_map=settings.tone_map,
                runtime=settings.runtime,
                precision=settings.precision,
                downscale=settings.downscale,
            )
            reconstructor.reconstruct(no_events())
            reconstructor.reset()
        except (RuntimeError, MemoryError) as error:
            failure = str(error)
        else:
            failure = ""
        if failure:  # outside of the handler: the error's traceback would keep the memory that was allocated
            raise DeviceError(
                f"cannot reconstruct {self.width}x{self.height} pixels on {device} with downscale {settings.downscale}"
                f" and runtime {settings.runtime}: {failure}; if memory is short, raise downscale or choose another"
                " device or runtime"
            )
        self._tone_map = settings.tone_map
        self._reconstructor, self.error, self.ready_at = reconstructor, None, time.monotonic()
        self._on_ready(f"{self.width}x{self.height} pixels: {reconstructor.runtime_note}")

    def make(self, window: Window) -> Frame:
        """Reconstruct and tone-map one window.

        Raises:
            NotReadyError: the network cannot be run.
        """
        if self._reconstructor is None:
            self._prepare_or_raise()
        settings, reconstructor = self._settings, self._reconstructor
        assert reconstructor
        reconstructor.max_events = settings.max_events or None
        reconstructor.clip_hot_pixels = settings.clip_hot_pixels
        if settings.tone_map != self._tone_map:
            self._tone_map = settings.tone_map
            reconstructor.tone_map = make_tone_map(settings.tone_map)
        return reconstructor.make(window)

    def code_activity(self) -> np.ndarray | None:
        """Return the activity of the last frame's sparse code, see Reconstructor. For the worker thread."""
        return self._reconstructor.code_activity() if self._reconstructor else None

    def reset(self) -> None:
        """Reset the network's state after a failure; discard the runtime if it cannot even be reset."""
        try:
            if self._reconstructor:
                self._reconstructor.reset()
        except Exception:  # after a GPU error, all calls fail
            self._reconstructor = self.ready_at = None

    def _prepare_or_raise(self) -> None:
        if self.error is None or time.monotonic() >= self._retry_at:
            try:
                return self.prepare()
            except CistaError as error:
                self.error = error.with_traceback(None)
                self._retry_at = time.monotonic() + RETRY_S
        raise NotReadyError(f"{self.error}; the node retries every {RETRY_S:.0f} s")


def try_out(
    settings: Settings, size: tuple[int, int] | None, on_ready: Callable[[str], None]
) -> tuple[LoadedNetwork, FrameMaker | None]:
    """Load the network of these settings and, for a sensor of this size (height, width), prepare its runtime.

    Raises:
        CistaError: on any failure, so that the caller can keep the present network.
    """
    try:
        loaded = load(settings)
        maker = FrameMaker(loaded, settings, *size, on_ready) if size else None
        if maker:
            maker.prepare()
    except CistaError:
        raise
    except Exception as error:  # such as an OSError, or one of a runtime's library
        raise DeviceError(f"cannot run {settings.weights}: {type(error).__name__}: {error}") from error
    return loaded, maker


def free_memory() -> None:
    """Collect reference cycles of unused networks, and empty torch's cache of GPU memory."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
