"""Events that no light caused: background activity, and hot pixels that fire without end."""

from __future__ import annotations

import torch
from torch import Tensor

from .pixel import Events


def background_activity(
    rate: Tensor, starts_ns: Tensor, durations_ns: Tensor, height: int, width: int, generator: torch.Generator
) -> Events:
    """Poisson noise, equally likely at every pixel and of either polarity.

    Args:
        rate: events per pixel and second (N,).
        starts_ns, durations_ns: int64 (N, S), the segments.
    """
    device = starts_ns.device
    expected = rate[:, None] * (height * width) * durations_ns * 1e-9
    count = torch.poisson(expected.float(), generator=generator).long()
    sequence, segment = _expand(count)
    n = len(sequence)
    y = torch.randint(height, (n,), device=device, generator=generator)
    x = torch.randint(width, (n,), device=device, generator=generator)
    p = torch.rand(n, device=device, generator=generator) < 0.5
    return Events(sequence, segment, _times(sequence, segment, starts_ns, durations_ns, generator), x, y, p)


def hot_pixel_events(rate: Tensor, starts_ns: Tensor, durations_ns: Tensor, generator: torch.Generator) -> Events:
    """Poisson noise of single pixels, each of one polarity.

    Args:
        rate: events per second of each pixel (N, H, W), zero for sound ones; the sign is the polarity.
        starts_ns, durations_ns: int64 (N, S), the segments.
    """
    where = rate.nonzero(as_tuple=True)
    expected = rate[where].abs()[:, None] * durations_ns[where[0]] * 1e-9
    pixel, segment = _expand(torch.poisson(expected.float(), generator=generator).long())
    sequence, y, x = (index[pixel] for index in where)
    p = (rate[where] > 0)[pixel]
    return Events(sequence, segment, _times(sequence, segment, starts_ns, durations_ns, generator), x, y, p)


def _expand(count: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (A, B) -> for each thing counted its two indices."""
    cell = torch.repeat_interleave(count.flatten())
    return torch.div(cell, count.shape[1], rounding_mode="floor"), cell % count.shape[1]


def _times(
    sequence: Tensor, segment: Tensor, starts_ns: Tensor, durations_ns: Tensor, generator: torch.Generator
) -> Tensor:
    share = torch.rand(len(sequence), device=starts_ns.device, generator=generator, dtype=torch.float64)
    return starts_ns[sequence, segment] + (share * durations_ns[sequence, segment]).long()
