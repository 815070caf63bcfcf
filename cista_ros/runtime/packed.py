"""Convolutions of the CPU runtimes, whose weights are packed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from .kernels import Kernels


class PackedConv:
    """A convolution without padding on one image (rows, columns, channels).

    oneDNN reorders the weights in every call of `conv2d`, which for small images takes as long as the convolution. Here
    they are reordered once, if torch supports it.

    Args:
        weight: (outputs, inputs / groups, kh, kw); bias: (outputs,) or None.
        dtype: of input and output; sums are float32.
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
        # oneDNN chooses a layout from an example input, the first one. The layout is valid for any size.
        self._can_pack = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")

    def __call__(self, image: Tensor) -> Tensor:
        """(rows, columns, inputs) -> (rows', columns', outputs), new memory."""
        x = image[None].permute(0, 3, 1, 2)
        if self._can_pack:
            y = self._call_packed(x)
        else:
            y = F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        return y.permute(0, 2, 3, 1)[0]

    def _call_packed(self, x: Tensor) -> Tensor:
        where = [0, 0], [self.stride] * 2, [1, 1], self.groups
        if self._packed is None:
            reorder = torch._C._nn.mkldnn_reorder_conv2d_weight  # its type stub lacks the last argument
            self._packed = reorder(self.weight.to_mkldnn(), *where, list(x.shape))  # type: ignore[call-arg]
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, *where, "none", [], "")
        return y


class TapConv:
    """A convolution with few outputs, which a direct convolution computes with most vector lanes idle.

    One matrix product computes the contribution of every pixel to each of its neighbours; these are then summed.

    Args:
        weight: (outputs, inputs, k, k); bias: (outputs,).
        kernels: for the sum; their dtype is that of the input.
    """

    def __init__(self, weight: Tensor, bias: Tensor, kernels: Kernels) -> None:
        self.outputs, inputs, self.taps, _ = weight.shape
        columns = weight.detach().permute(2, 3, 0, 1).reshape(-1, inputs, 1, 1)
        self._shares = PackedConv(columns, None, dtype=kernels.dtype)
        self.bias, self._kernels = bias.detach().float(), kernels

    def __call__(self, image: Tensor, h: int | None = None, w: int | None = None) -> Tensor:
        """(rows, columns, inputs) -> (h, w, outputs), float32; by default all rows - k + 1 and columns - k + 1."""
        shares = self._shares(image)
        h, w = h or shares.shape[0] - self.taps + 1, w or shares.shape[1] - self.taps + 1
        return self._kernels.gather(shares, self.taps, self.bias, torch.empty(h, w, self.outputs))
