"""Common parts of the CISTA networks: heads, ISTA blocks, image dictionary, a state with the last image and code.

Each network computes the sparse code Z from X and the previous code in its own way.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ConvLSTM, conv3x3
from .network import Network


class IstaBlock(nn.Module):
    """D, P and theta of one ISTA iteration, and alpha of the temporal-similarity constraint."""

    def __init__(self, channels: int, similarity: bool) -> None:
        super().__init__()
        code = 2 * channels
        self.D = conv3x3(code, channels)
        self.P = conv3x3(channels, code)
        self.theta = nn.Parameter(0.001 * torch.rand(1, code, 1, 1))
        self.alpha = nn.Parameter(0.001 * torch.rand(1, code, 1, 1)) if similarity else None


class SparseCodingNetwork(Network):
    """A network whose state is a NamedTuple with entries `image` (N, 1, H, W) and `code` (N, 2C, h, w).

    h, w are half of H, W, rounded up; C is the configuration's `channels`.
    """

    fed_back = True

    @abstractmethod
    def initial_state(self, voxel: Tensor) -> NamedTuple:
        """Return the all-zero state before the first window, with voxel's batch, size, dtype and device."""

    def with_last_image(self, state: Any, image: Tensor, where: Tensor) -> Any:
        """See Network."""
        return state._replace(image=torch.where(where.view(-1, 1, 1, 1), image, state.image))

    def codes(self, state: Any) -> Tensor:
        """See Network."""
        code: Tensor = state.code
        return code

    def _add_encoder(self) -> None:
        c = self.config.channels
        self.events_head = conv3x3(self.config.bins, c // 2)
        self.image_head = conv3x3(1, c // 2)
        self.fusion = conv3x3(c, c, stride=2)
        self.first_code = conv3x3(c, 2 * c)

    def _add_dictionary(self, recurrent: bool = True) -> None:
        c = self.config.channels
        self.dictionary = conv3x3(2 * c, c)
        if recurrent:
            self.memory = ConvLSTM(c)
        self.upsampled = conv3x3(c, c)
        self.prediction = conv3x3(c, 1)

    def _zeros(self, voxel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return zeros in the shapes of the image, the code and the ConvLSTM's state."""
        n, _, height, width = voxel.shape
        h, w, c = (height + 1) // 2, (width + 1) // 2, self.config.channels
        return (
            voxel.new_zeros(n, 1, height, width),
            voxel.new_zeros(n, 2 * c, h, w),
            voxel.new_zeros(n, c, h, w),
        )

    def _begin(self, voxel: Tensor, state: Any) -> Any:
        """Return the state to continue from; ValueError for a voxel grid or a state of the wrong shape."""
        self.check_voxel(voxel, None if state is None else state.image)
        return self.initial_state(voxel) if state is None else state


def doubled(features: Tensor) -> Tensor:
    """Double the size: (N, C, h, w) -> (N, C, 2h, 2w), bilinear."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
