"""Convolutions of the CPU runtimes, whose weights are packed once, on images (rows, columns, channels).

`WinogradConv` is Winograd's F(4x4, 3x3) (Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). A 6x6
tile of the input gives each 4x4 tile of the output:

    Y = A' [(G w G') * (B' x B)] A

with 36 multiplications instead of 144. The products over channels are 36 matrix products, which oneDNN computes as one
grouped 1x1 convolution at nearly the speed of one large product. The result is the same in exact arithmetic; in float32
the rounding errors are about ten times those of the direct sum, about 1e-6 relative to the values. Channels are
innermost, so that transforms read contiguous memory, and the transform of one tile stays in the processor's registers.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import Kernels
from .library import load_library

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


class PackedConv:
    """A convolution without padding on one image (rows, columns, channels).

    oneDNN reorders the weights in every call of `conv2d`, which for small images takes as long as the convolution. Here
    they are reordered once, if torch supports it.

    weight: (outputs, inputs / groups, kh, kw); bias: (outputs,) or None; dtype: of input and output; sums are float32.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1, dtype: torch.dtype = torch.float32
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

    One matrix product computes the contribution of every pixel to each of its neighbours; `kernels`, whose dtype is
    that of the input, sum them. weight: (outputs, inputs, k, k); bias: (outputs,).
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


class Workers:
    """Threads that share one convolution, synchronise once, and keep memory for the convolutions of one network.

    There are as many as torch uses, including the calling one. Torch's own threads synchronise after every operation. A
    convolution here consists of dozens of small operations, so that this would take most of the time, and far more on a
    busy CPU, because each synchronisation waits for the slowest thread.
    """

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._memory: dict[object, Tensor] = {}
        if self.count == 1:
            return
        started = Barrier(self.count)
        self._pool = ThreadPoolExecutor(self.count - 1, "cista", initializer=_use_one_core, initargs=(started,))
        for _ in range(self.count - 1):
            self._pool.submit(int)
        started.wait()
        # set_num_threads in a thread also changes the default of threads that start later.
        torch.set_num_threads(self.count)

    def run(self, work: Callable[[int], None]) -> None:
        """Run work(0) … work(count - 1) in parallel, each on one core, and wait for all."""
        others = [self._pool.submit(torch.inference_mode()(work), i) for i in range(1, self.count)]
        if others:
            torch.set_num_threads(1)
        try:
            work(0)
        finally:
            if others:
                torch.set_num_threads(self.count)
            for other in others:
                other.result()

    def take(self, owner: object, *shape: int) -> Tensor:
        """Return uninitialised float32 memory. The next `take` with the same owner reuses it; it is never freed."""
        size = math.prod(shape)
        block = self._memory.get(owner)
        if block is None or block.numel() < size:
            block = self._memory[owner] = torch.empty(size)
        return block[:size].view(shape)


def _use_one_core(started: Barrier) -> None:
    torch.set_num_threads(1)
    started.wait()


class WinogradConv:
    """One 3x3 convolution of stride 1; weight: (outputs, inputs, 3, 3); bias: (outputs,) or None."""

    def __init__(self, weight: Tensor, bias: Tensor | None, workers: Workers) -> None:
        self.outputs, self.inputs = weight.shape[:2]
        self.workers = workers
        points = _FILTER @ weight.detach().double() @ _FILTER.T  # (outputs, inputs, 6, 6)
        grouped = points.permute(2, 3, 0, 1).reshape(POINTS**2 * self.outputs, self.inputs, 1, 1).float()
        # If M is zero except at point (1, 1), all 16 values of A' M A are equal.
        biases = torch.zeros(POINTS, POINTS, self.outputs)
        if bias is not None:
            biases[1, 1] = bias.detach()
        self._products = PackedConv(grouped, biases.reshape(-1), groups=POINTS**2)
        # Pack now, not in several threads at the same time.
        self._products(torch.zeros((64 // TILE) ** 2, 1, POINTS**2 * self.inputs))
        library = load_library()
        self._transform_input, self._transform_output = library.winograd_input, library.winograd_output
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._transform_input.argtypes = [pointer, number, number, number, number, pointer]
        self._transform_output.argtypes = [pointer, number, number, number, pointer, number]

    def __call__(self, padded: Tensor) -> Tensor:
        """(4a + 2, 4b + 2, inputs) -> (4a, 4b, outputs), in memory that the next call overwrites."""
        workers, count = self.workers, self.workers.count
        down, across = padded.shape[0] // TILE, padded.shape[1] // TILE
        image = workers.take("image", down, TILE, across, TILE, self.outputs)
        row_bytes = 4 * across * POINTS**2 * max(self.inputs, self.outputs)
        bands = min(down, count * max(1, round(down * row_bytes / BAND_BYTES / count)))

        def work(share: int) -> None:
            for i in range(share * bands // count, (share + 1) * bands // count):
                first, last = i * down // bands, (i + 1) * down // bands
                size = last - first, across
                points = workers.take(share, size[0] * across, 1, POINTS**2 * self.inputs)
                source = padded[TILE * first].data_ptr(), padded.stride(0)
                self._transform_input(*source, self.inputs, *size, points.data_ptr())
                products = self._products(points)
                target = image[first].data_ptr(), image.stride(0) // TILE
                self._transform_output(products.data_ptr(), self.outputs, *size, *target)

        workers.run(work)
        return image.view(TILE * down, TILE * across, self.outputs)
