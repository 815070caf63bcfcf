"""3x3 convolutions by Winograd's F(4x4, 3x3) (Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", 2016).

Each 4x4 tile of the output comes from a 6x6 tile of the input:

    Y = A' [(G w G') * (B' x B)] A

which takes 36 multiplications where the plain sum takes 144. The products over channels are 36 matrix products; as one
grouped 1x1 convolution oneDNN does them at nearly the speed of one large product. In exact arithmetic nothing changes;
in float32 the rounding errors are some ten times those of the plain sum, about 1e-6 of the values' size.

Pictures here are (rows, columns, channels), so that a transform adds whole runs of memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .packed import PackedConv, Scratch
from .workers import Workers

TILE, POINTS = 4, 6
# Transformed tiles are four times as large as the picture: taken in bands of so many bytes they stay in the cache.
BAND_BYTES = 6e6
# G, of the points 0, 1, -1, 2, -2 and infinity.
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
    """How many tiles cover a side of so many pixels."""
    return -(-size // TILE)


class Workspace:
    """What the convolutions of one network share: threads, and memory for each of them."""

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
        # A' M A is the same at all 16 places for an M that is zero but at point (1, 1).
        biases = torch.zeros(POINTS, POINTS, self.outputs)
        if bias is not None:
            biases[1, 1] = bias.detach()
        self._products = PackedConv(grouped, biases.reshape(-1), groups=POINTS**2)
        # Now, that threads need not do it at the same time.
        self._products(torch.zeros(tiles(64) ** 2, 1, POINTS**2 * self.inputs))

    def __call__(self, padded: Tensor) -> Tensor:
        """(4a + 2, 4b + 2, inputs) -> (4a, 4b, outputs), in scratch memory: use it before the next call."""
        down, across = padded.shape[0] // TILE, padded.shape[1] // TILE
        picture = self.workspace.shared.take("picture", down, TILE, across, TILE, self.outputs)
        row_bytes = 4 * across * POINTS**2 * max(self.inputs, self.outputs)
        workers = self.workspace.workers
        each = max(1, round(down * row_bytes / BAND_BYTES / workers.count))
        bands = min(down, each * workers.count)

        def work(share: int) -> None:
            scratch = self.workspace.own[share]
            for i in range(share * bands // workers.count, (share + 1) * bands // workers.count):
                first, last = i * down // bands, (i + 1) * down // bands
                values = self._transform_input(scratch, padded[TILE * first : TILE * last + 2], last - first, across)
                products = self._products(values.view((last - first) * across, 1, POINTS**2 * self.inputs))
                products = products.view(last - first, across, POINTS, POINTS, self.outputs)
                self._transform_output(scratch, products, picture[first:last])

        workers.run(work)
        return picture.view(TILE * down, TILE * across, self.outputs)

    def _transform_input(self, scratch: Scratch, padded: Tensor, down: int, across: int) -> Tensor:
        """B' x B: the tiles (down, across, 6, 6, inputs)."""
        row = padded.stride(0)
        columns, channels = padded.shape[1:]
        source = padded.as_strided((down, POINTS, columns, channels), (TILE * row, row, channels, 1))
        rows = scratch.take("rows", down, POINTS, columns, channels)
        helpers = scratch.take("helpers", 2, down, columns, channels)
        _input_points(source.unbind(1), rows.unbind(1), helpers)

        stride = rows.stride()
        source = rows.as_strided(
            (down, across, POINTS, POINTS, channels), (stride[0], TILE * channels, stride[1], channels, 1)
        )
        out = scratch.take("points", down, across, POINTS, POINTS, channels)
        helpers = scratch.take("helpers", 2, down, across, POINTS, channels)
        _input_points(source.unbind(3), out.unbind(3), helpers)
        return out

    def _transform_output(self, scratch: Scratch, products: Tensor, out: Tensor) -> None:
        """A' M A: tiles (down, across, 6, 6, outputs) -> the picture (down, 4, across, 4, outputs)."""
        down, across = products.shape[:2]
        rows = scratch.take("rows", down, TILE, across, POINTS, self.outputs)
        helpers = scratch.take("helpers", 4, down, across, POINTS, self.outputs)
        _output_points(products.unbind(2), rows.unbind(1), helpers)
        helpers = scratch.take("helpers", 4, down, TILE, across, self.outputs)
        _output_points(rows.unbind(3), out.unbind(3), helpers)


def _input_points(x: tuple[Tensor, ...], y: tuple[Tensor, ...], helpers: Tensor) -> None:
    """y = B' x along one axis, which is unbound: six tensors in, six out."""
    even, odd = helpers
    torch.sub(x[4], x[2], alpha=4, out=even)
    torch.sub(x[3], x[1], alpha=4, out=odd)
    torch.add(even, odd, out=y[1])
    torch.sub(even, odd, out=y[2])
    torch.sub(x[4], x[2], out=even)
    torch.sub(x[3], x[1], out=odd)
    torch.add(even, odd, alpha=2, out=y[3])
    torch.sub(even, odd, alpha=2, out=y[4])
    # 4 x0 - 5 x2 + x4 = (x4 - x2) - 4 (x2 - x0), and the same one further.
    torch.sub(x[2], x[0], out=y[0])
    torch.sub(even, y[0], alpha=4, out=y[0])
    torch.sub(x[5], x[3], out=even)
    torch.sub(even, odd, alpha=4, out=y[5])


def _output_points(m: tuple[Tensor, ...], y: tuple[Tensor, ...], helpers: Tensor) -> None:
    """y = A' m along one axis, which is unbound: six tensors in, four out."""
    even, odd, even2, odd2 = helpers
    torch.add(m[1], m[2], out=even)
    torch.sub(m[1], m[2], out=odd)
    torch.add(m[3], m[4], out=even2)
    torch.sub(m[3], m[4], out=odd2)
    torch.add(even, even2, alpha=4, out=y[2])
    torch.add(odd, odd2, alpha=2, out=y[1])
    torch.add(odd, odd2, alpha=8, out=odd)
    torch.add(odd, m[5], out=y[3])
    torch.add(even, even2, out=even)
    torch.add(even, m[0], out=y[0])
