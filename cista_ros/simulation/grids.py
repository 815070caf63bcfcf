"""Simulated events -> the voxel grids of all windows of all sequences at once, or event arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..events import EVENT_DTYPE
from ..voxel_grid import voxel_grids
from .pixel import Events


def window_grids(
    events: Events, sequences: int, windows: int, segments: int, size: tuple[int, int], bins: int
) -> Tensor:
    """Return the voxel grids (N, T, B, H, W), float32, of windows of `segments` consecutive segments each.

    Equal to the bit to `voxel_grid` of each window's events, except that several events which all have one time fall
    into the first bin.
    """
    window = events.sequence * windows + torch.div(events.segment, segments, rounding_mode="floor")
    limits = torch.iinfo(torch.int64)
    count, device = sequences * windows, events.t.device
    first = torch.full((count,), limits.max, device=device).scatter_reduce(0, window, events.t, "amin")
    last = torch.full((count,), limits.min, device=device).scatter_reduce(0, window, events.t, "amax")
    times = torch.stack([first, torch.maximum(first, last)], 1)  # equal where a window has no events
    polarity = events.p.long() * 2 - 1
    grids = voxel_grids(events.t, events.x, events.y, polarity, window, times, *size, bins)
    return grids.view(sequences, windows, bins, *size)


def event_array(events: Events, sequence: int = 0) -> np.ndarray:
    """Return the events of one sequence as an event array (cista_ros.events) in time order."""
    mine = events.sequence == sequence
    t, x, y, p = (field[mine].cpu().numpy() for field in events[2:])
    order = np.argsort(t, kind="stable")
    array = np.empty(len(t), EVENT_DTYPE)
    array["t"], array["x"], array["y"], array["p"] = t[order], x[order], y[order], p[order]
    return array
