"""CISTA, CISTA-D and CISTA-TC on a CPU in fp32, in torch operations only, without the redundant work of the layers.

- The linear chains at both ends are one convolution each, the image's at half its resolution (linear_chain).
- The similarity maps have one channel, and convolutions with one output leave a CPU's vector units idle. Here they are
  a matrix product that gives nine taps, which are then summed.
- The contribution of Z_{t-1} to the similarity is computed once per step.
- Every feature map lives in a buffer with a border. Results are written into it, then only the border is reflected, and
  only oneDNN's results are allocated in each step.
- Channels are innermost, and weights are packed once (packed).
- Soft thresholding is v - sign(theta) clamp(v, -|theta|, |theta|): two passes, correct for negative theta too.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ..networks import Cista
from ..networks.sparse_coding import IstaBlock
from .base import Runtime
from .linear_chain import Ends, parameters
from .packed import PackedConv, TapConv


class FusedCista(Runtime):
    """Needs nothing but torch."""

    name = "fused"

    def __init__(self, network: Cista, height: int, width: int) -> None:
        self.config = config = network.config
        h, w, c = (height + 1) // 2, (width + 1) // 2, config.channels
        self._change = torch.empty(h, w, 2 * c)
        self._ends = Ends(network, height, width)
        self._first_code = PackedConv(*parameters(network.first_code))
        # A block shared by all iterations is one object, packed once.
        made = {id(block): _Block(cast(IstaBlock, block)) for block in network.blocks}
        blocks = [made[id(block)] for block in network.blocks]
        self._blocks = blocks * config.iterations if config.shared else blocks
        if config.similarity:
            self._attend_previous = TapConv(*parameters(network.attend_previous))
            self._attend_current = TapConv(*parameters(network.attend_current))
        self._dictionary = PackedConv(*parameters(network.dictionary))

        self._x, self._residual = _Bordered(h, w, c), _Bordered(h, w, c)
        self._code, self._previous = _Bordered(h, w, 2 * c), _Bordered(h, w, 2 * c)
        if config.recurrent:
            weight, bias = (p.clone() for p in parameters(network.memory.gates))
            # tanh(v) = 2 sigmoid(2 v) - 1 is several times as fast; the inner 2 is multiplied into the weights.
            weight[3 * c :] *= 2
            bias[3 * c :] *= 2
            self._gates = PackedConv(weight, bias)
            self._gates_input = _Bordered(h, w, 2 * c)
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
        self._x.write(self._ends.merge(grid, self._image))
        self._find_code()
        features = self._remember(self._dictionary(self._code.storage))
        self._ends.held[2:-2, 2:-2] = features
        self._ends.hold()
        return self._image.copy_(self._ends.show())

    def _find_code(self) -> None:
        """Run the unrolled iterations from X to the code Z^K in self._code; Z_{t-1} moves to self._previous."""
        self._code, self._previous = self._previous, self._code
        code, before, x, change = self._code, self._previous.inner, self._x.inner, self._change
        if self.config.similarity:
            attention_before = self._attend_previous(self._previous.storage)
        code.write(self._first_code(self._x.storage))
        for block in self._blocks:
            torch.sub(x, block.D(code.storage), out=self._residual.inner)
            self._residual.reflect()
            update = block.P(self._residual.storage)
            if block.alpha is not None:
                similarity = torch.sigmoid(attention_before * self._attend_current(code.storage))
                torch.sub(before, code.inner, out=change).mul_(similarity)
                update.addcmul_(change, block.alpha)
            update.add_(code.inner)
            torch.clamp(update, block.low, block.high, out=change)
            torch.addcmul(update, change, block.sign, value=-1, out=code.inner)
            code.reflect()

    def _remember(self, features: Tensor) -> Tensor:
        """Apply ReLU and, if there is one, the ConvLSTM to the dictionary's output; return features (h, w, C)."""
        if not self.config.recurrent:
            return features.clamp_(min=0)
        c = self.config.channels
        torch.clamp(features, min=0, out=self._gates_input.inner[..., :c])
        self._gates_input.reflect()
        gates = self._gates(self._gates_input.storage)
        enter, forget, out, candidate = gates.sigmoid_().chunk(4, -1)
        candidate.mul_(2).sub_(1)
        self._cell.mul_(forget).addcmul_(enter, candidate)
        torch.mul(self._cell, 2, out=candidate).sigmoid_().mul_(2).sub_(1)
        return torch.mul(out, candidate, out=self._gates_input.inner[..., c:])


class _Bordered:
    """A feature map (h, w, C) with a border of one that reflects it."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.storage = torch.zeros(height + 2, width + 2, channels)
        self.inner = self.storage[1:-1, 1:-1]

    def write(self, values: Tensor) -> None:
        self.inner.copy_(values)
        self.reflect()

    def reflect(self) -> None:
        """Update the border after a write to `inner`."""
        a = self.storage
        a[0, 1:-1], a[-1, 1:-1] = a[2, 1:-1], a[-3, 1:-1]
        a[:, 0], a[:, -1] = a[:, 2], a[:, -3]


class _Block:
    """D, P and alpha of one iteration, and theta as bounds and sign of a clamp."""

    def __init__(self, block: IstaBlock) -> None:
        self.D, self.P = PackedConv(*parameters(block.D)), PackedConv(*parameters(block.P))
        theta = block.theta.detach().flatten().float()
        self.low, self.high, self.sign = -theta.abs(), theta.abs(), theta.sign()
        self.alpha = None if block.alpha is None else block.alpha.detach().flatten().float()
