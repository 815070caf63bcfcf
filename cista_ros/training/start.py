"""What a training starts with: an untrained network and its optimiser; and settings that do not apply to them."""

from __future__ import annotations

import torch
from torch.nn import Parameter

from ..networks import Network, make_network
from ..networks.layers import ConvLSTM
from ..networks.sparse_coding import IstaBlock
from .config import TrainingConfig
from .muon import Muon


def new_network(config: TrainingConfig) -> Network:
    """Return the untrained network of a configuration; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = make_network(config.network)
    with torch.no_grad():
        for memory in memories(network):
            bias = memory.gates.bias
            assert bias is not None
            bias.chunk(4)[1].fill_(config.optimiser.forget_bias)
    return network


def new_optimiser(config: TrainingConfig, network: Network) -> torch.optim.Optimizer:
    """Return the optimiser of a configuration before its first step."""
    betas, decay = config.optimiser.betas, config.optimiser.weight_decay
    if config.optimiser.method == "muon":
        return Muon(network.parameters(), betas=betas)
    return torch.optim.AdamW(network.parameters(), betas=betas, weight_decay=decay, fused=True)


def memories(network: Network) -> list[ConvLSTM]:
    """Return the ConvLSTMs of a network."""
    return [module for module in network.modules() if isinstance(module, ConvLSTM)]


def thresholds(network: Network) -> list[Parameter]:
    """Return theta of every ISTA block; an empty list for a network without sparse codes."""
    return [module.theta for module in network.modules() if isinstance(module, IstaBlock)]


def unused_settings(config: TrainingConfig, network: Network) -> list[str]:
    """Return the keys of a configuration that have no effect on this kind of network."""
    codes = bool(thresholds(network))
    unused = {
        "forcing": max(config.forcing.start, config.forcing.end) > 0 and not network.fed_back,
        "loss.sparsity": config.loss.sparsity > 0 and not codes,
        "optimiser.theta": config.optimiser.theta != "free" and not codes,
        "optimiser.forget_bias": config.optimiser.forget_bias != 0 and not memories(network),
    }
    return [key for key, is_unused in unused.items() if is_unused]
