"""CISTA-LSTC (Liu, Dragotti, "Sensing Diversity and Sparsity Models …", TPAMI 2023), the successor of CISTA-TC.

Temporal consistency acts on the first guess of the sparse code instead of on every iteration: gates computed from X
and the previous code Z_{t-1} mix the guess P0 X into a cell c that persists through the sequence,

    c_t = f . c_{t-1} + i . P0 X          i, f = sigmoid(G [X, Z_{t-1}])
    Z^0 = o . tanh(c_t)                   o = sigmoid(O [P0 X, Z_{t-1}])
    Z^k = h_theta(Z^{k-1} + P (X - D Z^{k-1})),   k = 1..K

followed by CISTA-TC's image dictionary with its ConvLSTM; here the convolution after doubling has a ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from .cista import IstaBlock, SparseCodingNetwork, doubled
from .layers import conv3x3, pad_to_multiple, soft_threshold
from .network import check_counts


@dataclass(frozen=True)
class CistaLstcConfig:
    """The architecture; defaults as released. Names as in CistaConfig."""

    bins: int = 5
    channels: int = 64
    iterations: int = 5

    def __post_init__(self) -> None:
        check_counts(self, bins=1000, channels=4096, iterations=100)
        if self.channels % 2:
            raise ValueError(f"channels must be even, not {self.channels}")


class LstcState(NamedTuple):
    """image (N, 1, H, W); code Z and its cell c (N, 2C, h, w); hidden and cell of the ConvLSTM (N, C, h, w)."""

    image: Tensor
    code: Tensor
    code_cell: Tensor
    hidden: Tensor
    cell: Tensor


class CistaLstc(SparseCodingNetwork):
    """One shared ISTA block for all iterations, as released."""

    name = "cista-lstc"

    def __init__(self, config: CistaLstcConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CistaLstcConfig()
        c = config.channels
        self._add_encoder()
        self.gates = conv3x3(3 * c, 4 * c)
        self.out_gate = conv3x3(4 * c, 2 * c)
        self.blocks = nn.ModuleList([IstaBlock(c, similarity=False)])
        self._add_dictionary()

    def initial_state(self, voxel: Tensor) -> LstcState:
        image, code, hidden = self._zeros(voxel)
        return LstcState(image, code, code, hidden, hidden)

    def forward(self, voxel: Tensor, state: LstcState | None = None) -> tuple[Tensor, LstcState]:
        """Reconstruct one window: see Network. Odd sizes are padded by reflection."""
        state = self._begin(voxel, state)
        padded, (rows, columns) = pad_to_multiple(voxel, 2)
        previous = pad_to_multiple(state.image, 2)[0]
        x = self.fusion(torch.cat((self.events_head(padded), self.image_head(previous)), 1))

        guess = self.first_code(x)
        enter, forget = torch.sigmoid(self.gates(torch.cat((x, state.code), 1))).chunk(2, 1)
        out = torch.sigmoid(self.out_gate(torch.cat((guess, state.code), 1)))
        code_cell = forget * state.code_cell + enter * guess
        code = out * torch.tanh(code_cell)
        block = cast(IstaBlock, self.blocks[0])
        for _ in range(self.config.iterations):
            code = soft_threshold(code + block.P(x - block.D(code)), block.theta)

        features = torch.relu(self.dictionary(code))
        hidden, cell = self.memory(features, state.hidden, state.cell)
        image = torch.sigmoid(self.prediction(torch.relu(self.upsampled(doubled(hidden)))))[..., rows, columns]
        return image, LstcState(image, code, code_cell, hidden, cell)
