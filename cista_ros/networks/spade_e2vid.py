"""SPADE-E2VID (Gantier Cadena et al., IEEE Transactions on Image Processing 30, 2021), section III.

E2VID whose decoders are modulated by the previous image: each is normalised, then scaled and shifted per pixel by a
small network's output for that image (spatially-adaptive denormalisation, Park et al. 2019). Internal images have three
channels; the output is their mean. 45.9 MB of fp32 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ConvNorm, RecurrentConv, ResidualBlock, pad_to_multiple
from .network import Network, check_counts

COLOURS = 3  # channels of the internal image
MODULATION = 64  # channels of the network that reads it


@dataclass(frozen=True)
class SpadeE2vidConfig:
    """The architecture: temporal bins (at least 3), and channels of the head; defaults as published."""

    bins: int = 5
    channels: int = 32

    def __post_init__(self) -> None:
        check_counts(self, bins=1000, channels=512)
        if self.bins < COLOURS:
            raise ValueError(f"bins must be at least {COLOURS}, not {self.bins}")


class SpadeState(NamedTuple):
    """picture (N, 3, H', W'), padded as the network works on it; memories: (hidden, cell) of each ConvLSTM."""

    picture: Tensor
    memories: tuple[tuple[Tensor, Tensor], ...]


class Spade(nn.Module):
    """Spatially-adaptive denormalisation of features by a picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = ConvNorm(COLOURS, MODULATION, 3)
        self.gain = ConvNorm(MODULATION, channels, 3)
        self.shift = ConvNorm(MODULATION, channels, 3)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        """Modulate features (N, C, h, w) by a picture (N, 3, H, W)."""
        read = torch.relu(self.shared(F.interpolate(picture, size=x.shape[-2:], mode="nearest")))
        modulated: Tensor = self.norm(x) * (1 + self.gain(read)) + self.shift(read)
        return modulated


class Doubling(nn.Module):
    """Twice the size by pixel shuffling (Shi et al. 2016), then modulated by the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1, bias=False)
        self.spade = Spade(outputs)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        """(N, inputs, h, w) and a picture (N, 3, H, W) -> (N, outputs, 2h, 2w)."""
        return torch.relu(self.spade(F.pixel_shuffle(self.conv(x), 2), picture))


class SpadeE2vid(Network):
    """The network, with batch normalisation throughout."""

    name = "spade-e2vid"
    fed_back = True
    config: SpadeE2vidConfig

    def __init__(self, config: SpadeE2vidConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SpadeE2vidConfig()
        c = config.channels
        self.head = ConvNorm(config.bins, c, 5)
        self.encoders = nn.ModuleList(
            [
                RecurrentConv(c, 2 * c, 1, norm=True),
                RecurrentConv(2 * c, 4 * c, 2, norm=True),
                RecurrentConv(4 * c, 8 * c, 2, norm=True),
            ]
        )
        self.residual = nn.ModuleList(ResidualBlock(8 * c, norm=True) for _ in range(2))
        self.decoders = nn.ModuleList([Doubling(8 * c, 4 * c), Doubling(4 * c, 2 * c)])
        self.last = RecurrentConv(2 * c, c, 1, norm=True)
        self.prediction = nn.Conv2d(c, COLOURS, 1)
        self.prediction_norm = nn.BatchNorm2d(COLOURS)

    def with_last_image(self, state: SpadeState, image: Tensor, where: Tensor) -> SpadeState:
        """See Network; all three channels get the image."""
        picture = torch.where(where.view(-1, 1, 1, 1), pad_to_multiple(image, 4)[0], state.picture)
        return state._replace(picture=picture)

    def forward(self, voxel: Tensor, state: SpadeState | None = None) -> tuple[Tensor, SpadeState]:
        """Reconstruct one window: see Network. Sizes are padded by reflection to multiples of 4."""
        self.check_voxel(voxel)
        x, (rows, columns) = pad_to_multiple(voxel, 4)
        if state is None:
            x, picture = _begin(x)
            memories: tuple[tuple[Tensor, Tensor] | None, ...] = (None,) * 4
        else:
            picture, memories = state
            if picture.shape[-2:] != x.shape[-2:]:
                raise ValueError(f"state is of size {tuple(picture.shape)}, the voxel grid {tuple(voxel.shape)}")
        head = x = torch.relu(self.head(x))
        after = []
        for encoder, memory in zip(self.encoders, memories, strict=False):
            after.append(encoder(x, memory))
            x = after[-1][0]
        for block in self.residual:
            x = block(x)
        x = self.decoders[0](x + after[2][0], picture)
        x = self.decoders[1](x + after[1][0], picture)
        after.append(self.last(x + after[0][0], memories[3]))
        picture = torch.sigmoid(self.prediction_norm(self.prediction(torch.relu(after[3][0] + head))))
        return picture.mean(1, keepdim=True)[..., rows, columns], SpadeState(picture, tuple(after))


def _begin(voxel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first window's grid, and its first three bins stretched to [0, 1] in place of a previous image.

    The published code stretches the bins in place, so that the network also sees them stretched in this step. Its
    weights were evaluated this way.
    """
    picture = voxel[:, :COLOURS]
    picture = picture - picture.amin((1, 2, 3), keepdim=True)
    largest = picture.amax((1, 2, 3), keepdim=True)
    picture = picture / torch.where(largest > 0, largest, 1)
    return torch.cat((picture, voxel[:, COLOURS:]), 1), picture
