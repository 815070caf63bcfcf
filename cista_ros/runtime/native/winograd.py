"""3x3 convolutions by Winograd's F(4x4, 3x3) (Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", 2016).

A 6x6 tile of the input gives each 4x4 tile of the output:

    Y = A' [(G w G') * (B' x B)] A

with 36 multiplications instead of 144. The products over channels are 36 matrix products, which oneDNN computes as one
grouped 1x1 convolution at nearly the speed of one large product. The result is the same in exact arithmetic; in float32
the rounding errors are about ten times those of the direct sum, about 1e-6 relative to the values.

Images here are (rows, columns, channels), so that transforms read contiguous memory. The transform of one tile stays in
the processor's registers.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from ..packed import PackedConv, Scratch
from .library import load_library
from .workers import Workers

TILE, POINTS = 4, 6
# Transformed tiles are four times as large as the image. Bands of this many bytes stay in the cache.
BAND_BYTES = 6e6
# G for the points 0, 1, -1, 2, -2 and infinity.
_FILTER = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)


def tiles(size: int) -> int:
    """Return how many tiles cover `size` pixels."""
    return -(-size // TILE)


class Workspace:
    """Threads, and memory for each of them, shared by the convolutions of one network."""

    def __init__(self) -> None:
        self.workers = Workers()
        self.shared = Scratch()
        self.own = [Scratch() for _ in range(self.workers.count)]


class WinogradConv:
    """One 3x3 convolution of stride 1.

    Args:
        weight: (outputs, inputs, 3, 3); bias: (outputs,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, workspace: Workspace) -> None:
        self.outputs, self.inputs = weight.shape[:2]
        self.workspace = workspace
        points = _FILTER @ weight.detach().double() @ _FILTER.T  # (outputs, inputs, 6, 6)
        grouped = points.permute(2, 3, 0, 1).reshape(POINTS**2 * self.outputs, self.inputs, 1, 1).float()
        # If M is zero except at point (1, 1), all 16 values of A' M A are equal.
        biases = torch.zeros(POINTS, POINTS, self.outputs)
        if bias is not None:
            biases[1, 1] = bias.detach()
        self._products = PackedConv(grouped, biases.reshape(-1), groups=POINTS**2)
        # Pack now, not in several threads at the same time.
        self._products(torch.zeros(tiles(64) ** 2, 1, POINTS**2 * self.inputs))
        library = load_library()
        self._transform_input, self._transform_output = library.winograd_input, library.winograd_output

    def __call__(self, padded: Tensor) -> Tensor:
        """(4a + 2, 4b + 2, inputs) -> (4a, 4b, outputs), in scratch memory that the next call overwrites."""
        down, across = padded.shape[0] // TILE, padded.shape[1] // TILE
        image = self.workspace.shared.take("image", down, TILE, across, TILE, self.outputs)
        row_bytes = 4 * across * POINTS**2 * max(self.inputs, self.outputs)
        workers = self.workspace.workers
        each = max(1, round(down * row_bytes / BAND_BYTES / workers.count))
        bands = min(down, each * workers.count)

        def work(share: int) -> None:
            scratch = self.workspace.own[share]
            for i in range(share * bands // workers.count, (share + 1) * bands // workers.count):
                first, last = i * down // bands, (i + 1) * down // bands
                points = scratch.take("points", (last - first) * across, 1, POINTS**2 * self.inputs)
                counts = [ctypes.c_int64(n) for n in (last - first, across)]
                self._transform_input(
                    ctypes.c_void_p(padded[TILE * first].data_ptr()),
                    ctypes.c_int64(padded.stride(0)),
                    ctypes.c_int64(self.inputs),
                    *counts,
                    ctypes.c_void_p(points.data_ptr()),
                )
                products = self._products(points)
                self._transform_output(
                    ctypes.c_void_p(products.data_ptr()),
                    ctypes.c_int64(self.outputs),
                    *counts,
                    ctypes.c_void_p(image[first].data_ptr()),
                    ctypes.c_int64(image.stride(0) // TILE),
                )

        workers.run(work)
        return image.view(TILE * down, TILE * across, self.outputs)
