"""Two convolutions with only a doubling or halving of the size between them, merged into one. CPU, fp32.

CISTA starts and ends with such a chain: two heads and a convolution of stride 2; a doubling and two convolutions. Each
equals one 5x5 convolution at half the resolution. At the borders the chain is a different linear map, because each of
its parts reflects or replicates its own input there; the outermost rows and columns therefore have their own kernels.
All kernels are computed from the weights in float64, by multiplying the parts of the chain as matrices along one axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks import Cista
from .convolutions import PackedConv, TapConv
from .kernels import Kernels

TAPS = 5
MIDDLE = 1  # of the first, middle and last rows or columns
# Side of the small image from which the kernels are read, and where: at both borders, and far enough from them.
_SIDE, _PLACES = 8, (0, 3, 7)


class Ends:
    """Both ends of CISTA: from voxel grid and previous image to X, and from features to the image.

    held: input of `show`, (h + 4, w + 4, C), written as by kernels.hold. The outermost ring stays zero.
    """

    def __init__(self, network: Cista, height: int, width: int, kernels: Kernels) -> None:
        self.height, self.width = height, width
        h, w, c = (height + 1) // 2, (width + 1) // 2, network.config.channels
        events, image = network.events_head, network.image_head
        half = image.weight.shape[0]
        heads = events.weight.new_zeros(2 * half, network.config.bins + 1, 3, 3)
        heads[:half, :-1], heads[half:, -1:] = events.weight, image.weight
        bias = torch.cat((parameters(events)[1], parameters(image)[1]))
        self._merge = halving_chain((heads, bias), parameters(network.fusion), h, w)
        self._show = doubling_chain(parameters(network.upsampled), parameters(network.prediction), h, w, kernels)
        self.held = torch.zeros(h + 4, w + 4, c)

    def merge(self, grid: Tensor, image: Tensor) -> Tensor:
        """Return X (h, w, C) from a voxel grid (B, H, W) and the previous image (H, W)."""
        inputs = torch.cat((grid, image[None]))
        # Two steps: odd sizes become even first, then the border reflects the even image.
        inputs = F.pad(inputs, (0, self.width % 2, 0, self.height % 2), mode="reflect")
        inputs = F.pad(inputs, (2, 2, 2, 2), mode="reflect").permute(1, 2, 0).contiguous()
        return self._merge(inputs)

    def show(self) -> Tensor:
        """Return the image (H, W) of the features in `held`."""
        phases = self._show(self.held)
        h, w = phases.shape[:2]
        doubled = phases.view(h, w, 2, 2).permute(0, 2, 1, 3).reshape(2 * h, 2 * w)
        return torch.sigmoid(doubled[: self.height, : self.width])


def parameters(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution."""
    if not isinstance(layer, nn.Conv2d) or layer.bias is None:
        raise TypeError(f"{type(layer).__name__}: expected a convolution with a bias")
    return layer.weight.detach(), layer.bias.detach()


class LinearChain:
    """A 5x5 convolution with separate kernels for the outermost rows and columns.

    Args:
        kernels: (3, 3, outputs, inputs, 5, 5), for the first, middle and last rows and columns; bias: (outputs,).
        height, width: of the output, at least 4 each.
        make: makes a convolution from its weight and bias.
    """

    def __init__(
        self,
        kernels: Tensor,
        bias: Tensor,
        height: int,
        width: int,
        stride: int,
        make: Callable[[Tensor, Tensor], PackedConv | TapConv],
    ) -> None:
        self.stride = stride
        self._middle = make(kernels[MIDDLE, MIDDLE].float(), bias)
        places = [[slice(0, 1), slice(1, n - 1), slice(n - 1, n)] for n in (height, width)]
        self._border = [
            (places[0][i], places[1][j], make(kernels[i, j], bias))
            for i in range(3)
            for j in range(3)
            if not torch.equal(kernels[i, j], kernels[MIDDLE, MIDDLE])
        ]

    def __call__(self, padded: Tensor) -> Tensor:
        """Map (stride h + 4 or more, stride w + 4 or more, inputs), with a border of two, to (h, w, outputs)."""
        out = self._middle(padded)
        for *place, conv in self._border:
            rows, columns = (slice(self.stride * s.start, self.stride * (s.stop - 1) + TAPS) for s in place)
            out[tuple(place)] = conv(padded[rows, columns].contiguous())
        return out


def doubling_chain(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], height: int, width: int, kernels: Kernels
) -> LinearChain:
    """Merge a bilinear doubling and two 3x3 convolutions with reflected borders, given as (weight, bias).

    The chain maps (height + 4, width + 4, inputs), the image with replicated borders, to (height, width, 4 outputs):
    the values at (0, 0), (0, 1), (1, 0) and (1, 1) of each doubled pixel.
    """
    double = _doubling(_SIDE)
    along = (_two_shifts(2 * _SIDE) @ double).view(3, 3, _SIDE, 2, _SIDE)
    taps = torch.stack([_window(along[:, :, i], i - 2) for i in _PLACES])  # (place, c, a, phase, tap)
    weights = torch.einsum("ocdabi,rcapu,sdbqv->rspqoiuv", _composed(first, second), taps, taps)
    outputs, inputs = second[0].shape[0], first[0].shape[1]
    bias = _composed_bias(first, second).repeat(4)
    weights = weights.reshape(3, 3, 4 * outputs, inputs, TAPS, TAPS)
    return LinearChain(weights, bias, height, width, 1, partial(TapConv, kernels=kernels))


def halving_chain(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], height: int, width: int) -> LinearChain:
    """Merge a 3x3 convolution and one of stride 2, both with reflected borders, given as (weight, bias).

    The chain maps (2 height + 4, 2 width + 4, inputs), the image with reflected borders, to (height, width, outputs).
    """
    along = _two_shifts(2 * _SIDE)[:, :, ::2]
    first_taps, middle_taps = (_window(along[:, :, i], 2 * i - 2) for i in _PLACES[:2])
    taps = torch.stack([first_taps, middle_taps, middle_taps])  # (place, c, a, tap)
    kernels = torch.einsum("ocdabi,rcau,sdbv->rsoiuv", _composed(first, second), taps, taps)
    make = partial(PackedConv, stride=2)
    return LinearChain(kernels, _composed_bias(first, second), height, width, 2, make)


def _two_shifts(n: int) -> Tensor:
    """(3, 3, n, n) [c, a]: tap a of the first convolution followed by tap c of the second, along one axis."""
    shifts = torch.stack([_shift(n, by) for by in (-1, 0, 1)])
    return shifts[:, None] @ shifts[None]


def _shift(n: int, by: int) -> Tensor:
    """The matrix (n, n) that shifts a signal by -1, 0 or 1 and reflects it at its ends."""
    at = (torch.arange(n) + by).abs()
    at = torch.where(at > n - 1, 2 * (n - 1) - at, at)
    return torch.eye(n, dtype=torch.float64)[at]


def _doubling(n: int) -> Tensor:
    """The matrix (2n, n) of bilinear doubling, with pixel centres at half-integers and replicated ends."""
    matrix = torch.zeros(2 * n, n, dtype=torch.float64)
    for i in range(n):
        for out, neighbour in ((2 * i, max(i - 1, 0)), (2 * i + 1, min(i + 1, n - 1))):
            matrix[out, i] += 0.75
            matrix[out, neighbour] += 0.25
    return matrix


def _window(matrix: Tensor, start: int) -> Tensor:
    """Columns start to start + 4 of (..., n), zero outside."""
    padded = F.pad(matrix, (TAPS, TAPS))
    return padded[..., start + TAPS : start + 2 * TAPS]


def _composed(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """The product of the weights over the channels between them: (outputs, rows, columns, rows, columns, inputs)."""
    return torch.einsum("omcd,miab->ocdabi", second[0].double(), first[0].double())


def _composed_bias(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    return second[1].double() + second[0].double().sum((2, 3)) @ first[1].double()
