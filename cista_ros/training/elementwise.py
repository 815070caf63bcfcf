"""For training on a CPU: the element-wise parts of a CISTA network, compiled into single passes.

Convolutions take a quarter of a step in bf16 on a CPU with a matrix unit; the passes over memory around them take the
rest. `torch.compile` of the whole network is slower there, because it changes the layouts of the convolutions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from ..networks import Cista, Network
from ..networks.layers import ConvLSTM
from ..runtime.library import compiler_name
from .state import TrainingError


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
    """Replace the element-wise updates of codes and cells; under autocast codes and hidden states are then bf16."""
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
