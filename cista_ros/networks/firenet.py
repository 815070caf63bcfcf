"""FireNet (Scheerlinck et al., "Fast Image Reconstruction with an Event Camera", WACV 2020), section 3.

A small E2VID at full resolution: 3x3 convolutions with 16 channels, two ConvGRUs; 37,777 parameters, 0.15 MB in fp32.
The last convolution has no activation: images may leave [0, 1] and are clipped for display.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .layers import ConvGRU, ConvNorm, ResidualBlock
from .network import Network, check_counts

FirenetState = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FirenetConfig:
    """The architecture: temporal bins of the voxel grid, and channels throughout; defaults as published."""

    bins: int = 5
    channels: int = 16

    def __post_init__(self) -> None:
        check_counts(self, bins=1000, channels=4096)


class Firenet(Network):
    """The state is that of the two ConvGRUs, each (N, C, H, W)."""

    name = "firenet"
    config: FirenetConfig

    def __init__(self, config: FirenetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FirenetConfig()
        c = config.channels
        self.head = ConvNorm(config.bins, c, 3)
        self.first_memory = ConvGRU(c)
        self.first_block = ResidualBlock(c)
        self.second_memory = ConvGRU(c)
        self.second_block = ResidualBlock(c)
        self.prediction = ConvNorm(c, 1, 1)

    def forward(self, voxel: Tensor, state: FirenetState | None = None) -> tuple[Tensor, FirenetState]:
        """Reconstruct one window: see Network."""
        before = state or (None, None)
        self.check_voxel(voxel, before[0])
        first = self.first_memory(torch.relu(self.head(voxel)), before[0])
        second = self.second_memory(self.first_block(first), before[1])
        return self.prediction(self.second_block(second)), (first, second)
