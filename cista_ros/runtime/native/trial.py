"""Whether a network bears bf16: rounding is forgotten by some weights, and grows from step to step with others."""

from __future__ import annotations

import torch

from ...errors import RuntimeUnavailableError
from ...networks import Cista
from .cista import NativeCista

ONE_GREY_LEVEL = 1 / 255
# A trial is short, and what grows goes on growing: a small part of what is allowed in the end. Where bf16 rounds no
# kernel, as after a training with it, rounding is forgotten: there the difference stays what it is in the trial.
ALLOWED, ALLOWED_OF_BF16 = ONE_GREY_LEVEL / 16, ONE_GREY_LEVEL / 4
_SIZE, _STEPS = 48, 40
# Some narrower networks whose kernels it rounds drift over hundreds of steps and do not show it in a short trial.
MIN_CHANNELS = 64
# Where nothing moves any more, nothing overwrites what rounding did to the state: first there are events everywhere,
# then few, and these in one strip only (docs/performance.md).
_BUSY_STEPS, _BUSY, _QUIET, _STRIP = 10, 0.05, 0.003, 12


@torch.inference_mode()
def check_bf16(network: Cista) -> None:
    """Run a small picture in both precisions for some steps that build on each other; takes half a second.

    Raises:
        RuntimeUnavailableError: fewer channels than MIN_CHANNELS and kernels that are no bf16 numbers, or an image in
            bf16 is on average further than ALLOWED (ALLOWED_OF_BF16, if they are) from that in fp32.
    """
    of_bf16 = all(torch.equal(p, p.bfloat16().float()) for p in network.parameters() if p.dim() == 4)
    allowed = ALLOWED_OF_BF16 if of_bf16 else ALLOWED
    if network.config.channels < MIN_CHANNELS and not of_bf16:
        raise RuntimeUnavailableError(
            f"rounding is not known to stay small with {network.config.channels} channels, fewer than {MIN_CHANNELS},"
            " and kernels that are no bf16 numbers"
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
            f"in a trial its images drifted {255 * worst:.2f} grey levels from fp32's, of {255 * allowed:.2f} allowed"
        )
