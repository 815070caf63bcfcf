"""For training on a CPU: what lies between the convolutions of a CISTA network, compiled into single passes.

Convolutions are a quarter of the time of a step in bf16 on a CPU with a matrix unit; the many passes over memory around
them are the rest. `torch.compile` of the whole network is slower there: it takes the convolutions' layouts apart.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import RuntimeUnavailableError
from ..networks import Cista, Network
from ..networks.layers import ConvLSTM
from ..runtime.native.library import compiler_name


def compile_elementwise(network: Network, compiler: Callable = torch.compile) -> None:
    """Replace the element-wise updates of codes and cells; under autocast codes and hidden states then are bf16."""
    update_code, update_cell = compiler(_update_code), compiler(_update_cell)
    for module in network.modules():
        if isinstance(module, Cista):
            module.update = update_code
        elif isinstance(module, ConvLSTM):
            module.update = update_cell


def _update_code(code: Tensor, correction: Tensor, theta: Tensor, *constraint: Tensor) -> Tensor:
    return Cista.update(code, correction, theta, *constraint).to(correction.dtype)


def _update_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    hidden, cell = ConvLSTM.update(gates.float(), cell)
    return hidden.to(gates.dtype), cell


def check_tools(device: torch.device, what: str) -> None:
    """Raise RuntimeUnavailableError, naming what to install for `what`, if torch.compile lacks a tool it needs."""
    if device.type == "cpu":
        compiler = compiler_name()
        if not shutil.which(compiler) and not shutil.which("clang++"):
            raise RuntimeUnavailableError(
                f"{what} needs a C++ compiler on the CPU, and there is no {compiler} (Debian, Ubuntu: apt install g++)"
            )
        return
    try:
        import triton  # noqa: F401
    except ImportError:
        raise RuntimeUnavailableError(
            f"{what} needs Triton on a GPU: pip install triton (it comes with torch's CUDA wheels)"
        ) from None
