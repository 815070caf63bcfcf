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
        dtype: of what it takes and gives; sums are float32 whatever it is.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: int = 1,
        groups: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.weight = weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(dtype)
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
        dtype: of what it takes.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.outputs, inputs, self.taps, _ = weight.shape
        columns = weight.detach().permute(2, 3, 0, 1).reshape(-1, inputs, 1, 1)
        self._shares = PackedConv(columns, None, dtype=dtype)
        self.bias = bias.detach().float()

    def __call__(self, picture: Tensor) -> Tensor:
        """(rows, columns, inputs) -> (rows - k + 1, columns - k + 1, outputs), float32."""
        return self._gather(self._shares(picture))

    def _gather(self, shares: Tensor) -> Tensor:
        k, n = self.taps, self.outputs
        row, place, _ = shares.stride()
        # Tap (i, j) of output (y, x) was computed at (y + i, x + j), in column (i k + j) n + its own of its outputs.
        size = (shares.shape[0] - k + 1, shares.shape[1] - k + 1, n, k, k)
        return shares.as_strided(size, (row, place, 1, row + k * n, place + n)).sum((3, 4)).add_(self.bias)
