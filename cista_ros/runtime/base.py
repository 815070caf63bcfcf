"""The interface of a runtime: it runs a network on one stream and owns the network's recurrent state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..networks import Network


class Runtime(ABC):
    """Runs a network window by window, for one sensor size on one device.

    Attributes:
        name: value of `--runtime` that selects it.
        precision: of the arithmetic: fp32, bf16 or fp16.
        takes_events: whether it also computes the voxel grid, that is, implements `step_events`.
    """

    name: str
    precision = "fp32"
    takes_events = False

    @abstractmethod
    def reset(self) -> None:
        """Start a new sequence: clear the recurrent state."""

    @abstractmethod
    def code(self) -> Tensor | None:
        """Return the sparse code (2C, h, w) of the last step, or None for a network without one.

        Before the first step it is zero or None. It lies on the runtime's device and is valid until the next step.
        """

    @abstractmethod
    def step(self, grid: Tensor) -> Tensor:
        """Reconstruct one window: voxel grid float32 (B, H, W) -> image float32 (H, W).

        The grid follows the network's conventions (normalised or not). Both tensors lie on the runtime's device. The
        image is valid until the next step.
        """

    def step_events(self, events: np.ndarray, clip: bool) -> Tensor:
        """Reconstruct one window from an event array (N,), with hot pixels clipped or not -> image, as in `step`.

        Only runtimes with `takes_events` implement it.
        """
        raise NotImplementedError(self.name)


def code_of(network: Network, state: Any) -> Tensor | None:
    """Return the sparse code (2C, h, w) in the state of one stream, or None if there is none."""
    codes = None if state is None else network.codes(state)
    return None if codes is None else codes[0]


@torch.inference_mode()
def first_state(network: Network, height: int, width: int, device: torch.device) -> tuple[list[Tensor], Any] | None:
    """Return the initial state as zero tensors, with the pytree structure that holds them.

    For runtimes that always pass a state. None if the network's first step differs from a step on an all-zero state
    (SPADE-E2VID, which has no previous image then).
    """
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(1, network.bins, height, width, generator=generator).to(device)
    image, state = network(grid)
    leaves, structure = pytree.tree_flatten(state)
    leaves = [torch.zeros_like(leaf) for leaf in leaves]
    from_zeros = network(grid, pytree.tree_unflatten(leaves, structure))[0]
    if not torch.allclose(image, from_zeros, atol=1e-6):
        return None
    return leaves, structure
