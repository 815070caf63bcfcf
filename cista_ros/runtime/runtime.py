"""What a runtime is: a way to run a network on one stream, which keeps the network's state to itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from ..networks import Network


class Runtime(ABC):
    """Runs a network, window by window, for one sensor size on one device.

    Attributes:
        name: as `--runtime` takes it.
        precision: of the arithmetic: fp32, bf16 or fp16.
        takes_events: it makes the voxel grid as well: `step_events` is there.
    """

    name: str
    precision = "fp32"
    takes_events = False

    @abstractmethod
    def reset(self) -> None:
        """Begin a new sequence: forget all that the network remembers."""

    @abstractmethod
    def code(self) -> Tensor | None:
        """The sparse code (2C, h, w) of the last step (before the first: zeros or None); None of a network without one.

        It lies on the runtime's device, and is the caller's until the next step.
        """

    @abstractmethod
    def step(self, grid: Tensor) -> Tensor:
        """A voxel grid float32 (B, H, W), as the network wants it -> its image float32 (H, W).

        Both lie on the runtime's device. The image is the caller's until the next step.
        """

    def step_events(self, events: np.ndarray, hot_pixels: bool) -> Tensor:
        """An event array (N,), hot pixels limited or not -> the image, as `step`. Only where takes_events."""
        raise NotImplementedError(self.name)


class Eager(Runtime):
    """The network as it is written, layer by layer: the reference that all other runtimes are measured against."""

    name = "eager"

    def __init__(self, network: Network) -> None:
        self.network = network
        self._state: Any = None

    def reset(self) -> None:
        self._state = None

    def code(self) -> Tensor | None:
        return code_of(self.network, self._state)

    def step(self, grid: Tensor) -> Tensor:
        image, self._state = self.network(grid[None], self._state)
        return image[0, 0]


def code_of(network: Network, state: Any) -> Tensor | None:
    """The sparse code (2C, h, w) in the state of one stream, if both are there."""
    codes = None if state is None else network.codes(state)
    return None if codes is None else codes[0]
