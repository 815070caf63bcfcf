"""The ESIM pixel (Rebecq et al., CoRL 2018): from log intensity to events, for all pixels of a batch at once.

Between two rendered images log intensity is taken as linear in time. Within such a segment it moves one way only, so a
pixel's crossings of its threshold are evenly spaced: `Run` keeps them in closed form, as first time, spacing and count.
`expand` writes the runs out as events when they are needed.

The reference moves by the contrast threshold at every crossing, also when the refractory period swallows the event.
`NoiseSources` adds events without a change of light: background activity and hot pixels, as Poisson noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..events import make_events


@dataclass(frozen=True)
class PixelModel:
    """Properties of the pixels of N sequences; each tensor broadcasts to (N, H, W)."""

    positive: Tensor  # contrast thresholds in units of log intensity, > 0
    negative: Tensor
    refractory_ns: Tensor  # after an event, in which a pixel reports no other
    leak: Tensor  # events per second that a pixel in constant light reports, all positive
    # Cutoff frequency in Hz of the photoreceptor at a photocurrent of 1 (log intensity 0); in proportion to the
    # photocurrent at others. None: unlimited.
    bandwidth: Tensor | None = None


class PixelState(NamedTuple):
    """State of the pixels, each (N, H, W)."""

    reference: Tensor  # log intensity at the last event
    silent: Tensor  # nanoseconds from now in which a pixel reports nothing
    received: Tensor  # log intensity behind the photoreceptor's low-pass filter

    @classmethod
    def at(cls, log_intensity: Tensor) -> PixelState:
        """Return the state of pixels that have just adapted to log intensity (N, H, W)."""
        return cls(log_intensity.clone(), torch.zeros_like(log_intensity), log_intensity)


class Run(NamedTuple):
    """Events of one segment at each pixel: `number` of them, evenly spaced. Times in ns from the segment's start."""

    first: Tensor
    spacing: Tensor
    number: Tensor
    positive: Tensor


class Events(NamedTuple):
    """Events of a batch, in no particular order: each field has one entry an event."""

    sequence: Tensor  # which of the N sequences
    segment: Tensor  # which of the S segments
    t: Tensor  # int64 ns
    x: Tensor  # int64 pixels
    y: Tensor
    p: Tensor  # bool


def received(before: Tensor, log_intensity: Tensor, duration_ns: Tensor, bandwidth: Tensor | None) -> Tensor:
    """Return log intensity (N, H, W) behind the photoreceptor, duration_ns (N,) after it was `before`.

    A first-order low-pass filter whose cutoff is proportional to the photocurrent, as in v2e (Hu et al., CVPRW 2021,
    section 4), taken as constant within the segment.
    """
    if bandwidth is None:
        return log_intensity
    seconds = duration_ns.to(log_intensity).view(-1, 1, 1) * 1e-9
    share = -torch.expm1(-2 * math.pi * bandwidth * log_intensity.exp() * seconds)
    return torch.lerp(before, log_intensity, share)


def cross(log_intensity: Tensor, duration_ns: Tensor, model: PixelModel, state: PixelState) -> tuple[Run, PixelState]:
    """Advance by one segment of duration_ns (N,), at whose end pixels see log_intensity (N, H, W).

    Returns the run of events of each pixel, fields (N, H, W), and the state at the segment's end.
    """
    duration = duration_ns.to(log_intensity).view(-1, 1, 1)
    before = state.received
    arrived = after = received(before, log_intensity, duration_ns, model.bandwidth)
    # A leak is a reference that sinks; seen from the reference, log intensity rises.
    leaked = model.leak * model.positive * duration * 1e-9
    after = after + leaked
    rising = after >= before
    sign = torch.where(rising, 1.0, -1.0).to(before)
    threshold = torch.where(rising, model.positive, model.negative)
    crossings = ((after - state.reference) * sign / threshold).floor().clamp(min=0)

    rate = duration / (after - before).abs().clamp(min=1e-30)  # ns per unit of log intensity
    spacing = threshold * rate
    first = ((state.reference - before) * sign + threshold) * rate
    # Of the crossings 1, 2, … the first to be reported is the one after the silence, then every stride-th.
    skipped = ((state.silent - first) / spacing).ceil().clamp(min=0)
    stride = (model.refractory_ns / spacing).ceil().clamp(min=1)
    count = ((crossings - 1 - skipped) / stride).floor() + 1
    count = torch.where(crossings > skipped, count, 0)
    fires = count > 0
    first = torch.where(fires, first + skipped * spacing, 0)
    spacing = torch.where(fires, stride * spacing, 0)

    silent_until = torch.where(fires, first + (count - 1) * spacing + model.refractory_ns, state.silent)
    reference = state.reference + sign * crossings * threshold - leaked
    return Run(first, spacing, count.long(), rising), PixelState(
        reference, (silent_until - duration).clamp(min=0), arrived
    )


def pixel_runs(
    log_intensity: Tensor, durations_ns: Tensor, model: PixelModel, state: PixelState | None = None
) -> tuple[Run, PixelState]:
    """Return the runs (N, S, H, W) of log intensity (N, S + 1, H, W) at the ends of segments of durations_ns (N, S).

    Without a state the pixels begin adapted to the first image. Works in the dtype of log_intensity.
    """
    state = state or PixelState.at(log_intensity[:, 0])
    runs = []
    for s in range(durations_ns.shape[1]):
        run, state = cross(log_intensity[:, s + 1], durations_ns[:, s], model, state)
        runs.append(run)
    return Run(*(torch.stack(field, 1) for field in zip(*runs, strict=True))), state


def expand(runs: Run, starts_ns: Tensor) -> Events:
    """Write runs (N, S, H, W) out as events; starts_ns int64 (N, S) are the times at which the segments begin."""
    sequence, segment, y, x = where = runs.number.nonzero(as_tuple=True)
    count = runs.number[where]
    first, spacing = runs.first[where].double(), runs.spacing[where].double()
    of_run = torch.repeat_interleave(count)
    rank = torch.arange(len(of_run), device=count.device) - (count.cumsum(0) - count)[of_run]
    t = starts_ns[sequence, segment][of_run] + (first[of_run] + rank * spacing[of_run]).round().long()
    return Events(sequence[of_run], segment[of_run], t, x[of_run], y[of_run], runs.positive[where][of_run])


def merge(*parts: Events) -> Events:
    """Join several sets of events."""
    return Events(*(torch.cat(field) for field in zip(*parts, strict=True)))


def event_array(events: Events, sequence: int = 0) -> np.ndarray:
    """Return the events of one sequence as an event array (cista_ros.events) in time order."""
    mine = events.sequence == sequence
    t, x, y, p = (field[mine].cpu().numpy() for field in events[2:])
    order = np.argsort(t, kind="stable")
    return make_events(x[order], y[order], t[order], p[order])


@dataclass(frozen=True)
class NoiseSources:
    """The noise of N cameras, in events per second."""

    background: Tensor  # of each pixel (N,), of either polarity
    hot: Tensor  # of each pixel (N, H, W), zero for sound ones; the sign is their polarity

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
