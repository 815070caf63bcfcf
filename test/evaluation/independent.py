"""The two protocols a second time, in plain numpy from their descriptions: windows, tone maps, MSE, PSNR, SSIM."""

from __future__ import annotations

import numpy as np
import torch
from helpers.reference import normalised, voxel_grid


def stretched(image):
    return (image - image.min()) / (image.max() - image.min())


def equalised(image):
    """Global histogram equalisation in 256 levels: the darkest level that occurs becomes 0, the brightest 255."""
    levels = np.rint(stretched(image.astype(np.float32)) * 255).astype(int)
    counts = np.bincount(levels.ravel(), minlength=256)
    first = np.flatnonzero(counts)[0]
    cumulated = np.cumsum(counts) - counts[first]
    table = np.rint(cumulated * 255 / (levels.size - counts[first])).clip(0, 255)
    return table[levels] / 255


def filtered(image, kernel):
    """Separable filter, only where the whole kernel lies inside."""
    for _ in range(2):
        n = len(kernel)
        image = sum(kernel[i] * image[i : image.shape[0] - n + 1 + i] for i in range(n)).T
    return image


def ssim(a, b, gaussian):
    if gaussian:
        kernel = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
        kernel /= kernel.sum()
        sample = 1.0
    else:
        kernel, sample = np.full(7, 1 / 7), 49 / 48
    mean_a, mean_b = filtered(a, kernel), filtered(b, kernel)
    var_a = sample * (filtered(a * a, kernel) - mean_a**2)
    var_b = sample * (filtered(b * b, kernel) - mean_b**2)
    covariance = sample * (filtered(a * b, kernel) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((values / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def scores(image, truth, gaussian):
    mse = float(((image - truth) ** 2).mean())
    return {"mse": mse, "psnr": 10 * np.log10(1 / mse), "ssim": ssim(image, truth, gaussian)}


def grid_of(events, size):
    if not len(events):
        return np.zeros((5, *size))
    return normalised(voxel_grid(events["x"], events["y"], events["t"], events["p"], *size))


def step(network, grid, state):
    with torch.no_grad():
        image, state = network(torch.from_numpy(grid.astype(np.float32))[None], state)
    return image[0, 0].numpy().clip(0, 1).astype(np.float64), state


def icassp2022(network, events, frames):
    """Scores of each frame (stamp, image uint8) that events precede."""
    size = frames[0][1].shape
    state, begin, found = None, 0, []
    for stamp, frame in frames:
        end = int(np.searchsorted(events["t"], stamp, "right"))
        window = events[begin:end]
        begin = end
        if not len(window):
            continue
        for part in np.array_split(window, max(1, round(len(window) / 15000))):
            image, state = step(network, grid_of(part, size), state)
        found.append((stamp, scores(equalised(image), equalised(frame / 255), gaussian=False)))
    return found


def evreal(network, events, frames, multiple):
    """Scores of each frame but the last; the first one's grid is empty; grids are zero-padded to a multiple."""
    height, width = frames[0][1].shape
    down, right = -height % multiple, -width % multiple
    top, left = -(-down // 2), -(-right // 2)
    state, begin, found = None, None, []
    for stamp, frame in frames[:-1]:
        end = int(np.searchsorted(events["t"], stamp, "right"))
        window = events[end if begin is None else begin : end]
        begin = end
        grid = np.pad(grid_of(window, (height, width)), ((0, 0), (top, down - top), (left, right - left)))
        image, state = step(network, grid, state)
        image = image[top : top + height, left : left + width]
        found.append((stamp, scores(image, frame / 255, gaussian=True)))
    return found
