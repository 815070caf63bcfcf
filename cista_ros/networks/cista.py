"""CISTA, CISTA-D and CISTA-TC (Liu, Alexandru, Dragotti, ICASSP 2022, section 2.2).

    X = W [W_E E, W_I I_{t-1}]                          events and the previous image, merged at half the resolution
    Z^0 = P0 X                                          first guess of the sparse code
    Z^k = h_theta(Z^{k-1} + P (X - D Z^{k-1}) + S . alpha . (Z_{t-1} - Z^{k-1})),   k = 1..K        (equation 4)
    I_t = sigmoid(D_I Z^K)                              the image dictionary, with a ConvLSTM as its memory

A step is a pure function (voxel, state) -> (image, state).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ConvLSTM, conv3x3, soft_threshold
from .network import Network, check_counts, check_switches


@dataclass(frozen=True)
class CistaConfig:
    """The architecture. The defaults are CISTA-TC as its authors released it (669,251 parameters)."""

    bins: int = 5  # temporal bins B of the voxel grid
    channels: int = 64  # of X and of the ConvLSTM; the heads have half of it, the sparse code twice
    iterations: int = 5  # unrolled ISTA iterations K
    shared: bool = True  # one block (D, P, theta, alpha) for all iterations, as released; else one each (paper's text)
    similarity: bool = True  # the temporal-similarity constraint on the codes (CISTA-TC)
    recurrent: bool = True  # the ConvLSTM in the image dictionary (CISTA-D and CISTA-TC)

    def __post_init__(self) -> None:
        check_counts(self, bins=1000, channels=4096, iterations=100)
        check_switches(self, "shared", "similarity", "recurrent")
        if self.channels % 2:
            raise ValueError(f"channels must be even, not {self.channels}")


VARIANTS = {
    "cista": CistaConfig(similarity=False, recurrent=False),
    "cista-d": CistaConfig(similarity=False),
    "cista-tc": CistaConfig(),
}


class State(NamedTuple):
    """The state between two steps; h, w: half of H, W, rounded up. Variants pass on entries that they do not use."""

    image: Tensor  # the last reconstruction (N, 1, H, W)
    code: Tensor  # the last sparse code Z (N, 2C, h, w)
    hidden: Tensor  # the ConvLSTM's (N, C, h, w)
    cell: Tensor


class IstaBlock(nn.Module):
    """D, P and theta of one ISTA iteration, and alpha of the temporal-similarity constraint."""

    def __init__(self, channels: int, similarity: bool) -> None:
        super().__init__()
        code = 2 * channels
        self.D = conv3x3(code, channels)
        self.P = conv3x3(channels, code)
        self.theta = nn.Parameter(0.001 * torch.rand(1, code, 1, 1))
        self.alpha = nn.Parameter(0.001 * torch.rand(1, code, 1, 1)) if similarity else None


class SparseCodingNetwork(Network):
    """A network whose state is a NamedTuple with entries `image` (N, 1, H, W) and `code` (N, 2C, h, w).

    h, w are half of H, W, rounded up; C is the configuration's `channels`.
    """

    fed_back = True

    @abstractmethod
    def initial_state(self, voxel: Tensor) -> NamedTuple:
        """Return the all-zero state before the first window, with voxel's batch, size, dtype and device."""

    def codes(self, state: Any) -> Tensor:
        code: Tensor = state.code
        return code

    def _add_encoder(self) -> None:
        c = self.config.channels
        self.events_head = conv3x3(self.config.bins, c // 2)
        self.image_head = conv3x3(1, c // 2)
        self.fusion = conv3x3(c, c, stride=2)
        self.first_code = conv3x3(c, 2 * c)

    def _add_dictionary(self, recurrent: bool = True) -> None:
        c = self.config.channels
        self.dictionary = conv3x3(2 * c, c)
        if recurrent:
            self.memory = ConvLSTM(c)
        self.upsampled = conv3x3(c, c)
        self.prediction = conv3x3(c, 1)

    def _zeros(self, voxel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return zeros in the shapes of the image, the code and the ConvLSTM's state."""
        n, _, height, width = voxel.shape
        h, w, c = (height + 1) // 2, (width + 1) // 2, self.config.channels
        return (voxel.new_zeros(n, 1, height, width), voxel.new_zeros(n, 2 * c, h, w), voxel.new_zeros(n, c, h, w))

    def _begin(self, voxel: Tensor, state: Any) -> Any:
        """Return the state to continue from; ValueError for a voxel grid or a state of the wrong shape."""
        self.check_voxel(voxel, None if state is None else state.image)
        return self.initial_state(voxel) if state is None else state


class Cista(SparseCodingNetwork):
    """The networks of the paper; which of them is the configuration's choice."""

    name = "cista"

    def __init__(self, config: CistaConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CistaConfig()
        c = config.channels
        self._add_encoder()
        self.blocks = nn.ModuleList(
            IstaBlock(c, config.similarity) for _ in range(1 if config.shared else config.iterations)
        )
        if config.similarity:
            self.attend_previous = conv3x3(2 * c, 1)
            self.attend_current = conv3x3(2 * c, 1)
        self._add_dictionary(config.recurrent)

    def initial_state(self, voxel: Tensor) -> State:
        image, code, hidden = self._zeros(voxel)
        return State(image, code, hidden, torch.zeros_like(hidden))

    def forward(self, voxel: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Reconstruct one window: see Network. Images are in (0, 1); odd sizes are padded by reflection."""
        state = self._begin(voxel, state)
        height, width = voxel.shape[-2:]
        inputs = torch.cat((self.events_head(_even(voxel)), self.image_head(_even(state.image))), 1)
        code = self._sparse_code(self.fusion(inputs), state.code)

        features = torch.relu(self.dictionary(code))
        hidden, cell = state.hidden, state.cell
        if self.config.recurrent:
            features, cell = self.memory(features, hidden, cell)
            hidden = features
        image = torch.sigmoid(self.prediction(self.upsampled(doubled(features))))[..., :height, :width]
        return image, State(image, code, hidden, cell)

    def _sparse_code(self, x: Tensor, previous: Tensor) -> Tensor:
        """Run unrolled ISTA: X (N, C, h, w), previous code (N, 2C, h, w) -> code Z^K (N, 2C, h, w)."""
        code: Tensor = self.first_code(x)
        constraint: tuple[Tensor, ...] = ()
        if self.config.similarity:
            attention_previous = self.attend_previous(previous)
        for k in range(self.config.iterations):
            block = cast(IstaBlock, self.blocks[0 if self.config.shared else k])
            if block.alpha is not None:
                constraint = (attention_previous, self.attend_current(code), block.alpha, previous)
            code = self.update(code, block.P(x - block.D(code)), block.theta, *constraint)
        return code

    @staticmethod
    def update(code: Tensor, correction: Tensor, theta: Tensor, *constraint: Tensor) -> Tensor:
        """Apply the elementwise part of equation 4: Z^{k-1}, P (X - D Z^{k-1}) -> Z^k, all (N, 2C, h, w).

        constraint: empty, or the attention (N, 1, h, w) to the previous and the current code, alpha (1, 2C, 1, 1) and
        the previous code; theta: (1, 2C, 1, 1).
        """
        update = code + correction
        if constraint:
            attention_previous, attention_current, alpha, previous = constraint
            similarity = torch.sigmoid(attention_previous * attention_current)
            update = update + similarity * alpha * (previous - code)
        return soft_threshold(update, theta)


def _even(x: Tensor) -> Tensor:
    """Reflect odd sizes by one row or column, so that halving and doubling give the size back."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, width % 2, 0, height % 2), mode="reflect") if height % 2 or width % 2 else x


def doubled(features: Tensor) -> Tensor:
    """Double the size: (N, C, h, w) -> (N, C, 2h, 2w), bilinear."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
