"""A network run over consecutive windows, as one module: what back-propagation through time and DDP see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..networks import Network


class Unrolled(nn.Module):
    """Runs `step` (the network, or a compiled version of it) over windows.

    One forward of this module is followed by one backward, as DistributedDataParallel wants it.
    """

    def __init__(self, network: Network, step: Callable[..., tuple[Tensor, Any]] | None = None) -> None:
        super().__init__()
        self.network = network
        self._step = [network if step is None else step]  # in a list, so that it is not registered a second time

    def forward(self, voxels: Tensor, truth: Tensor, forced: Tensor, state: Any) -> tuple[Tensor, Any, Tensor]:
        """Reconstruct T windows in turn.

        Args:
            voxels: normalised voxel grids (T, N, B, H, W).
            truth: images (T, N, 1, H, W) of the scene at the beginning of each window.
            forced: bool (T, N): where the network is given the true image instead of its own last one (see
                Network.with_last_image). The first window of a sequence has no image before it.
            state: of the windows before; None at the start of the sequences.
        Returns:
            images float32 (T, N, 1, H, W), the state after, and the mean absolute value of the codes, 0 if none.
        """
        network = self.network
        images, sizes = [], []
        for voxel, true, force in zip(voxels, truth, forced, strict=True):
            if state is not None:
                state = network.with_last_image(state, true, force)
            image, state = self._step[0](voxel, state)
            images.append(image.float())
            codes = network.codes(state)
            sizes.append(voxel.new_zeros(()) if codes is None else codes.abs().mean().float())
        return torch.stack(images), state, torch.stack(sizes).mean()


def detach(state: Any) -> Any:
    """The same state, cut from the graph."""
    return pytree.tree_map(torch.Tensor.detach, state)
