"""CISTA, CISTA-D and CISTA-TC on a CPU, in fp32, with the work taken out that the layers as written do needlessly.

- The linear chains at both ends are one convolution each (linear_chain), the image's at half its resolution.
- The similarity maps have one channel; convolutions to one channel leave a CPU's vector units idle. Here they are a
  matrix product to nine taps, which are then added up.
- What Z_{t-1} contributes to the similarity is computed once a step.
- Every picture lives in a buffer with a border, into which results are written; only the border is reflected, and
  nothing is allocated step by step but what oneDNN returns.
- Channels lie innermost and weights are laid out once (packed); with `winograd` the large convolutions take a quarter
  of the multiplications.
- Soft thresholding is v - sign(theta) clamp(v, -|theta|, |theta|): two passes, and right for negative theta too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks import Cista
from .linear_chain import doubling_chain, halving_chain
from .packed import PackedConv, Scratch, TapConv
from .runtime import Runtime
from .winograd import TILE, WinogradConv, Workspace


class FusedCista(Runtime):
    """Direct convolutions; `WinogradCista` is the same with fewer multiplications."""

    name = "fused"
    winograd = False

    def __init__(self, network: Cista, height: int, width: int) -> None:
        self.config = config = network.config
        self.height, self.width = height, width
        h, w, c = (height + 1) // 2, (width + 1) // 2, config.channels
        self._scratch = Scratch()
        self._workspace = Workspace() if self.winograd else None
        self._fold_ends(network, h, w)
        self._first_code = self._conv(*_parameters(network.first_code))
        # Tied blocks are one object: what is made of it is made once.
        made = {
            id(block): _Block(self._conv(*_parameters(block.D)), self._conv(*_parameters(block.P)), block)
            for block in network.blocks
        }
        blocks = [made[id(block)] for block in network.blocks]
        self._blocks = blocks * config.iterations if config.shared else blocks
        if config.similarity:
            self._attend_previous = TapConv(*_parameters(network.attend_previous))
            self._attend_current = TapConv(*_parameters(network.attend_current))
        self._dictionary = self._conv(*_parameters(network.dictionary))

        self._x, self._residual = self._bordered(h, w, c), self._bordered(h, w, c)
        self._code, self._previous = self._bordered(h, w, 2 * c), self._bordered(h, w, 2 * c)
        if config.recurrent:
            weight, bias = (p.clone() for p in _parameters(network.memory.gates))
            # tanh(v) = 2 sigmoid(2 v) - 1, several times as fast; the inner 2 goes into the weights.
            weight[3 * c :] *= 2
            bias[3 * c :] *= 2
            self._gates = self._conv(weight, bias)
            self._gates_input = self._bordered(h, w, 2 * c)
            self._cell = torch.zeros(h, w, c)
        self._held = torch.zeros(h + 4, w + 4, c)
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
        self._x.write(self._merged(grid))
        self._find_code()
        features = self._remember(self._dictionary(self._code.storage))
        return self._image.copy_(self._shown(features))

    def _merged(self, grid: Tensor) -> Tensor:
        """X (h, w, C): events and the image before, at half the resolution."""
        inputs = torch.cat((grid, self._image[None]))
        # In two turns: an odd size first becomes even, then the border reflects what is even.
        inputs = F.pad(inputs, (0, self.width % 2, 0, self.height % 2), mode="reflect")
        inputs = F.pad(inputs, (2, 2, 2, 2), mode="reflect").permute(1, 2, 0).contiguous()
        return self._merge(inputs)

    def _find_code(self) -> None:
        """The unrolled iterations, from X to the code Z^K in self._code; Z_{t-1} goes to self._previous."""
        self._code, self._previous = self._previous, self._code
        code, before, x = self._code, self._previous.inner, self._x.inner
        h, w, channels = code.inner.shape
        if self.config.similarity:
            attention_before = self._attend_previous(self._previous.storage)[:h, :w]
        code.write(self._first_code(self._x.storage)[:h, :w])
        change = self._scratch.take("change", h, w, channels)
        for block in self._blocks:
            torch.sub(x, block.D(code.storage)[:h, :w], out=self._residual.inner)
            self._residual.reflect()
            update = block.P(self._residual.storage)[:h, :w]
            if self.config.similarity:
                similarity = torch.sigmoid(attention_before * self._attend_current(code.storage)[:h, :w])
                torch.sub(before, code.inner, out=change).mul_(similarity)
                update.addcmul_(change, block.alpha)
            update.add_(code.inner)
            torch.clamp(update, block.low, block.high, out=change)
            torch.addcmul(update, change, block.sign, value=-1, out=code.inner)
            code.reflect()

    def _remember(self, features: Tensor) -> Tensor:
        """The dictionary's output before its ReLU -> the ConvLSTM's hidden state (h, w, C), or the ReLU's output."""
        h, w = self._x.inner.shape[:2]
        features = features[:h, :w]
        if not self.config.recurrent:
            return features.clamp_(min=0)
        c = self.config.channels
        torch.clamp(features, min=0, out=self._gates_input.inner[..., :c])
        self._gates_input.reflect()
        gates = self._gates(self._gates_input.storage)[:h, :w]
        enter, forget, out, candidate = gates.sigmoid_().chunk(4, -1)
        candidate.mul_(2).sub_(1)
        self._cell.mul_(forget).addcmul_(enter, candidate)
        torch.mul(self._cell, 2, out=candidate).sigmoid_().mul_(2).sub_(1)
        return torch.mul(out, candidate, out=self._gates_input.inner[..., c:])

    def _shown(self, features: Tensor) -> Tensor:
        """(h, w, C) -> the image (H, W)."""
        held = self._held
        held[2:-2, 2:-2] = features
        held[1, 2:-2], held[-2, 2:-2] = features[0], features[-1]
        held[:, 1], held[:, -2] = held[:, 2], held[:, -3]
        phases = self._show(held)
        h, w = phases.shape[:2]
        doubled = phases.view(h, w, 2, 2).permute(0, 2, 1, 3).reshape(2 * h, 2 * w)
        return torch.sigmoid(doubled[: self.height, : self.width])

    def _fold_ends(self, network: Cista, h: int, w: int) -> None:
        events, image = network.events_head, network.image_head
        half = image.weight.shape[0]
        heads = events.weight.new_zeros(2 * half, self.config.bins + 1, 3, 3)
        heads[:half, :-1], heads[half:, -1:] = events.weight, image.weight
        bias = torch.cat((events.bias, image.bias))
        self._merge = halving_chain((heads, bias), _parameters(network.fusion), h, w)
        self._show = doubling_chain(_parameters(network.upsampled), _parameters(network.prediction), h, w)

    def _conv(self, weight: Tensor, bias: Tensor) -> PackedConv | WinogradConv:
        return WinogradConv(weight, bias, self._workspace) if self._workspace else PackedConv(weight, bias)

    def _bordered(self, height: int, width: int, channels: int) -> _Bordered:
        return _Bordered(height, width, channels, TILE if self.winograd else 1)


class WinogradCista(FusedCista):
    """See the module."""

    name = "winograd"
    winograd = True


class _Bordered:
    """A picture (h, w, C) with a border of one, made larger, by zeros, to whole tiles."""

    def __init__(self, height: int, width: int, channels: int, tile: int) -> None:
        rows, columns = (-(-n // tile) * tile + 2 for n in (height, width))
        self.storage = torch.zeros(rows, columns, channels)
        self._all = self.storage[: height + 2, : width + 2]
        self.inner = self._all[1:-1, 1:-1]

    def write(self, picture: Tensor) -> None:
        self.inner.copy_(picture)
        self.reflect()

    def reflect(self) -> None:
        """Fill the border from what was written inside."""
        a = self._all
        a[0, 1:-1], a[-1, 1:-1] = a[2, 1:-1], a[-3, 1:-1]
        a[:, 0], a[:, -1] = a[:, 2], a[:, -3]


class _Block:
    """D, P, alpha, and theta as the bounds and signs of a clamp."""

    def __init__(self, D: PackedConv | WinogradConv, P: PackedConv | WinogradConv, block: nn.Module) -> None:
        self.D, self.P = D, P
        theta = block.theta.detach().flatten().float()
        self.low, self.high, self.sign = -theta.abs(), theta.abs(), theta.sign()
        self.alpha = None if block.alpha is None else block.alpha.detach().flatten().float()


def _parameters(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    return layer.weight.detach(), layer.bias.detach()
