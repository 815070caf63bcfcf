"""What a training starts with: an untrained network, its optimiser, and compiled parts of it on a CPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter

from ..networks import Cista, Network, make_network
from ..networks.cista import IstaBlock
from ..networks.layers import ConvLSTM
from ..runtime.library import compiler_name
from .config import TrainingConfig
from .muon import Muon
from .state import TrainingError


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


def check_compiler(device: torch.device) -> None:
    """Raise TrainingError if torch.compile has no compiler here: C++ on a CPU, Triton on a GPU."""
    if device.type == "cpu":
        compiler = compiler_name()
        if not shutil.which(compiler) and not shutil.which("clang++"):
            raise TrainingError(f"compile: true needs a C++ compiler; {compiler} is not installed (apt install g++)")
        return
    try:
        import triton  # noqa: F401
    except ImportError:
        raise TrainingError("compile: true needs Triton on a GPU; it comes with torch's CUDA wheels") from None


def compile_elementwise(network: Network, compiler: Callable = torch.compile) -> None:
    """Compile the element-wise updates of codes and cells, for training on a CPU.

    Convolutions take a quarter of a step in bf16 on a CPU with a matrix unit; the passes over memory around them take
    the rest. `torch.compile` of the whole network is slower there, because it changes the layouts of the convolutions.
    Under autocast, codes and hidden states are then bf16.
    """
    update_code, update_cell = compiler(_update_code), compiler(_update_cell)
    for module in network.modules():
        if isinstance(module, Cista):
            module.update = update_code  # type: ignore[method-assign]
        elif isinstance(module, ConvLSTM):
            module.update = update_cell  # type: ignore[method-assign]


def _update_code(code: Tensor, correction: Tensor, theta: Tensor, *constraint: Tensor) -> Tensor:
    return Cista.update(code, correction, theta, *constraint).to(correction.dtype)


def _update_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    hidden, cell = ConvLSTM.update(gates.float(), cell)
    return hidden.to(gates.dtype), cell
