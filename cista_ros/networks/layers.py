"""Layers shared by several networks."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PaddingMode = Literal["reflect", "zeros"]


def conv3x3(inputs: int, outputs: int, stride: int = 1, padding_mode: PaddingMode = "reflect") -> nn.Conv2d:
    """Make a 3x3 convolution, with reflected borders by default, as in the released CISTA networks."""
    kind = ReflectedConv if padding_mode == "reflect" else nn.Conv2d
    return kind(inputs, outputs, 3, stride, padding=1, padding_mode=padding_mode)


class ReflectedConv(nn.Conv2d):
    """A convolution with reflected borders, padded in the precision of its arithmetic.

    Autocast on a CPU would pad in fp32 and copy twice, a sixth of the training time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h', w')."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
            with torch.autocast(kind, enabled=False):
                x = F.pad(x, self._reversed_padding_repeated_twice, mode="reflect")
        else:
            x = F.pad(x, self._reversed_padding_repeated_twice, mode="reflect")
        return F.conv2d(x, self.weight, self.bias, self.stride)


def soft_threshold(v: Tensor, theta: Tensor) -> Tensor:
    """h_theta of equation 2: sign(v) max(|v| - theta, 0) for theta >= 0.

    This form also matches the training of the released weights, whose theta is mostly negative.
    """
    return torch.relu(v - theta) - torch.relu(-v - theta)


class ConvLSTM(nn.Module):
    """Convolutional LSTM (Shi et al. 2015); one convolution computes all gates from [input, hidden]."""

    def __init__(self, channels: int, padding_mode: PaddingMode = "reflect") -> None:
        super().__init__()
        self.channels = channels
        self.gates = conv3x3(2 * channels, 4 * channels, padding_mode=padding_mode)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, C, h, w) and the previous state to the new (hidden, cell), each (N, C, h, w)."""
        return self.update(self.gates(torch.cat((x, hidden), 1)), cell)

    @staticmethod
    def update(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Map gates (N, 4C, h, w) before activation and the previous cell to the new (hidden, cell)."""
        remember_in, forget, out, candidate = gates.chunk(4, 1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(remember_in) * torch.tanh(candidate)
        return torch.sigmoid(out) * torch.tanh(cell), cell


class ConvGRU(nn.Module):
    """Convolutional GRU (Ballas et al. 2016), zero-padded; its output is its state."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reset = conv3x3(2 * channels, channels, padding_mode="zeros")
        self.update = conv3x3(2 * channels, channels, padding_mode="zeros")
        self.candidate = conv3x3(2 * channels, channels, padding_mode="zeros")

    def forward(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        """Map (N, C, h, w) and the previous state, None for zeros, to the new state."""
        hidden = zero_state(x, self.reset) if hidden is None else hidden
        both = torch.cat((x, hidden), 1)
        update = torch.sigmoid(self.update(both))
        candidate = torch.tanh(self.candidate(torch.cat((x, hidden * torch.sigmoid(self.reset(both))), 1)))
        return hidden * (1 - update) + candidate * update


class ConvNorm(nn.Module):
    """A zero-padded convolution of odd kernel size, optionally followed by batch normalisation (then without bias).

    Args:
        double: double the image size before (`bilinear`) or by (`transposed`) the convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, norm: bool = False, double: str = ""
    ) -> None:
        super().__init__()
        padding, bias = kernel // 2, not norm
        self.bilinear = double == "bilinear"
        if double == "transposed":
            self.conv: nn.Conv2d | nn.ConvTranspose2d = nn.ConvTranspose2d(
                inputs, outputs, kernel, 2, padding, output_padding=1, bias=bias
            )
        else:
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)
        self.norm = nn.BatchNorm2d(outputs) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h', w'), no activation."""
        if self.bilinear:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class ResidualBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))) (He et al. 2016), both 3x3 and zero-padded."""

    def __init__(self, channels: int, norm: bool = False) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, norm=norm)
        self.second = ConvNorm(channels, channels, 3, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        return torch.relu(self.second(torch.relu(self.first(x))) + x)


class RecurrentConv(nn.Module):
    """relu(convolution), then a ConvLSTM: the encoder of E2VID and SPADE-E2VID."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, outputs, 5, stride, norm)
        self.memory = ConvLSTM(outputs, padding_mode="zeros")

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Map (N, inputs, h, w) and the previous (hidden, cell), None for zeros, to the new (hidden, cell)."""
        x = torch.relu(self.conv(x))
        after: tuple[Tensor, Tensor] = self.memory(x, *(state or 2 * (zero_state(x, self.memory.gates),)))
        return after


def zero_state(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return zeros of x's shape in the precision of a layer's weights, which autocast does not change."""
    return torch.zeros_like(x, dtype=layer.weight.dtype)


def pad_to_multiple(x: Tensor, multiple: int, mode: str = "reflect") -> tuple[Tensor, tuple[slice, slice]]:
    """Pad H and W to multiples, half on each side (odd rest on top and left); also return the slices that undo it."""
    height, width = x.shape[-2:]
    down, right = -height % multiple, -width % multiple
    top, left = (down + 1) // 2, (right + 1) // 2
    if down or right:
        x = F.pad(x, (left, right - left, top, down - top), mode=mode)
    return x, (slice(top, top + height), slice(left, left + width))
