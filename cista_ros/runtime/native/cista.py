"""CISTA, CISTA-D and CISTA-TC on a CPU with own kernels: one pass over memory between two convolutions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor

from ...errors import RuntimeUnavailableError
from ...networks import Cista
from ...networks.sparse_coding import IstaBlock
from ..base import Runtime
from ..linear_chain import Ends, parameters
from ..packed import PackedConv, TapConv
from .kernels import Bordered, Kernels
from .winograd import TILE, WinogradConv, Workspace

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Conv = PackedConv | WinogradConv


class NativeCista(Runtime):
    """Direct convolutions, in fp32 or bf16.

    In bf16, inputs and outputs of convolutions are bfloat16 (their sums are float32), and so are the codes and the
    hidden state between them. The voxel grid, the image, X, the ConvLSTM's cell, the similarity, and everything from
    the hidden state to the image stay float32.

    Raises:
        RuntimeUnavailableError: the kernels cannot be compiled, or oneDNN does not support bf16 on this CPU.
    """

    name = "native"
    tile = 1

    def __init__(self, network: Cista, height: int, width: int, precision: str = "fp32") -> None:
        if precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            raise RuntimeUnavailableError(f"runtime {self.name}: this CPU does not support bf16: use --precision fp32")
        self.config = config = network.config
        self.precision, self._dtype = precision, _DTYPES[precision]
        h, w, c = (height + 1) // 2, (width + 1) // 2, config.channels
        self._kernels, exact = Kernels(self._dtype), Kernels(torch.float32)
        self._ends = Ends(network, height, width, partial(_Taps, kernels=exact))
        self._first_code = self._conv(*parameters(network.first_code))
        # A block shared by all iterations is one object, packed once.
        made = {id(block): _Block(cast(IstaBlock, block), self._conv) for block in network.blocks}
        blocks = [made[id(block)] for block in network.blocks]
        self._blocks = blocks * config.iterations if config.shared else blocks
        if config.similarity:
            self._attend_previous = _Taps(*parameters(network.attend_previous), self._kernels)
            self._attend_current = _Taps(*parameters(network.attend_current), self._kernels)
        self._dictionary = self._conv(*parameters(network.dictionary))
        self._residual = self._bordered(h, w, c)
        self._code, self._previous = self._bordered(h, w, 2 * c), self._bordered(h, w, 2 * c)
        if config.recurrent:
            self._gates = self._conv(*parameters(network.memory.gates))
            self._gates_input = self._bordered(h, w, 2 * c)
            self._features, self._hidden = self._gates_input.channels(0, c), self._gates_input.channels(c, 2 * c)
            self._cell = torch.zeros(h, w, c)
        self._image = torch.zeros(height, width)

    def reset(self) -> None:
        self._image.zero_()
        self._code.storage.zero_()
        if self.config.recurrent:
            self._gates_input.storage.zero_()
            self._cell.zero_()

    def code(self) -> Tensor | None:
        return self._code.inner.permute(2, 0, 1)

    def step(self, grid: Tensor) -> Tensor:
        self._find_code(self._ends.merge(grid, self._image))
        features = self._dictionary(self._code.storage)
        if self.config.recurrent:
            self._kernels.write(features, self._features, rectify=True)
            self._kernels.remember(self._gates(self._gates_input.storage), self._cell, self._hidden, self._ends.held)
        else:
            h, w = self._code.inner.shape[:2]
            torch.clamp(features[:h, :w].float(), min=0, out=self._ends.held[2:-2, 2:-2])
            self._ends.hold()
        return self._image.copy_(self._ends.show())

    def _find_code(self, x: Tensor) -> None:
        """Run the unrolled iterations from X to the code Z^K in self._code; Z_{t-1} moves to self._previous."""
        self._code, self._previous = self._previous, self._code
        code, before, kernels = self._code, self._previous, self._kernels
        h, w = code.inner.shape[:2]
        attention = None
        if self.config.similarity:
            attention_before = self._attend_previous(before.storage, h, w)
        kernels.write_floats(x, self._residual.whole)
        kernels.write(self._first_code(self._residual.storage), code.whole)
        for block in self._blocks:
            kernels.subtract(x, block.D(code.storage), self._residual.whole)
            if self.config.similarity:
                attention = attention_before, self._attend_current(code.storage, h, w)
            update = block.P(self._residual.storage)
            kernels.iterate(update, code.whole, before.whole, attention, block.alpha, block.theta)

    def _conv(self, weight: Tensor, bias: Tensor) -> Conv:
        return PackedConv(weight, bias, dtype=self._dtype)

    def _bordered(self, h: int, w: int, channels: int) -> Bordered:
        return Bordered(h, w, channels, self._dtype, self.tile)


class WinogradCista(NativeCista):
    """Winograd convolutions, with a quarter of the multiplications; fp32 only."""

    name = "winograd"
    tile = TILE

    def __init__(self, network: Cista, height: int, width: int) -> None:
        self._workspace = Workspace()
        super().__init__(network, height, width)

    def _conv(self, weight: Tensor, bias: Tensor) -> Conv:
        return WinogradConv(weight, bias, self._workspace)


class _Block:
    """D, P, alpha and theta of one iteration."""

    def __init__(self, block: IstaBlock, conv: Callable[[Tensor, Tensor], Conv]) -> None:
        self.D, self.P = conv(*parameters(block.D)), conv(*parameters(block.P))
        self.theta = block.theta.detach().flatten().float().contiguous()
        self.alpha = None if block.alpha is None else block.alpha.detach().flatten().float().contiguous()


class _Taps(TapConv):
    """A TapConv that sums with a kernel."""

    def __init__(self, weight: Tensor, bias: Tensor, kernels: Kernels) -> None:
        super().__init__(weight, bias, kernels.dtype)
        self._kernels = kernels

    def __call__(self, image: Tensor, h: int | None = None, w: int | None = None) -> Tensor:
        """Like TapConv; if h and w are given, only that part of the result."""
        shares = self._shares(image)
        h, w = h or shares.shape[0] - self.taps + 1, w or shares.shape[1] - self.taps + 1
        return self._kernels.gather(shares, self.taps, self.bias, torch.empty(h, w, self.outputs))
