"""The two building blocks that all CISTA networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution with reflected borders, as everywhere in the released networks."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="reflect")


def soft_threshold(v: Tensor, theta: Tensor) -> Tensor:
    """h_theta of equation 2: sign(v) max(|v| - theta, 0) for theta >= 0.

    Written so that it also means what the released weights, whose theta is mostly negative, were trained with.
    """
    return torch.relu(v - theta) - torch.relu(-v - theta)


class ConvLSTM(nn.Module):
    """Convolutional LSTM (Shi et al. 2015); one convolution computes all gates from [input, hidden]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gates = conv3x3(2 * channels, 4 * channels)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) and the state before -> (hidden, cell) after, each (N, C, h, w)."""
        remember_in, forget, out, candidate = self.gates(torch.cat((x, hidden), 1)).chunk(4, 1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(remember_in) * torch.tanh(candidate)
        return torch.sigmoid(out) * torch.tanh(cell), cell
