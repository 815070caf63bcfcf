"""PIE-Net and PIE-Net-Lite (Qu et al., github.com/VincentQQu/pie-net, PyPI event-pienet 1.1.3, May 2026, MIT).

A recurrent U-Net reads the voxel grid, which is not normalised, and the previous image. Per pixel it predicts mean and
variance of the intensity ratio Z, a refined previous image F and an offset k, from which the next image follows:

    I_t = (F + k) E[Z] - k,     var I_t = (F + k)^2 var Z

The variance of the previous step gates the skip connections. The published class keeps its state inside; here it is an
argument, as in all networks of this package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import MIN_SIZE, Network, check_counts, check_switches

NORM_GROUPS = 4  # of the group normalisation of hidden and cell
SQUEEZE = 8  # channels per channel of the squeeze-and-excitation bottleneck


@dataclass(frozen=True)
class PieNetConfig:
    """The architecture. The defaults are PIE-Net as published (154,201 parameters)."""

    bins: int = 5
    channels: tuple[int, ...] = (8, 16, 24, 32)  # of the heads, then of each encoder; each encoder's a multiple of 4
    pools: tuple[int, ...] = (2, 2, 5)  # factor by which each encoder reduces its output
    blocks: bool = False  # each encoder has a residual block behind its memory (PIE-Net-Lite)

    def __post_init__(self) -> None:
        check_counts(self, bins=1000)
        check_switches(self, "blocks")
        for name, limit in (("channels", 512), ("pools", 16)):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or not all(type(v) is int and 1 <= v <= limit for v in values):
                raise ValueError(f"{name} must be whole numbers from 1 to {limit}, not {values!r}")
            object.__setattr__(self, name, tuple(values))  # JSON has lists
        if not 1 <= len(self.pools) <= 8 or len(self.channels) != len(self.pools) + 1:
            raise ValueError(f"{len(self.channels)} channels do not fit {len(self.pools)} encoders")
        if any(c % NORM_GROUPS for c in self.channels[1:]):
            raise ValueError(f"channels of encoders must be multiples of {NORM_GROUPS}, not {self.channels[1:]}")


PIE_NET_LITE = PieNetConfig(channels=(12, 16, 24), pools=(2, 2), blocks=True)


class PieNetState(NamedTuple):
    """The state between two steps."""

    image: Tensor  # the previous image (N, 1, H, W)
    memory: tuple[tuple[Tensor, Tensor], ...]  # (hidden, cell) of each encoder
    variance: Tensor | None  # of the previous image; None before the first step: no skip connection is gated


class PieNet(Network):
    """PIE-Net; the configuration chooses the variant."""

    name = "pie-net"
    fed_back = True
    config: PieNetConfig

    def __init__(self, config: PieNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PieNetConfig()
        c, pools = config.channels, config.pools
        self.min_size = max(MIN_SIZE, math.prod(pools))
        self.events_head = ConvNormSilu(config.bins, c[0])
        self.image_head = ConvNormSilu(1, c[0])
        self.encoders = nn.ModuleList(
            Encoder(c[i], c[i + 1], c[0], pool, config.blocks) for i, pool in enumerate(pools)
        )
        self.decoders = nn.ModuleList(Decoder(c[i + 1], c[i], pool) for i, pool in reversed(list(enumerate(pools))))
        self.prediction = nn.Conv2d(c[0], 3, 1)
        self.offset = ConvNormSilu(3, 1)

    def forward(self, voxel: Tensor, state: PieNetState | None = None) -> tuple[Tensor, PieNetState]:
        """Reconstruct one window: see Network."""
        self.check_voxel(voxel, None if state is None else state.image)
        if state is None:
            state = PieNetState(torch.zeros_like(voxel[:, :1]), (), None)
        events, image = self.events_head(voxel), self.image_head(state.image)
        summary = torch.cat([x.mean((2, 3), keepdim=True) for x in (events, image)], 1)
        x = events + image
        skips, memory = [], []
        for i, encoder in enumerate(self.encoders):
            x, after, skip = encoder(x, state.memory[i] if state.memory else None, summary)
            skips.append(skip)
            memory.append(after)
        for decoder in self.decoders:
            x = decoder(x, skips.pop(), state.variance)
        features = self.prediction(x)
        ratio, ratio_variance, refined = features.relu().chunk(3, 1)
        offset = self.offset(features).relu()
        base = refined + offset
        next_image = (base * ratio - offset).clamp(0, 1)
        return next_image, PieNetState(next_image, tuple(memory), base.square() * ratio_variance)


class ConvNormSilu(nn.Sequential):
    """A zero-padded convolution, normalisation over all channels and pixels, and SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, activation: bool = True) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2),
            nn.GroupNorm(1, outputs),
            *([nn.SiLU()] if activation else []),
        )


class Encoder(nn.Module):
    """A ConvLSTM with squeeze-and-excitation in its gates, modulated by a summary of the inputs, then max-pooling."""

    def __init__(self, inputs: int, outputs: int, summary: int, pool: int, block: bool) -> None:
        super().__init__()
        both = inputs + outputs
        self.expand = ConvNormSilu(both, 2 * both)
        self.squeeze = nn.Conv2d(2 * both, max(1, 2 * both // SQUEEZE), 1, bias=False)
        self.excite = nn.Conv2d(max(1, 2 * both // SQUEEZE), 2 * both, 1, bias=False)
        self.project = ConvNormSilu(2 * both, 4 * outputs, 1, activation=False)
        self.hidden_norm = nn.GroupNorm(NORM_GROUPS, outputs)
        self.cell_norm = nn.GroupNorm(NORM_GROUPS, outputs)
        self.block = ConvNormSilu(outputs, outputs) if block else None
        self.film = nn.Conv2d(2 * summary, 2 * outputs, 1)
        self.pool = pool

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None, summary: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """(N, inputs, h, w), (hidden, cell), the summary (N, 2 S, 1, 1) -> pooled output, (hidden, cell), output."""
        if state is None:
            n, _, h, w = x.shape
            zeros = x.new_zeros(n, self.hidden_norm.num_channels, h, w)
            state = zeros, zeros
        hidden, cell = state
        gates = self.expand(torch.cat((x, hidden), 1))
        gates = gates * self.excite(self.squeeze(gates.mean((2, 3), keepdim=True)).relu()).sigmoid()
        remember_in, forget, out, candidate = self.project(gates).chunk(4, 1)
        cell = self.cell_norm(forget.sigmoid() * cell + remember_in.sigmoid() * candidate.tanh())
        hidden = self.hidden_norm(out.sigmoid() * cell.tanh())
        y = hidden if self.block is None else hidden + self.block(hidden)
        gain, shift = self.film(summary).chunk(2, 1)
        y = y * (1 + gain) + shift
        return F.max_pool2d(y, self.pool), (hidden, cell), y


class Decoder(nn.Module):
    """Bilinear upsampling, then a convolution of it and of the skip connection, gated by the image's variance."""

    def __init__(self, inputs: int, outputs: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.gate = nn.Conv2d(1, inputs, 1)
        self.fuse = ConvNormSilu(2 * inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor, variance: Tensor | None) -> Tensor:
        """(N, inputs, h, w), skip (N, inputs, H, W), variance (N, 1, H', W') or None -> (N, outputs, H, W)."""
        x = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=True)
        down, right = (s - t for s, t in zip(skip.shape[-2:], x.shape[-2:], strict=True))
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        if variance is not None:
            resized = F.interpolate(variance, skip.shape[-2:], mode="bilinear", align_corners=True)
            skip = skip * self.gate(resized).sigmoid()
        fused: Tensor = self.fuse(torch.cat((skip, x), 1))
        return fused
