"""Events -> voxel grid (B, H, W), the network's view of a window.

Each event adds its polarity (+1 or -1) to its pixel, split linearly between the two bins nearest in time:
t* = (B - 1) (t - t0) / (tN - t0), shares 1 - (t* - floor t*) and t* - floor t* (Zhu et al. 2018; paper section 2.1).

The shares are summed as whole multiples of 1 / (tN - t0), which float64 holds exactly. Hence the sums do not depend on
the order of the events, numpy and torch agree to the bit on every device, and polarities that cancel leave a true
zero, which matters because the normalisation skips zero cells.

The formula exists twice: `voxel_grid` for numpy, several times faster on a CPU, and `voxel_grids` for batches in torch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BINS = 5


def voxel_grid(events: np.ndarray, height: int, width: int, bins: int = BINS) -> np.ndarray:
    """Return the voxel grid of a window, float32 (bins, height, width), computed by numpy; all zero for no events.

    Args:
        events: event array (N,) in time order, all inside the sensor; ValueError if they exceed its memory. (Untrusted
            events go through EventFilter first.)
        height, width: the sensor's size in pixels.
        bins: number of temporal bins B, at least 2.
    """
    pixels, n = height * width, len(events)
    if n == 0:
        return np.zeros((bins, height, width), np.float32)
    # Integers with t* = steps / unit; events with one time are spread evenly by index.
    t, unit = events["t"], int(events["t"][-1]) - int(events["t"][0])
    upper_share = (t - t[0] if unit > 0 else np.arange(n, dtype=np.int64)) * (bins - 1)
    unit = unit if unit > 0 else max(n - 1, 1)
    lower = np.floor_divide(upper_share, unit)
    index, share = np.empty((2, n), np.int64), np.empty((2, n))
    # Integers of one type until the end, and fields copied out first: numpy is slow if it converts while computing.
    upper_share -= lower * unit
    polarity = events["p"].astype(np.int64)
    polarity += polarity
    polarity -= 1
    upper_share *= polarity
    share[1] = upper_share
    polarity *= unit
    polarity -= upper_share
    share[0] = polarity
    np.multiply(events["y"].astype(np.int64), width, out=index[0])
    index[0] += events["x"].copy()
    lower *= pixels
    index[0] += lower
    np.add(index[0], pixels, out=index[1])
    # One extra bin takes the upper shares of the last bin, which are zero.
    sums = np.bincount(index.ravel(), share.ravel(), (bins + 1) * pixels)
    if len(sums) > (bins + 1) * pixels:
        raise ValueError(f"events outside the sensor of {width}x{height} pixels")
    # Multiply by the reciprocal, here as in torch: dividing every cell takes twice as long.
    grid = np.empty(bins * pixels, np.float32)
    np.multiply(sums[: bins * pixels], 1 / unit, out=grid, casting="same_kind")
    return grid.reshape(bins, height, width)


def upload(events: np.ndarray, device: torch.device) -> Tensor:
    """Copy an event array (N,) to a device as int64 (N, 2), in 16 bytes per event."""
    return torch.from_numpy(np.ascontiguousarray(events).view(np.int64).reshape(-1, 2)).to(device)


def voxel_grid_torch(words: Tensor, height: int, width: int, bins: int = BINS, count: Tensor | None = None) -> Tensor:
    """Return the voxel grid of one window on the device of its input, equal to `voxel_grid` to the bit.

    Args:
        words: int64 (M, 2), an event array as `upload` returns it.
        count: int64 (), the number of leading rows that are events; None for all. No shape depends on it, and nothing
            is read back to the host, as a CUDA graph requires.
    """
    if not len(words):
        return torch.zeros(bins, height, width, device=words.device)
    t, rest = words[:, 0], words[:, 1]
    index = torch.arange(len(words), device=words.device)
    if count is None:
        last, polarity = index[-1:], torch.ones_like(index)
    else:
        last, polarity = (count - 1).clamp(min=0).view(1), (index < count).long()
    # An ignored row has polarity 0, and lies where the first event does.
    t, index, pixel = t * polarity + t[0] * (1 - polarity), index * polarity, rest * polarity
    return voxel_grids(
        t,
        pixel & 0xFFFF,
        (pixel >> 16) & 0xFFFF,
        (((rest >> 32) & 1) * 2 - 1) * polarity,
        torch.zeros(1, dtype=torch.int64, device=words.device),
        torch.cat([t[:1], t.gather(0, last)]).view(1, 2),
        height,
        width,
        bins,
        spread=(index, last.clamp(min=1)),
    )[0]


def voxel_grids(
    t: Tensor,
    x: Tensor,
    y: Tensor,
    polarity: Tensor,
    window: Tensor,
    times: Tensor,
    height: int,
    width: int,
    bins: int = BINS,
    spread: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the voxel grids of several windows, float32 (W, bins, height, width); events may come in any order.

    Args:
        t, x, y: int64 (N,), nanoseconds and pixels. polarity: int64 (N,), 1, -1, or 0 for rows to ignore.
        window: int64 (N,), the window of each event, or (1,) if all have the same.
        times: int64 (W, 2), each window's first and last time.
        spread: index int64 (N,) of each event in its window and last index (W,): where first and last time are equal,
            events are spread evenly over the bins by index. Without it they fall into the first bin.
    """
    windows, cells = len(times), height * width
    first = times[:, 0]
    span = times[:, 1] - first
    steps = t - first[window]
    if spread is None:
        unit = span.clamp(min=1)
    else:
        index, last = spread
        unit = torch.where(span > 0, span, last)
        steps = torch.where(span[window] > 0, steps, index)
    steps = steps * (bins - 1)
    unit_of = unit[window]
    lower = torch.div(steps, unit_of, rounding_mode="floor")
    upper_share = (steps - lower * unit_of) * polarity
    # One extra bin takes the upper shares of the last bin, which are zero.
    cell = (window * (bins + 1) + lower) * cells + y * width + x
    grids = torch.zeros(windows * (bins + 1) * cells, dtype=torch.float64, device=t.device)
    grids.index_add_(0, cell, (polarity * unit_of - upper_share).double())
    grids.index_add_(0, cell + cells, upper_share.double())
    grids = grids.view(windows, bins + 1, height, width)[:, :bins]
    return (grids * unit.double().reciprocal().view(-1, 1, 1, 1)).float()


def normalise(grid: Tensor) -> Tensor:
    """Shift and scale the non-zero cells of each grid (..., B, H, W) to mean 0 and (biased) standard deviation 1."""
    dims = (-3, -2, -1)
    # 1 or 0 as floats: booleans take several times as long on a CPU.
    filled = grid.sign().abs_()
    count = filled.sum(dims, keepdim=True).clamp(min=1)
    mean = grid.sum(dims, keepdim=True) / count
    centred = (grid - mean).mul_(filled)
    deviation = (centred.square().sum(dims, keepdim=True) / count).sqrt()
    return centred.div_(deviation + 1e-8)


def clip_hot_pixels(grid: Tensor) -> Tensor:
    """Limit every cell of (..., B, H, W) to +-25/B, so that pixels that fire continuously do not dominate the scale."""
    limit = 25 / grid.shape[-3]
    return grid.clamp(-limit, limit)
