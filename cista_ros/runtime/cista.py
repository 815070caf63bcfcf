"""CISTA, CISTA-D and CISTA-TC on a CPU, without the redundant work of the layers.

- The linear chains at both ends are one convolution each, the image's at half its resolution (linear_chain).
- The similarity maps have one channel, and convolutions with one output leave a CPU's vector units idle. Here they are
  a matrix product that gives nine taps, which are then summed (TapConv).
- The contribution of Z_{t-1} to the similarity is computed once per step.
- Every feature map lives in a buffer with a border (kernels.Bordered). Results are written into it, then only the
  border is reflected.
- Channels are innermost, and weights are packed once (PackedConv).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ..errors import RuntimeUnavailableError
from ..networks import Cista, Network
from ..networks.cista import IstaBlock
from .base import Runtime
from .convolutions import TILE, PackedConv, TapConv, WinogradConv, Workers
from .kernels import Bordered, Kernels, NativeKernels, hold
from .linear_chain import Ends, parameters

Conv = PackedConv | WinogradConv


class FusedCista(Runtime):
    """Torch operations in fp32: needs no compiler."""

    name = "fused"
    tile = 1

    def __init__(
        self, network: Network, height: int, width: int, device: torch.device, precision: str = "fp32"
    ) -> None:
        super().__init__(network, height, width, device, precision)
        if device.type != "cpu":
            raise RuntimeUnavailableError(f"runtime {self.name} runs on the CPU, not on {device}: use --device cpu")
        if type(network) is not Cista:
            raise RuntimeUnavailableError(f"runtime {self.name} supports CISTA networks, not {network.name}")
        self.config = config = network.config
        h, w, c = (height + 1) // 2, (width + 1) // 2, config.channels
        self._kernels, exact = self._make_kernels()
        self._ends = Ends(network, height, width, exact)
        self._first_code = self._conv(*parameters(network.first_code))
        # A block shared by all iterations is one object, packed once.
        made = {id(block): _Block(cast(IstaBlock, block), self._conv) for block in network.blocks}
        blocks = [made[id(block)] for block in network.blocks]
        self._blocks = blocks * config.iterations if config.shared else blocks
        if config.similarity:
            self._attend_previous = TapConv(*parameters(network.attend_previous), self._kernels)
            self._attend_current = TapConv(*parameters(network.attend_current), self._kernels)
        self._dictionary = self._conv(*parameters(network.dictionary))
        self._residual, self._code, self._previous = (self._zeros(h, w, n) for n in (c, 2 * c, 2 * c))
        if config.recurrent:
            self._gates = self._conv(*parameters(network.memory.gates))
            self._gates_input = self._zeros(h, w, 2 * c)
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
            hold(features[: self._code.h, : self._code.w].float().clamp(min=0), self._ends.held)
        return self._image.copy_(self._ends.show())

    def _find_code(self, x: Tensor) -> None:
        """Run the unrolled iterations from X to the code Z^K in self._code; Z_{t-1} moves to self._previous."""
        self._code, self._previous = self._previous, self._code
        code, before, kernels = self._code, self._previous, self._kernels
        constraint = None
        if self.config.similarity:
            attention_before = self._attend_previous(before.storage, code.h, code.w)
        kernels.write_floats(x, self._residual)
        kernels.write(self._first_code(self._residual.storage), code)
        for block in self._blocks:
            kernels.subtract(x, block.D(code.storage), self._residual)
            if block.alpha is not None:
                constraint = attention_before, self._attend_current(code.storage, code.h, code.w), block.alpha
            kernels.iterate(block.P(self._residual.storage), code, before, block.theta, constraint)

    def _make_kernels(self) -> tuple[Kernels, Kernels]:
        """Return the kernels of this runtime, and those in fp32."""
        return Kernels(), Kernels()

    def _conv(self, weight: Tensor, bias: Tensor) -> Conv:
        return PackedConv(weight, bias, dtype=self._kernels.dtype)

    def _zeros(self, h: int, w: int, channels: int) -> Bordered:
        return Bordered.zeros(h, w, channels, self._kernels.dtype, self.tile)


class NativeCista(FusedCista):
    """C++ kernels, one pass over memory between two convolutions, and direct convolutions, in fp32 or bf16.

    In bf16, inputs and outputs of convolutions are bfloat16 (their sums are float32), and so are the codes and the
    hidden state between them. The voxel grid, the image, X, the ConvLSTM's cell, the similarity, and everything from
    the hidden state to the image stay float32. RuntimeUnavailableError if the kernels cannot be compiled, or oneDNN
    does not support bf16 on this CPU.
    """

    name = "native"
    precisions: tuple[str, ...] = ("fp32", "bf16")

    def _make_kernels(self) -> tuple[Kernels, Kernels]:
        if self.precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            raise RuntimeUnavailableError(f"runtime {self.name}: this CPU does not support bf16: use --precision fp32")
        return NativeKernels(self.precision), NativeKernels("fp32")


class WinogradCista(NativeCista):
    """C++ kernels and Winograd convolutions, with a quarter of the multiplications; fp32 only."""

    name = "winograd"
    precisions = ("fp32",)
    tile = TILE

    def _make_kernels(self) -> tuple[Kernels, Kernels]:
        self._workers = Workers()
        return super()._make_kernels()

    def _conv(self, weight: Tensor, bias: Tensor) -> Conv:
        return WinogradConv(weight, bias, self._workers)


class _Block:
    """D, P, alpha and theta of one iteration."""

    def __init__(self, block: IstaBlock, conv: Callable[[Tensor, Tensor], Conv]) -> None:
        self.D, self.P = conv(*parameters(block.D)), conv(*parameters(block.P))
        self.theta = block.theta.detach().flatten().float().contiguous()
        self.alpha = None if block.alpha is None else block.alpha.detach().flatten().float().contiguous()


ONE_GREY_LEVEL = 1 / 255
# A trial is short, and an error that grows keeps growing, so the bound is a fraction of one grey level. It is larger if
# the kernels are exact in bf16, as after training with it: then errors grow little (drift-bf16.json).
_ALLOWED, _ALLOWED_OF_BF16 = ONE_GREY_LEVEL / 16, ONE_GREY_LEVEL / 4
_TRIAL_SIZE, _TRIAL_STEPS = 48, 40
# Some narrower networks with rounded kernels drift over hundreds of steps without showing it in a short trial.
_MIN_CHANNELS = 64
# Errors persist where nothing moves, because no event overwrites the state there. So events come everywhere first, then
# few of them in one strip only (docs/reference/performance.md).
_BUSY_STEPS, _BUSY, _QUIET, _STRIP = 10, 0.05, 0.003, 12


@torch.inference_mode()
def check_bf16(network: Cista) -> None:
    """Compare bf16 with fp32 over some recurrent steps at a small size, which takes half a second.

    With some weights, rounding errors grow from step to step. RuntimeUnavailableError if the network has fewer than 64
    channels and kernels that are not exact in bf16, or the mean difference of an image exceeds 1/16 grey level (1/4 if
    the kernels are exact in bf16).
    """
    of_bf16 = all(torch.equal(p, p.bfloat16().float()) for p in network.parameters() if p.dim() == 4)
    allowed = _ALLOWED_OF_BF16 if of_bf16 else _ALLOWED
    if network.config.channels < _MIN_CHANNELS and not of_bf16:
        raise RuntimeUnavailableError(
            f"rounding errors may grow with {network.config.channels} channels, fewer than {_MIN_CHANNELS},"
            " and kernels that are not exact in bf16"
        )
    size, cpu = _TRIAL_SIZE, torch.device("cpu")
    exact, reduced = (NativeCista(network, size, size, cpu, precision) for precision in NativeCista.precisions)
    generator = torch.Generator().manual_seed(0)
    differences = []
    for step in range(_TRIAL_STEPS):
        busy = step < _BUSY_STEPS
        filled = torch.rand(network.bins, size, size, generator=generator) < (_BUSY if busy else _QUIET)
        grid = torch.randn(network.bins, size, size, generator=generator) * filled
        if not busy:
            grid[:, _STRIP:] = 0
        differences.append((exact.step(grid) - reduced.step(grid)).abs().mean())
    worst = torch.stack(differences).max().item()  # NaN if any is
    if not worst <= allowed:
        levels = f"{255 * worst:.2f} grey levels from fp32 in a trial, more than {255 * allowed:.2f}"
        raise RuntimeUnavailableError(f"images differed by {levels}")
