"""What every network offers, whatever its architecture: so much that a reconstructor can drive it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

MIN_SIZE = 16


@dataclass(frozen=True)
class Conventions:
    """What a set of weights expects of its input, and how its images are scaled before they are compared.

    Attributes:
        normalise: voxel grids are given to it normalised (voxel_grid.normalise), not as counted.
        robust: its images are stretched between their 1st and 99th percentile where EVREAL evaluates it.
    """

    normalise: bool = True
    robust: bool = False


class Network(nn.Module, ABC):
    """A recurrent network: a pure function (voxel grid, state) -> (image, state).

    `name` is its kind in files and lists; `config` a dataclass from which another of the same shape can be made;
    `fed_back` tells whether a step reads the image of the step before. States are tensors in (nested) tuples.
    """

    name: str
    config: Any
    conventions = Conventions()
    fed_back = False

    @property
    @abstractmethod
    def bins(self) -> int:
        """Temporal bins B of the voxel grids that it takes."""

    @abstractmethod
    def forward(self, voxel: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Voxel grids (N, B, H, W) and what the step before returned (None at the start) -> images (N, 1, H, W), state.

        ValueError for a voxel grid or a state of another shape than the network takes.
        """

    def with_last_image(self, state: Any, image: Tensor, where: Tensor) -> Any:
        """The state with `image` (N, 1, H, W) in place of the last reconstruction of those (N,) that `where` names.

        For networks that are fed back; to the others it makes no difference.
        """
        return state

    def codes(self, state: Any) -> Tensor | None:
        """The sparse codes that a state holds; None for a network that has none."""
        return None

    def check_voxel(self, voxel: Tensor) -> None:
        """ValueError unless a voxel grid (N, B, H, W) has this network's bins and at least 16x16 pixels."""
        bins, height, width = voxel.shape[1:]
        if bins != self.bins or min(height, width) < MIN_SIZE:
            raise ValueError(
                f"voxel grid is {bins}x{height}x{width}; this network takes {self.bins} bins"
                f" and at least {MIN_SIZE}x{MIN_SIZE} pixels"
            )


def count_parameters(network: nn.Module) -> int:
    """Learned parameters; shared ones count once. Times 4 they are the bytes that papers call fp32 memory."""
    return sum(parameter.numel() for parameter in network.parameters())


def check_counts(config: Any, **limits: int) -> None:
    """ValueError unless each named field of a configuration is a whole number from 1 to its limit."""
    for name, limit in limits.items():
        value = getattr(config, name)
        if type(value) is not int or not 1 <= value <= limit:
            raise ValueError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")


def check_switches(config: Any, *names: str) -> None:
    """ValueError unless each named field of a configuration is true or false."""
    for name in names:
        if type(getattr(config, name)) is not bool:
            raise ValueError(f"{name} must be true or false, not {getattr(config, name)!r}")
