"""Check whether a network tolerates bf16: with some weights, rounding errors grow from step to step."""

from __future__ import annotations

import torch

from ...errors import RuntimeUnavailableError
from ...networks import Cista
from .cista import NativeCista

ONE_GREY_LEVEL = 1 / 255
# A trial is short, and an error that grows keeps growing, so the bound is a fraction of one grey level. It is larger if
# the kernels are exact in bf16, as after training with it: then errors grow little (drift-bf16.json).
ALLOWED, ALLOWED_OF_BF16 = ONE_GREY_LEVEL / 16, ONE_GREY_LEVEL / 4
_SIZE, _STEPS = 48, 40
# Some narrower networks with rounded kernels drift over hundreds of steps without showing it in a short trial.
MIN_CHANNELS = 64
# Errors persist where nothing moves, because no event overwrites the state there. So events come everywhere first, then
# few of them in one strip only (docs/reference/performance.md).
_BUSY_STEPS, _BUSY, _QUIET, _STRIP = 10, 0.05, 0.003, 12


@torch.inference_mode()
def check_bf16(network: Cista) -> None:
    """Compare bf16 with fp32 over some recurrent steps at a small size, which takes half a second.

    Raises:
        RuntimeUnavailableError: the kernels are not exact in bf16 and the network has fewer than MIN_CHANNELS channels,
            or the mean difference of an image exceeds ALLOWED (ALLOWED_OF_BF16 if the kernels are exact in bf16).
    """
    of_bf16 = all(torch.equal(p, p.bfloat16().float()) for p in network.parameters() if p.dim() == 4)
    allowed = ALLOWED_OF_BF16 if of_bf16 else ALLOWED
    if network.config.channels < MIN_CHANNELS and not of_bf16:
        raise RuntimeUnavailableError(
            f"rounding errors may grow with {network.config.channels} channels, fewer than {MIN_CHANNELS},"
            " and kernels that are not exact in bf16"
        )
    exact, reduced = (NativeCista(network, _SIZE, _SIZE, precision) for precision in ("fp32", "bf16"))
    generator = torch.Generator().manual_seed(0)
    differences = []
    for step in range(_STEPS):
        shape = network.bins, _SIZE, _SIZE
        busy = step < _BUSY_STEPS
        filled = torch.rand(shape, generator=generator) < (_BUSY if busy else _QUIET)
        grid = torch.randn(shape, generator=generator) * filled
        if not busy:
            grid[:, _STRIP:] = 0
        differences.append((exact.step(grid) - reduced.step(grid)).abs().mean())
    worst = torch.stack(differences).max().item()  # NaN if any is
    if not worst <= allowed:
        raise RuntimeUnavailableError(
            f"images differed by {255 * worst:.2f} grey levels from fp32 in a trial, more than {255 * allowed:.2f}"
        )
