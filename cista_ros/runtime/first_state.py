"""The state before the first step, as tensors: for what runs a network only with a state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..networks import Network


@torch.inference_mode()
def first_state(network: Network, height: int, width: int, device: torch.device) -> tuple[list[Tensor], Any] | None:
    """Zeros in the state's shapes, and their structure as pytree has it.

    None for a network whose first step is not that of an all-zero state (SPADE-E2VID, which has no image before it).
    """
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(1, network.bins, height, width, generator=generator).to(device)
    image, state = network(grid)
    leaves, structure = pytree.tree_flatten(state)
    leaves = [torch.zeros_like(leaf) for leaf in leaves]
    from_zeros = network(grid, pytree.tree_unflatten(leaves, structure))[0]
    if not torch.allclose(image, from_zeros, atol=1e-6):
        return None
    return leaves, structure
