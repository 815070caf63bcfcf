"""Simulated events -> the voxel grids of all windows of all sequences at once, or -> event arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..events import EVENT_DTYPE
from .pixel import Events


def voxel_grids(
    events: Events, sequences: int, windows: int, segments: int, size: tuple[int, int], bins: int
) -> Tensor:
    """Voxel grids (N, T, B, H, W), float32, one for each window of `segments` consecutive segments.

    Equal to the bit to `cista_ros.voxel_grid.voxel_grid` of the window's events: the same whole multiples of
    1 / (tN - t0) are summed, in float64, whatever the order. (One exception: several events that all bear the same
    nanosecond are not spread over the bins but fall into the first.)
    """
    height, width = size
    cells = height * width
    device = events.t.device
    window = events.sequence * windows + torch.div(events.segment, segments, rounding_mode="floor")
    limits = torch.iinfo(torch.int64)
    t0 = torch.full((sequences * windows,), limits.max, device=device).scatter_reduce(0, window, events.t, "amin")
    tn = torch.full((sequences * windows,), limits.min, device=device).scatter_reduce(0, window, events.t, "amax")
    unit = torch.where(tn > t0, tn - t0, 1)
    steps = (events.t - t0[window]) * (bins - 1)
    lower = torch.div(steps, unit[window], rounding_mode="floor")
    polarity = torch.where(events.p, 1.0, -1.0).double()
    upper_share = (steps - lower * unit[window]) * polarity
    # One bin more than asked for takes the (zero) upper shares of the last bin.
    index = (window * (bins + 1) + lower) * cells + events.y * width + events.x
    grid = torch.zeros(sequences * windows * (bins + 1) * cells, dtype=torch.float64, device=device)
    grid.index_add_(0, index, polarity * unit[window] - upper_share)
    grid.index_add_(0, index + cells, upper_share)
    grid = grid.view(sequences * windows, bins + 1, height, width)[:, :bins]
    return (grid * unit.double().reciprocal().view(-1, 1, 1, 1)).float().view(sequences, windows, bins, height, width)


def event_array(events: Events, sequence: int = 0) -> np.ndarray:
    """The events of one sequence as an event array (cista_ros.events) in time order."""
    mine = events.sequence == sequence
    t, x, y, p = (field[mine].cpu().numpy() for field in events[2:])
    order = np.argsort(t, kind="stable")
    array = np.empty(len(t), EVENT_DTYPE)
    array["t"], array["x"], array["y"], array["p"] = t[order], x[order], y[order], p[order]
    return array
