"""What one network has learned, as the beginning of a network of another configuration.

`widen`: twice as wide, and it computes the same. After Net2Net (Chen, Goodfellow, Shlens 2016): every channel appears
twice, and what reads it shares its weight between the two. The shares differ a little from one half, so that the twins
can grow apart in training.

`adapt`: other switches (an ablation, separate blocks), and it computes something near.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cista import Cista, CistaConfig


def widen(network: Cista, uneven: float = 0.1, seed: int = 0) -> Cista:
    """A network of twice the channels whose images equal the given one's to rounding.

    Args:
        uneven: how much a share differs from one half, at most.
    """
    config = network.config
    wide = Cista(replace(config, channels=2 * config.channels))
    generator = torch.Generator().manual_seed(seed)
    narrow = network.state_dict()
    weights = {
        name: _widened(name, narrow[name], value, generator, uneven) for name, value in wide.state_dict().items()
    }
    wide.load_state_dict(weights)
    return wide.train(network.training)


def adapt(network: Cista, config: CistaConfig) -> Cista:
    """A network of another configuration with all of the given one's weights that have a place there.

    What only the given network has is left out; what only the new one has begins untrained. A shared block becomes the
    beginning of separate ones, the first of separate blocks that of a shared one.

    Raises:
        ValueError: other numbers of bins or channels.
    """
    if (config.bins, config.channels) != (network.config.bins, network.config.channels):
        raise ValueError(
            f"{network.config.channels} channels and {network.config.bins} bins do not fit a network of"
            f" {config.channels} and {config.bins}"
        )
    adapted = Cista(config)
    given = network.state_dict()
    last = len(network.blocks) - 1
    weights = {}
    for name, value in adapted.state_dict().items():
        folder, _, rest = name.partition(".")
        if folder == "blocks":
            index, _, rest = rest.partition(".")
            source = f"blocks.{min(int(index), last)}.{rest}"
        else:
            source = name
        weights[name] = given.get(source, value)
    adapted.load_state_dict(weights)
    return adapted.train(network.training)


def _widened(name: str, narrow: Tensor, wide: Tensor, generator: torch.Generator, uneven: float) -> Tensor:
    # What a convolution puts out, or reads, may be several groups of channels side by side: each is doubled by itself.
    layer, _, kind = name.rpartition(".")
    outputs = 4 if layer == "memory.gates" else 1
    inputs = 2 if layer in ("fusion", "memory.gates") else 1
    dim = 1 if kind in ("theta", "alpha") else 0
    if narrow.shape[dim] != wide.shape[dim]:
        narrow = _twice(narrow, dim, outputs)
    if kind == "weight" and narrow.shape[1] != wide.shape[1]:
        shares = uneven * (2 * torch.rand(narrow.shape, generator=generator) - 1).to(narrow)
        first, second = narrow * (0.5 + shares / 2), narrow * (0.5 - shares / 2)
        pairs = zip(first.chunk(inputs, 1), second.chunk(inputs, 1), strict=True)
        narrow = torch.cat([half for pair in pairs for half in pair], 1)
    return narrow


def _twice(value: Tensor, dim: int, groups: int) -> Tensor:
    return torch.cat([part for group in value.chunk(groups, dim) for part in (group, group)], dim)
