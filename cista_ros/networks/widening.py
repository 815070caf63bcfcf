"""Initialise a network from the weights of a network with another configuration.

`widen` doubles the channels and preserves the output, after Net2Net (Chen, Goodfellow, Shlens 2016): every channel
appears twice, and its readers split their weight between the two copies. The shares differ slightly from one half, so
that the copies can diverge in training.

`adapt` changes switches (an ablation, separate blocks) and approximately preserves the output.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cista import Cista, CistaConfig


def widen(network: Cista, uneven: float = 0.1, seed: int = 0) -> Cista:
    """Return a network with twice the channels whose images equal the given one's up to rounding.

    uneven: largest relative deviation of a share from one half.
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
    """Return a network of another configuration with all weights of the given one that it can use.

    Layers that only the new network has stay untrained. A shared block initialises each separate one, and the first
    separate block a shared one. ValueError for different numbers of bins or channels.
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
    # Outputs or inputs of a convolution may be several concatenated groups of channels; each is doubled separately.
    layer, _, kind = name.rpartition(".")
    outputs = 4 if layer == "memory.gates" else 1
    inputs = 2 if layer in ("fusion", "memory.gates") else 1
    dim = 1 if kind in ("theta", "alpha") else 0
    if narrow.shape[dim] != wide.shape[dim]:
        narrow = torch.cat([part for group in narrow.chunk(outputs, dim) for part in (group, group)], dim)
    if kind == "weight" and narrow.shape[1] != wide.shape[1]:
        shares = uneven * (2 * torch.rand(narrow.shape, generator=generator) - 1).to(narrow)
        first, second = narrow * (0.5 + shares / 2), narrow * (0.5 - shares / 2)
        pairs = zip(first.chunk(inputs, 1), second.chunk(inputs, 1), strict=True)
        narrow = torch.cat([half for pair in pairs for half in pair], 1)
    return narrow
