"""What a training begins with: an untrained network and its optimiser; and which settings mean nothing to them."""

from __future__ import annotations

import torch
from torch.nn import Parameter

from ..networks import Network, make_network
from ..networks.layers import ConvLSTM
from ..networks.sparse_coding import IstaBlock
from .config import TrainingConfig
from .muon import Muon


def new_network(config: TrainingConfig) -> Network:
    """The untrained network that a configuration begins with; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = make_network(config.network)
    with torch.no_grad():
        for memory in memories(network):
            memory.gates.bias.chunk(4)[1].fill_(config.optimiser.forget_bias)
    return network


def new_optimiser(config: TrainingConfig, network: Network) -> torch.optim.Optimizer:
    """The optimiser that a configuration asks for, at the beginning."""
    betas, decay = config.optimiser.betas, config.optimiser.weight_decay
    if config.optimiser.method == "muon":
        return Muon(network.parameters(), betas=betas)
    return torch.optim.AdamW(network.parameters(), betas=betas, weight_decay=decay, fused=True)


def memories(network: Network) -> list[ConvLSTM]:
    """The ConvLSTMs of a network."""
    return [module for module in network.modules() if isinstance(module, ConvLSTM)]


def thresholds(network: Network) -> list[Parameter]:
    """theta of every ISTA block of a network; a network without sparse codes has none."""
    return [module.theta for module in network.modules() if isinstance(module, IstaBlock)]


def without_effect(config: TrainingConfig, network: Network) -> list[str]:
    """The keys of a configuration that ask for something which this kind of network does not have."""
    codes = bool(thresholds(network))
    asked = {
        "teacher": max(config.teacher.start, config.teacher.end) > 0 and not network.fed_back,
        "loss.sparsity": config.loss.sparsity > 0 and not codes,
        "optimiser.theta": config.optimiser.theta != "free" and not codes,
        "optimiser.forget_bias": config.optimiser.forget_bias != 0 and not memories(network),
    }
    return [key for key, in_vain in asked.items() if in_vain]
