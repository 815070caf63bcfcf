"""The interface of a runtime: it runs a network on one stream and owns the network's recurrent state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..networks import Network

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}  # of the precisions


class Runtime(ABC):
    """Runs a network window by window, for one sensor size on one device."""

    name: str  # value of `--runtime` that selects it
    precisions: tuple[str, ...] = ("fp32",)  # those that it supports; `precision` is the one in use
    precision = "fp32"
    takes_events = False  # whether it also computes the voxel grid, that is, implements `step_events`

    def __init__(
        self, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
    ) -> None:
        self.network, self.height, self.width = network, height, width
        self.device, self.precision = device, precision

    @abstractmethod
    def reset(self) -> None:
        """Start a new sequence: clear the recurrent state."""

    @abstractmethod
    def code(self) -> Tensor | None:
        """Return the sparse code (2C, h, w) of the last step, valid until the next, or None for a network without one.

        Before the first step it is zero or None. It lies on the runtime's device.
        """

    @abstractmethod
    def step(self, grid: Tensor) -> Tensor:
        """Reconstruct one window: voxel grid float32 (B, H, W) -> image float32 (H, W), valid until the next step.

        The grid follows the network's conventions (normalised or not). Both tensors lie on the runtime's device.
        """

    def step_events(self, events: np.ndarray, clip: bool) -> Tensor:
        """Reconstruct one window from an event array (N,), with hot pixels clipped or not -> image, as in `step`."""
        raise NotImplementedError(self.name)


class Eager(Runtime):
    """The network as written, on any device: the reference for all other runtimes."""

    name = "eager"
    _state: Any = None

    def reset(self) -> None:
        self._state = None

    def code(self) -> Tensor | None:
        return code_of(self.network, self._state)

    def step(self, grid: Tensor) -> Tensor:
        image, self._state = self.network(grid[None], self._state)
        first: Tensor = image[0, 0]
        return first


def code_of(network: Network, state: Any) -> Tensor | None:
    """Return the sparse code (2C, h, w) in the state of one stream, or None without a code."""
    codes = None if state is None else network.codes(state)
    return None if codes is None else codes[0]


@torch.inference_mode()
def first_state(network: Network, height: int, width: int, device: torch.device) -> tuple[list[Tensor], Any] | None:
    """Return the initial state as zero tensors, with the pytree structure that holds them.

    None if the network's first step differs from a step on an all-zero state (PIE-Net and SPADE-E2VID have no previous
    image then), or the size is below the network's smallest.
    """
    if min(height, width) < network.min_size:
        return None
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(1, network.bins, height, width, generator=generator).to(device)
    image, state = network(grid)
    leaves, structure = pytree.tree_flatten(state)
    leaves = [torch.zeros_like(leaf) for leaf in leaves]
    from_zeros = network(grid, pytree.tree_unflatten(leaves, structure))[0]
    return (leaves, structure) if torch.allclose(image, from_zeros, atol=1e-6) else None
