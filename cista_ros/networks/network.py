"""The interface of every network, which is all that a reconstructor needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MIN_SIZE = 16


@dataclass(frozen=True)
class Conventions:
    """What weights expect as input, and how their images are scaled before a comparison."""

    normalise: bool = True  #: voxel grids are normalised (voxel_grid.normalise), not raw counts
    robust: bool = False  #: EVREAL stretches the images between their 1st and 99th percentile


class Network(nn.Module, ABC):
    """A recurrent network: a pure function (voxel grid, state) -> (image, state).

    States are tensors in (nested) tuples.
    """

    name: str  #: kind of network, in files and lists
    config: Any  #: dataclass that defines the architecture
    conventions = Conventions()
    fed_back = False  #: whether a step reads the image of the previous step
    min_size = MIN_SIZE  #: smallest height and width of a voxel grid

    @property
    def bins(self) -> int:
        """Number of temporal bins B of a voxel grid."""
        return int(self.config.bins)

    @abstractmethod
    def forward(self, voxel: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Reconstruct one window: voxel grids (N, B, H, W), previous state or None -> images (N, 1, H, W), state.

        ValueError for a voxel grid or a state of the wrong shape.
        """

    def with_last_image(self, state: Any, image: Tensor, where: Tensor) -> Any:
        """Return the state with `image` (N, 1, H, W) as the last image where `where`, bool (N,), is true.

        This is for states without an image, or NamedTuples with the last one as `image`, if the network is `fed_back`.
        """
        if not self.fed_back:
            return state
        return state._replace(image=torch.where(where.view(-1, 1, 1, 1), image, state.image))

    def codes(self, state: Any) -> Tensor | None:
        """Return the sparse codes (N, 2C, h, w) in a state, or None for a network without codes."""
        return None

    def check_voxel(self, voxel: Tensor, state: Tensor | None = None) -> None:
        """Raise ValueError unless a voxel grid (N, B, H, W) has this network's bins and smallest size.

        A `state` (N, C, H, W) must have as many grids and pixels.
        """
        bins, height, width = voxel.shape[1:]
        if bins != self.bins or min(height, width) < self.min_size:
            raise ValueError(
                f"voxel grid is {bins}x{height}x{width}; this network takes {self.bins} bins"
                f" and at least {self.min_size}x{self.min_size} pixels"
            )
        if state is not None and (state.shape[0], *state.shape[2:]) != (voxel.shape[0], height, width):
            raise ValueError(f"state is of size {tuple(state.shape)}, the voxel grid {tuple(voxel.shape)}")


def count_parameters(network: nn.Module) -> int:
    """Return the number of learned parameters, shared ones counted once. Papers give 4 bytes each as fp32 memory."""
    return sum(parameter.numel() for parameter in network.parameters())


def check_counts(config: Any, **limits: int) -> None:
    """Raise ValueError unless each named field of a configuration is a whole number from 1 to its limit."""
    for name, limit in limits.items():
        value = getattr(config, name)
        if type(value) is not int or not 1 <= value <= limit:
            raise ValueError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")


def check_switches(config: Any, *names: str) -> None:
    """Raise ValueError unless each named field of a configuration is true or false."""
    for name in names:
        if type(getattr(config, name)) is not bool:
            raise ValueError(f"{name} must be true or false, not {getattr(config, name)!r}")
