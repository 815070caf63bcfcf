"""The network at work in the node: all that touches it happens in the worker's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from .parameters import Settings

# Where a network cannot be run it is tried again after this time: another process may have ended by then.
RETRY_S = 10.0


class NotReadyError(CistaError):
    """There is no runtime for this sensor size, and why."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on its device, the name of its weights, and what their file was like when it was read.

    `note` says which weights these are, and for `auto` why.
    """

    network: Network
    device: torch.device
    version: tuple[int, ...]
    weights: str
    note: str


def weights_version(settings: Settings) -> tuple[int, ...]:
    """What changes when the weights of these settings, or their file, do."""
    return _version(choose_weights(settings.weights, choose_device(settings.device))[0])


def _version(weights: str) -> tuple[int, ...]:
    stat = find_weights(weights).stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def load(settings: Settings) -> LoadedNetwork:
    """The network of these settings, on their device.

    Raises:
        CheckpointError, DeviceError, RuntimeUnavailableError: there are no such weights, there is no such device, it
            has no room for them, or they cannot be run so.
    """
    device = choose_device(settings.device)
    weights, note = choose_weights(settings.weights, device)
    version = _version(weights)
    network = load_network(find_weights(weights))
    try:
        network = network.to(device)
        if not settings.runtime.endswith("compile"):  # for which a try takes as long as the real thing
            make_runtime(settings.runtime, network, MIN_SIZE, MIN_SIZE, device, settings.precision)
        return LoadedNetwork(network, device, version, weights, note)
    except RuntimeError as error:  # out of memory, driver too old …
        raise DeviceError(f"{weights} cannot be put on {device}: {error}") from None


class ImageSource:
    """Makes the images of one sensor size, by a runtime that is made when it is first needed.

    Args:
        loaded: the network.
        settings: how it is run, and its images shown.
        height, width: the sensor's size in pixels.
        tell: is given a line about which runtime it is.
    """

    def __init__(
        self, loaded: LoadedNetwork, settings: Settings, height: int, width: int, tell: Callable[[str], None]
    ) -> None:
        self.loaded = loaded
        self.height, self.width = height, width
        self.error: CistaError | None = None
        self._settings, self._tell = settings, tell
        self._maker: Reconstructor | None = None
        self._retry_at = 0.0

    @property
    def downscale(self) -> int:
        """That of the images made here, whatever the node's is by now."""
        return self._settings.downscale

    def adjust(self, settings: Settings) -> None:
        """Take over, with the next window, what needs no new runtime. From any thread."""
        self._settings = settings

    def prepare(self) -> None:
        """Make the runtime and try a step, so that what cannot be is known now.

        Raises:
            EventError, DeviceError, RuntimeUnavailableError: why the network cannot be run so.
        """
        settings, device = self._settings, self.loaded.device
        try:
            reconstructor = Reconstructor(
                self.loaded.network,
                self.height,
                self.width,
                device,
                runtime=settings.runtime,
                precision=settings.precision,
                downscale=settings.downscale,
                tone_map=settings.tone_map,
            )
            reconstructor.reconstruct(no_events())
            reconstructor.reset()
        except (RuntimeError, MemoryError) as error:
            raise DeviceError(
                f"{self.width}x{self.height} pixels, downscale {settings.downscale}, runtime {settings.runtime}, cannot"
                f" be reconstructed on {device}: {error}; if that is for memory, raise downscale or choose another"
                " device or runtime"
            ) from error
        self._tone_map = settings.tone_map
        self._maker = reconstructor
        self.error = None
        self._tell(f"{self.width}x{self.height} pixels: {reconstructor.runtime_note}")

    def make(self, window: Window) -> Frame:
        """Reconstruct and tone-map one window. NotReadyError if there is no runtime to do it."""
        if self._maker is None:
            self._prepare_or_raise()
        settings, maker = self._settings, self._maker
        assert maker
        maker.max_events = settings.max_events or None
        maker.clip_hot_pixels = settings.hot_pixels
        if settings.tone_map != self._tone_map:
            self._tone_map = settings.tone_map
            maker.tone_map = make_tone_map(settings.tone_map)
        return maker.make(window)

    def code_activity(self) -> np.ndarray | None:
        """Of the last image, as Reconstructor has it. In the worker's thread."""
        return self._maker.code_activity() if self._maker else None

    def give_up(self) -> None:
        """Forget the stream so far, of which a window failed; and the runtime, if it cannot even do that."""
        try:
            if self._maker:
                self._maker.reset()
        except Exception:  # a GPU that failed fails in all that it is asked for
            self._maker = None

    def _prepare_or_raise(self) -> None:
        if self.error is None or time.monotonic() >= self._retry_at:
            try:
                return self.prepare()
            except CistaError as error:
                self.error = error
                self._retry_at = time.monotonic() + RETRY_S
        raise NotReadyError(f"{self.error}; tried again every {RETRY_S:.0f} s")


def try_out(
    settings: Settings, size: tuple[int, int] | None, tell: Callable[[str], None]
) -> tuple[LoadedNetwork, ImageSource | None]:
    """The network of these settings, and for a sensor of this size (height, width) its runtime, ready to be used.

    Raises CistaError, whatever it is that cannot be: what ran before is to go on.
    """
    try:
        loaded = load(settings)
        images = ImageSource(loaded, settings, *size, tell) if size else None
        if images:
            images.prepare()
    except CistaError:
        raise
    except Exception as error:  # of a runtime's library, a file system …
        raise DeviceError(f"{settings.weights} cannot be run so: {type(error).__name__}: {error}") from error
    return loaded, images
