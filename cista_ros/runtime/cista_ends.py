"""CISTA's two ends on a CPU, in fp32: from voxel grid and image to X, from features to the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks import Cista
from .linear_chain import doubling_chain, halving_chain
from .packed import TapConv


class Ends:
    """Both as one convolution each, at half the resolution (linear_chain).

    Args:
        few: makes convolutions to few channels.
    Attributes:
        held: where `show` finds the features (h, w, C): (h + 4, w + 4, C), that is with two more rows and columns on
            each side, the inner of which hold what is beside them (`hold` sees to that).
    """

    def __init__(
        self, network: Cista, height: int, width: int, few: Callable[[Tensor, Tensor], TapConv] = TapConv
    ) -> None:
        self.height, self.width = height, width
        h, w, c = (height + 1) // 2, (width + 1) // 2, network.config.channels
        events, image = network.events_head, network.image_head
        half = image.weight.shape[0]
        heads = events.weight.new_zeros(2 * half, network.config.bins + 1, 3, 3)
        heads[:half, :-1], heads[half:, -1:] = events.weight, image.weight
        bias = torch.cat((events.bias, image.bias))
        self._merge = halving_chain((heads, bias), parameters(network.fusion), h, w)
        self._show = doubling_chain(parameters(network.upsampled), parameters(network.prediction), h, w, few)
        self.held = torch.zeros(h + 4, w + 4, c)

    def merge(self, grid: Tensor, image: Tensor) -> Tensor:
        """A voxel grid (B, H, W) and the image before (H, W) -> X (h, w, C)."""
        inputs = torch.cat((grid, image[None]))
        # In two turns: an odd size first becomes even, then the border reflects what is even.
        inputs = F.pad(inputs, (0, self.width % 2, 0, self.height % 2), mode="reflect")
        inputs = F.pad(inputs, (2, 2, 2, 2), mode="reflect").permute(1, 2, 0).contiguous()
        return self._merge(inputs)

    def hold(self) -> None:
        """Write the border of `held` that its inside tells."""
        held = self.held
        held[1, 2:-2], held[-2, 2:-2] = held[2, 2:-2], held[-3, 2:-2]
        held[:, 1], held[:, -2] = held[:, 2], held[:, -3]

    def show(self) -> Tensor:
        """What is held -> the image (H, W)."""
        phases = self._show(self.held)
        h, w = phases.shape[:2]
        doubled = phases.view(h, w, 2, 2).permute(0, 2, 1, 3).reshape(2 * h, 2 * w)
        return torch.sigmoid(doubled[: self.height, : self.width])


def parameters(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias."""
    return layer.weight.detach(), layer.bias.detach()
