"""What the faster ways on a CPU are built of: memory that is kept, convolutions whose weights were laid out once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Scratch:
    """Memory for what lives only within one convolution; shared by all of them, and never given back."""

    def __init__(self) -> None:
        self._blocks: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A float32 tensor of this shape, its content undefined; the next `take` of the same name reuses its memory."""
        size = math.prod(shape)
        block = self._blocks.get(name)
        if block is None or block.numel() < size:
            block = self._blocks[name] = torch.empty(size)
        return block[:size].view(shape)


class PackedConv:
    """A convolution without padding on one picture (rows, columns, channels).

    oneDNN wants weights in an order of its own and lays them out anew in every call of `conv2d`, which for small
    pictures costs as much as the convolution. Where torch offers it that is done once, here.

    Args:
        weight: (outputs, inputs / groups, kh, kw); bias: (outputs,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1) -> None:
        self.weight = weight.detach().float().contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().float()
        self.stride, self.groups = stride, groups
        self._packed: Tensor | None = None
        # The layout suits any size, but oneDNN wants an example to choose it by; it comes with the first call.
        self._can_pack = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")

    def __call__(self, picture: Tensor) -> Tensor:
        """(rows, columns, inputs) -> (rows', columns', outputs), new memory."""
        x = picture[None].permute(0, 3, 1, 2)
        if self._can_pack:
            y = self._call_packed(x)
        else:
            y = F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        return y.permute(0, 2, 3, 1)[0]

    def _call_packed(self, x: Tensor) -> Tensor:
        where = [0, 0], [self.stride] * 2, [1, 1], self.groups
        if self._packed is None:
            self._packed = torch._C._nn.mkldnn_reorder_conv2d_weight(self.weight.to_mkldnn(), *where, list(x.shape))
        return torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, *where, "none", [], "")


class TapConv:
    """A convolution to few channels, for which a CPU's vector units are too wide.

    One matrix product gives every place's share in each of its neighbours' sums, which are then added up.

    Args:
        weight: (outputs, inputs, k, k); bias: (outputs,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.outputs, inputs, self.taps, _ = weight.shape
        columns = weight.detach().permute(0, 2, 3, 1).reshape(-1, inputs, 1, 1)
        self._shares = PackedConv(columns, None)
        self.bias = bias.detach().float()

    def __call__(self, picture: Tensor) -> Tensor:
        """(rows, columns, inputs) -> (rows - k + 1, columns - k + 1, outputs)."""
        k = self.taps
        shares = self._shares(picture)
        row, place, _ = shares.stride()
        # Tap (i, j) of output (y, x) was computed at (y + i, x + j), in column i k + j of its output.
        size = (shares.shape[0] - k + 1, shares.shape[1] - k + 1, self.outputs, k, k)
        return shares.as_strided(size, (row, place, k * k, row + k, place + 1)).sum((3, 4)).add_(self.bias)
