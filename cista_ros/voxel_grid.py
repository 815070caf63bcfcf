"""Events -> voxel grid (B, H, W), the network's view of a window.

Each event adds its polarity (+1 or -1) to its pixel, split linearly between the two bins nearest in time:
t* = (B - 1) (t - t0) / (tN - t0), shares 1 - (t* - floor t*) and t* - floor t* (Zhu et al. 2018; paper section 2.1).

The shares are summed as whole multiples of 1 / (tN - t0), which float64 holds exactly: the sums do not depend on
the order of the events, numpy and torch agree to the bit on every device, and polarities that cancel leave a true
zero, which matters because the normalisation below leaves zero cells out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BINS = 5


def voxel_grid(events: np.ndarray, height: int, width: int, bins: int = BINS) -> np.ndarray:
    """Voxel grid of a window, by numpy.

    Args:
        events: event array (N,) in time order, all inside the sensor.
        height, width: the sensor's size in pixels.
        bins: number of temporal bins B, at least 2.
    Returns:
        float32 array (bins, height, width); all zero for no events.
    Raises:
        ValueError: events far outside the sensor. (Untrusted events go through EventFilter first.)
    """
    pixels, n = height * width, len(events)
    if n == 0:
        return np.zeros((bins, height, width), np.float32)
    upper_share, unit = _time_in_bins(events["t"], bins)
    lower = np.floor_divide(upper_share, unit)
    index, share = np.empty((2, n), np.int64), np.empty((2, n))
    # Whole numbers of one type until the end, and fields taken out first: numpy is slow where it must convert as well.
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
    # One bin more than asked for takes the (zero) upper shares of the last bin.
    sums = np.bincount(index.ravel(), share.ravel(), (bins + 1) * pixels)
    if len(sums) > (bins + 1) * pixels:
        raise ValueError(f"events outside the sensor of {width}x{height} pixels")
    # Times the reciprocal, here as in torch: dividing every cell would take twice as long.
    grid = np.empty(bins * pixels, np.float32)
    np.multiply(sums[: bins * pixels], 1 / unit, out=grid, casting="same_kind")
    return grid.reshape(bins, height, width)


def upload(events: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Event array (N,) -> tensors t, x, y int64 and p bool, each (N,), on a device. 16 bytes an event travel."""
    words = torch.from_numpy(np.ascontiguousarray(events).view(np.int64).reshape(-1, 2)).to(device)
    rest = words[:, 1]
    return words[:, 0], rest & 0xFFFF, (rest >> 16) & 0xFFFF, ((rest >> 32) & 1).bool()


def voxel_grid_torch(t: Tensor, x: Tensor, y: Tensor, p: Tensor, height: int, width: int, bins: int = BINS) -> Tensor:
    """Voxel grid on the device of its inputs: `voxel_grid` to the bit.

    Args:
        t: int64 (N,), nanoseconds from any origin, not decreasing; x, y: integer (N,); p: bool (N,).
    Returns:
        float32 tensor (bins, height, width).
    """
    if len(t) == 0:
        return torch.zeros(bins, height, width, device=t.device)
    span = t[-1] - t[0]
    # The two cases of _time_in_bins, chosen on the device so that nothing waits for it.
    index_in_window = torch.arange(len(t), device=t.device)
    unit = torch.where(span > 0, span, max(len(t) - 1, 1))
    steps = torch.where(span > 0, t - t[0], index_in_window) * (bins - 1)
    lower = torch.div(steps, unit, rounding_mode="floor")
    polarity = torch.where(p, 1.0, -1.0).to(torch.float64)
    upper_share = (steps - lower * unit) * polarity
    index = lower * (height * width) + y.long() * width + x.long()
    # One bin more than asked for takes the (zero) upper shares of the last bin.
    grid = torch.zeros((bins + 1) * height * width, dtype=torch.float64, device=t.device)
    grid.index_add_(0, index, polarity * unit - upper_share)
    grid.index_add_(0, index + height * width, upper_share)
    return (grid[: bins * height * width] * unit.double().reciprocal()).float().view(bins, height, width)


def voxel_grid_padded(words: Tensor, count: Tensor, height: int, width: int, bins: int = BINS) -> Tensor:
    """The same of a buffer that is filled in part: its shapes tell nothing of the events, as a CUDA graph needs it.

    Args:
        words: int64 (M, 2), event arrays as `upload` sends them; count: int64 (), how many of the M are events.
    Returns:
        float32 tensor (bins, height, width), that of `voxel_grid` to the bit.
    """
    t, rest = words[:, 0], words[:, 1]
    index_in_window = torch.arange(len(t), device=t.device)
    valid = index_in_window < count
    last = (count - 1).clamp(min=0)
    span = t.gather(0, last.view(1))[0] - t[0]
    unit = torch.where(span > 0, span, last.clamp(min=1))
    # No torch.where with numbers: they would be copied to the GPU, which a graph cannot capture.
    steps = torch.where(span > 0, t - t[0], index_in_window) * valid * (bins - 1)
    lower = torch.div(steps, unit, rounding_mode="floor")
    polarity = (((rest >> 32) & 1) * 2 - 1).to(torch.float64) * valid
    upper_share = (steps - lower * unit) * polarity
    pixel = ((rest >> 16) & 0xFFFF) * width + (rest & 0xFFFF)
    index = lower * (height * width) + pixel * valid
    grid = torch.zeros((bins + 1) * height * width, dtype=torch.float64, device=t.device)
    grid.index_add_(0, index, polarity * unit - upper_share)
    grid.index_add_(0, index + height * width, upper_share)
    return (grid[: bins * height * width] * unit.double().reciprocal()).float().view(bins, height, width)


def _time_in_bins(t: np.ndarray, bins: int) -> tuple[np.ndarray, int]:
    """Integers (steps, unit) with t* = steps / unit. Events of a single time stamp are spread evenly by index."""
    span = int(t[-1]) - int(t[0])
    if span > 0:
        return (t - t[0]) * (bins - 1), span
    return np.arange(len(t), dtype=np.int64) * (bins - 1), max(len(t) - 1, 1)


def normalise(grid: Tensor) -> Tensor:
    """Shift and scale each grid's non-zero cells to mean 0 and (biased) standard deviation 1; zero cells stay zero.

    Args:
        grid: float tensor (..., B, H, W); each grid is normalised by itself.
    """
    dims = (-3, -2, -1)
    # 1 or 0 as floats: with booleans the same takes several times as long on a CPU.
    filled = grid.sign().abs_()
    count = filled.sum(dims, keepdim=True).clamp(min=1)
    mean = grid.sum(dims, keepdim=True) / count
    centred = (grid - mean).mul_(filled)
    deviation = (centred.square().sum(dims, keepdim=True) / count).sqrt()
    return centred.div_(deviation + 1e-8)


def clip_hot_pixels(grid: Tensor) -> Tensor:
    """Limit every cell of (..., B, H, W) to +-25/B, so that a pixel that never stops firing cannot rule the scale."""
    limit = 25 / grid.shape[-3]
    return grid.clamp(-limit, limit)
