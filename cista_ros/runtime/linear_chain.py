"""Two convolutions with nothing but a doubling or halving between them, as one: the same sums, taken once.

Cista begins and ends with such a chain: two heads and a convolution of stride 2; a doubling and two convolutions. Each
is one 5x5 convolution at half the resolution or to it. At the borders the chain is another linear map, because every
part reflects or holds its own input there: the first and the last row and column get kernels of their own. All
kernels are computed from the weights in float64, by multiplying out the chain's parts as matrices along one axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .packed import PackedConv, TapConv

TAPS = 5
FIRST, MIDDLE, LAST = 0, 1, 2
# Sides of the small picture that the kernels are read from; its middle lies beyond the reach of its borders.
_SIDE, _PLACES = 8, (0, 3, 7)


@dataclass(frozen=True)
class _Patch:
    rows: slice
    columns: slice
    conv: PackedConv | TapConv


class LinearChain:
    """A 5x5 convolution with kernels of its own in the outermost rows and columns.

    Args:
        kernels: (3, 3, outputs, inputs, 5, 5): of the first, middle and last rows, and columns.
        bias: (outputs,).
        height, width: of the output, at least 4 each.
        few: what makes the convolution from a weight and a bias where it has few outputs and stride 1.
    """

    def __init__(
        self,
        kernels: Tensor,
        bias: Tensor,
        height: int,
        width: int,
        stride: int,
        few: Callable[[Tensor, Tensor], TapConv] = TapConv,
    ) -> None:
        self.stride = stride
        middle = kernels[MIDDLE, MIDDLE].float()
        make = few if stride == 1 and len(bias) < 16 else partial(PackedConv, stride=stride)
        self._middle = make(middle, bias)
        places = [[slice(0, 1), slice(1, n - 1), slice(n - 1, n)] for n in (height, width)]
        self._border = [
            _Patch(places[0][i], places[1][j], make(kernels[i, j], bias))
            for i in range(3)
            for j in range(3)
            if not torch.equal(kernels[i, j], kernels[MIDDLE, MIDDLE])
        ]

    def __call__(self, padded: Tensor) -> Tensor:
        """(stride height + 4 or more, stride width + 4 or more, inputs), from two rows and columns before the first."""
        out = self._middle(padded)
        for patch in self._border:
            window = padded[self._reach(patch.rows), self._reach(patch.columns)]
            out[patch.rows, patch.columns] = patch.conv(window.contiguous())
        return out

    def _reach(self, outputs: slice) -> slice:
        return slice(self.stride * outputs.start, self.stride * (outputs.stop - 1) + TAPS)


def doubling_chain(
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    height: int,
    width: int,
    few: Callable[[Tensor, Tensor], TapConv] = TapConv,
) -> LinearChain:
    """Bilinear doubling, then two 3x3 convolutions with reflected borders, given as (weight, bias).

    It takes (height + 4, width + 4, inputs), the outermost rows and columns of the picture held, and returns
    (height, width, 4 outputs): what belongs to places (0, 0), (0, 1), (1, 0) and (1, 1) of each doubled pixel.
    """
    double = _doubling(_SIDE)
    along = (_two_shifts(2 * _SIDE) @ double).view(3, 3, _SIDE, 2, _SIDE)
    taps = torch.stack([_window(along[:, :, i], i - 2) for i in _PLACES])  # (place, c, a, phase, tap)
    kernels = torch.einsum("ocdabi,rcapu,sdbqv->rspqoiuv", _composed(first, second), taps, taps)
    outputs, inputs = second[0].shape[0], first[0].shape[1]
    bias = _composed_bias(first, second).repeat(4)
    return LinearChain(kernels.reshape(3, 3, 4 * outputs, inputs, TAPS, TAPS), bias, height, width, 1, few)


def halving_chain(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], height: int, width: int) -> LinearChain:
    """A 3x3 convolution, then one of stride 2, both with reflected borders, given as (weight, bias).

    It takes (2 height + 4, 2 width + 4, inputs), reflected below and on the right, and returns (height, width,
    outputs).
    """
    along = _two_shifts(2 * _SIDE)[:, :, ::2]
    first_taps, middle_taps = (_window(along[:, :, i], 2 * i - 2) for i in _PLACES[:2])
    taps = torch.stack([first_taps, middle_taps, middle_taps])  # (place, c, a, tap)
    kernels = torch.einsum("ocdabi,rcau,sdbv->rsoiuv", _composed(first, second), taps, taps)
    return LinearChain(kernels, _composed_bias(first, second), height, width, stride=2)


def _two_shifts(n: int) -> Tensor:
    """(3, 3, n, n): what tap a of one convolution, then tap c of the next, do along one axis; [c, a]."""
    shifts = torch.stack([_shift(n, by) for by in (-1, 0, 1)])
    return shifts[:, None] @ shifts[None]


def _shift(n: int, by: int) -> Tensor:
    """The matrix (n, n) that moves a signal by -1, 0 or 1, its ends reflected."""
    at = (torch.arange(n) + by).abs()
    at = torch.where(at > n - 1, 2 * (n - 1) - at, at)
    return torch.eye(n, dtype=torch.float64)[at]


def _doubling(n: int) -> Tensor:
    """The matrix (2n, n) of bilinear doubling, pixel centres at half-integers, ends held."""
    matrix = torch.zeros(2 * n, n, dtype=torch.float64)
    for i in range(n):
        for out, neighbour in ((2 * i, max(i - 1, 0)), (2 * i + 1, min(i + 1, n - 1))):
            matrix[out, i] += 0.75
            matrix[out, neighbour] += 0.25
    return matrix


def _window(matrix: Tensor, start: int) -> Tensor:
    """Columns start … start + 4 of (..., n), zero where there are none."""
    padded = torch.nn.functional.pad(matrix, (TAPS, TAPS))
    return padded[..., start + TAPS : start + 2 * TAPS]


def _composed(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """The weights multiplied over the channels between them: (outputs, rows, columns, rows, columns, inputs)."""
    return torch.einsum("omcd,miab->ocdabi", second[0].double(), first[0].double())


def _composed_bias(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    return second[1].double() + second[0].double().sum((2, 3)) @ first[1].double()
