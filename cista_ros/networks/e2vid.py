"""E2VID (Rebecq, Ranftl, Koltun, Scaramuzza, "High Speed and High Dynamic Range Video …", TPAMI 2019), section 3.

A UNet: head, encoders that halve the size (each followed by a ConvLSTM), residual blocks, decoders that double it
again, and skip connections that add the output of the encoder of the same size. 42.9 MB of fp32 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .layers import ConvNorm, RecurrentConv, ResidualBlock, pad_to_multiple
from .network import Network, check_counts, check_switches

E2vidState = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class E2vidConfig:
    """The architecture. The defaults are those of the CISTA paper and of the published "lightweight" network."""

    bins: int = 5
    channels: int = 32  # of the head; each encoder doubles them
    encoders: int = 3
    residual_blocks: int = 2
    norm: bool = True  # batch normalisation after the convolutions (all but the head's)
    transposed: bool = True  # decoders are transposed convolutions; else bilinear doubling and a convolution

    def __post_init__(self) -> None:
        check_counts(self, bins=1000, channels=512, encoders=4, residual_blocks=100)
        check_switches(self, "norm", "transposed")


class E2vid(Network):
    """The state is (hidden, cell) of each encoder, each (N, C, h, w)."""

    name = "e2vid"
    config: E2vidConfig

    def __init__(self, config: E2vidConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or E2vidConfig()
        sizes = [config.channels * 2**i for i in range(config.encoders + 1)]
        pairs = list(pairwise(sizes))
        double = "transposed" if config.transposed else "bilinear"
        self.head = ConvNorm(config.bins, sizes[0], 5)
        self.encoders = nn.ModuleList(RecurrentConv(few, many, 2, config.norm) for few, many in pairs)
        self.residual = nn.ModuleList(ResidualBlock(sizes[-1], config.norm) for _ in range(config.residual_blocks))
        self.decoders = nn.ModuleList(
            ConvNorm(many, few, 5, norm=config.norm, double=double) for few, many in reversed(pairs)
        )
        self.prediction = ConvNorm(sizes[0], 1, 1, norm=config.norm)

    def forward(self, voxel: Tensor, state: E2vidState | None = None) -> tuple[Tensor, E2vidState]:
        """Reconstruct one window: see Network. Sizes are padded by reflection to multiples of 2 ** encoders."""
        self.check_voxel(voxel)
        padded, (rows, columns) = pad_to_multiple(voxel, 2**self.config.encoders)
        head = x = torch.relu(self.head(padded))
        skips, after = [], []
        for encoder, before in zip(self.encoders, state or [None] * len(self.encoders), strict=True):
            if before and before[0].shape[-2:] != tuple((n + 1) // 2 for n in x.shape[-2:]):
                raise ValueError(f"the state is of another size than the voxel grid {tuple(voxel.shape)}")
            x, cell = encoder(x, before)
            skips.append(x)
            after.append((x, cell))
        for block in self.residual:
            x = block(x)
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = torch.relu(decoder(x + skip))
        return torch.sigmoid(self.prediction(x + head))[..., rows, columns], tuple(after)
