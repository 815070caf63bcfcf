"""Whether a network bears bf16: rounding is forgotten by some weights, and grows from step to step with others."""

from __future__ import annotations

import torch

from ...errors import RuntimeUnavailableError
from ...networks import Cista
from .cista import NativeCista

ONE_GREY_LEVEL = 1 / 255
_SIZE, _STEPS = 32, 60
# Few events are where rounding counts most (docs/performance.md).
_FILLED = 0.02


@torch.inference_mode()
def check_bf16(network: Cista) -> None:
    """Run a small picture in both precisions for some steps that build on each other; takes tenths of a second.

    Raises:
        RuntimeUnavailableError: an image in bf16 is on average more than a grey level from that in fp32.
    """
    exact, reduced = (NativeCista(network, _SIZE, _SIZE, precision) for precision in ("fp32", "bf16"))
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(_STEPS):
        shape = network.bins, _SIZE, _SIZE
        grid = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < _FILLED)
        worst = max(worst, (exact.step(grid) - reduced.step(grid)).abs().mean().item())
    if not worst <= ONE_GREY_LEVEL:
        raise RuntimeUnavailableError(f"in a trial its images drifted {worst:.3f} from those in fp32")
