"""Image quality metrics, for training and evaluation: how close an image is to the true one.

Images are float (H, W) in [0, 1]; a mask, bool (H, W), names the pixels that count.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

IDENTICAL_MSE, IDENTICAL_DB = 1e-10, 100.0  # an image without error counts as 100 dB, as in the paper's code


def ssim(a: Tensor, b: Tensor, gaussian: bool = True, data_range: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Return the structural similarity (Wang et al. 2004) of images (M, 1, H, W) as (M,), with gradients.

    It is averaged over all places where the window fits, with a `mask` bool (H, W) where all its pixels are true, and
    equals that of scikit-image to rounding. C1 = (0.01 data_range)^2, C2 = (0.03 data_range)^2. `gaussian`: an 11x11
    window of sigma 1.5 and no sample covariance (the original's choice); else a uniform 7x7 window with sample
    covariance (scikit-image's default).
    """
    down, across = (_windows(n, gaussian, a) for n in a.shape[-2:])
    # The filter as two matrix products: thirty times as fast on a CPU as convolutions of one channel.
    moments = down @ torch.cat((a, b, a * a, b * b, a * b)) @ across.T
    mean_a, mean_b, aa, bb, ab = moments.chunk(5)
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    sample = 1.0 if gaussian else 49 / 48
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * product + c1) * (2 * sample * (ab - product) + c2)
    similarity = similarity / ((squares + c1) * (sample * (aa + bb - squares) + c2))
    if mask is None:
        return similarity.mean((1, 2, 3))
    outside = (down > 0).to(a.dtype) @ (~mask).to(a.dtype) @ (across > 0).to(a.dtype).T
    inside = (outside == 0).to(a.dtype)
    return (similarity * inside).sum((1, 2, 3)) / inside.sum()


def _windows(n: int, gaussian: bool, like: Tensor) -> Tensor:
    """Return the matrix (n - size + 1, n) that filters n values with SSIM's window where it fits."""
    size = 11 if gaussian else 7
    offset = torch.arange(n, device=like.device) - torch.arange(n - size + 1, device=like.device).unsqueeze(1)
    weights = ((offset >= 0) & (offset < size)).to(like.dtype)
    if gaussian:
        weights = weights * torch.exp(-(offset - 5).to(like.dtype).square() / (2 * 1.5**2))
    return weights / weights.sum(1, keepdim=True)


def image_ssim(
    image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None, gaussian: bool = True, data_range: float = 1.0
) -> float:
    """Return `ssim` of two images, in double precision."""
    a, b = (torch.from_numpy(np.float64(x))[None, None] for x in (image, truth))
    return float(ssim(a, b, gaussian, data_range, None if mask is None else torch.from_numpy(mask)))


def mse(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the mean squared difference."""
    squares = np.square(image.astype(np.float64) - truth)
    return float(squares.mean() if mask is None else squares[mask].mean())


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB for a range of 1; 100 if the mean squared error is below 1e-10."""
    error = mse(image, truth, mask)
    return IDENTICAL_DB if error < IDENTICAL_MSE else -10 * math.log10(error)


def fit_brightness(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Return a·image + b, closest to the truth by least squares: the error that is left is that of the structure."""
    x, y = (v.astype(np.float64) if mask is None else v[mask].astype(np.float64) for v in (image, truth))
    spread = np.var(x)
    a = np.mean((x - x.mean()) * (y - y.mean())) / spread if spread > 0 else 0.0
    fitted: np.ndarray = (a * image + (y.mean() - a * x.mean())).astype(np.float32)
    return fitted


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two images; nan if one has no contrast."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    scale = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else math.nan
