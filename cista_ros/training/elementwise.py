"""For training on a CPU: what lies between the convolutions of a CISTA network, compiled into single passes.

Convolutions are a quarter of the time of a step in bf16 on a CPU with a matrix unit; the many passes over memory around
them are the rest. `torch.compile` of the whole network is slower there: it takes the convolutions' layouts apart.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..networks import Cista, Network
from ..networks.layers import ConvLSTM


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
