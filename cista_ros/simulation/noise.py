"""Events without a change of light: background activity and hot pixels, as Poisson noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .pixel import Events


@dataclass(frozen=True)
class NoiseSources:
    """The noise of N cameras.

    Attributes:
        background: events per second of each pixel (N,), of either polarity.
        hot: events per second of each pixel (N, H, W), zero for sound ones; the sign is their polarity.
    """

    background: Tensor
    hot: Tensor

    def events(self, starts: Tensor, durations: Tensor, generator: torch.Generator) -> tuple[Events, Events]:
        """Return background and hot-pixel events in segments that start at and last int64 ns (N, S)."""
        _, height, width = self.hot.shape
        expected = self.background[:, None] * (height * width) * durations * 1e-9
        sequence, segment = _draw(expected, generator)
        n, device = len(sequence), starts.device
        y = torch.randint(height, (n,), device=device, generator=generator)
        x = torch.randint(width, (n,), device=device, generator=generator)
        p = torch.rand(n, device=device, generator=generator) < 0.5
        t = _times(starts[sequence, segment], durations[sequence, segment], generator)
        background = Events(sequence, segment, t, x, y, p)

        where = self.hot.nonzero(as_tuple=True)
        pixel, segment = _draw(self.hot[where].abs()[:, None] * durations[where[0]] * 1e-9, generator)
        sequence, y, x = (index[pixel] for index in where)
        t = _times(starts[sequence, segment], durations[sequence, segment], generator)
        return background, Events(sequence, segment, t, x, y, (self.hot[where] > 0)[pixel])


def _draw(expected: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a number of events for each cell of (A, B); return the two indices of each event's cell."""
    count = torch.poisson(expected.float(), generator=generator).long()
    cell = torch.repeat_interleave(count.flatten())
    return torch.div(cell, count.shape[1], rounding_mode="floor"), cell % count.shape[1]


def _times(starts: Tensor, durations: Tensor, generator: torch.Generator) -> Tensor:
    share = torch.rand(len(starts), device=starts.device, generator=generator, dtype=torch.float64)
    return starts + (share * durations).long()
