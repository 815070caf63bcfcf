"""A network run over consecutive windows, as one module: what back-propagation through time and DDP see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..networks import Cista, State


class Unrolled(nn.Module):
    """Runs `step` (the network, or a compiled version of it) over windows.

    One forward of this module is followed by one backward, as DistributedDataParallel wants it.
    """

    def __init__(self, network: Cista, step: Callable[..., tuple[Tensor, State]] | None = None) -> None:
        super().__init__()
        self.network = network
        self._step = [network if step is None else step]  # in a list, so that it is not registered a second time

    def forward(
        self, voxels: Tensor, truth: Tensor, forced: Tensor, state: State | None
    ) -> tuple[Tensor, State, Tensor]:
        """Reconstruct T windows in turn.

        Args:
            voxels: normalised voxel grids (T, N, B, H, W).
            truth: images (T, N, 1, H, W) of the scene at the beginning of each window.
            forced: bool (T, N): where the network is given the true image instead of its own last one.
            state: of the windows before; None at the start of the sequences.
        Returns:
            images float32 (T, N, 1, H, W), the state after, and the mean absolute value of the codes.
        """
        network = self.network
        state = state or network.initial_state(voxels[0])
        images, sizes = [], []
        for voxel, true, force in zip(voxels, truth, forced, strict=True):
            state = state._replace(image=torch.where(force.view(-1, 1, 1, 1), true, state.image))
            image, state = self._step[0](voxel, state)
            images.append(image.float())
            sizes.append(state.code.abs().mean().float())
        return torch.stack(images), state, torch.stack(sizes).mean()


def detach(state: State) -> State:
    """The same state, cut from the graph."""
    return State(*(value.detach() for value in state))
