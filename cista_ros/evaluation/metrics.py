"""Image quality metrics, for evaluation and training: how close an image is to the camera's frame.

SSIM is computed here (Wang et al. 2004) and equals scikit-image's to rounding, in any precision and with gradients.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..tone_map import clahe, equalise, none
from .protocols import EvaluationError

IDENTICAL_MSE, IDENTICAL_DB = 1e-10, 100.0  # an image without error counts as 100 dB, as in the paper's code
OCCLUSION = 50.0  # how fast the weight of a pixel falls where the frames themselves do not match after warping

Image = np.ndarray
Compare = Callable[[Image, Image], float]


def ssim(a: Tensor, b: Tensor, gaussian: bool = True, data_range: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Return the structural similarity of images (M, 1, H, W) as (M,), averaged where the whole window fits.

    Args:
        gaussian: an 11x11 window of sigma 1.5 and no sample covariance (the original's choice); else a uniform 7x7
            window with sample covariance (scikit-image's default).
        data_range: L in C1 = (0.01 L)^2, C2 = (0.03 L)^2. EVREAL's first version left out the 1, so that scikit-image
            took 2 for float images, which gives higher values; its second version has 1.
        mask: bool (H, W); only windows whose pixels are all true count.
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


def mse(image: Image, truth: Image, mask: Image | None = None) -> float:
    """Return the mean squared difference, of the mask's pixels if one is given."""
    squares = np.square(image.astype(np.float64) - truth)
    return float(squares.mean() if mask is None else squares[mask].mean())


def psnr(image: Image, truth: Image, mask: Image | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB for a range of 1; 100 if the mean squared error is below 1e-10."""
    error = mse(image, truth, mask)
    return IDENTICAL_DB if error < IDENTICAL_MSE else -10 * math.log10(error)


def image_ssim(
    image: Image, truth: Image, mask: Image | None = None, gaussian: bool = True, data_range: float = 1.0
) -> float:
    """Return `ssim` of two images (H, W), in double precision."""
    a, b = (torch.from_numpy(np.float64(x))[None, None] for x in (image, truth))
    return float(ssim(a, b, gaussian, data_range, None if mask is None else torch.from_numpy(mask)))


def fit_brightness(image: Image, truth: Image, mask: Image | None = None) -> Image:
    """Return a·image + b with the a and b that bring it closest to the frame (least squares).

    What is left of the error is that of the structure: neither brightness nor contrast of the image counts.
    """
    x, y = (v.astype(np.float64) if mask is None else v[mask].astype(np.float64) for v in (image, truth))
    spread = np.var(x)
    a = np.mean((x - x.mean()) * (y - y.mean())) / spread if spread > 0 else 0.0
    return np.float32(a * image + (y.mean() - a * x.mean()))


def correlation(a: Image, b: Image) -> float:
    """Return Pearson's correlation of two images; nan if one has no contrast."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    scale = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else math.nan


class TemporalConsistency:
    """How little an image changes that should not: warping error along the motion of the camera's own frames.

    mean |M (I_t - warp(I_{t-1}))|, M = exp(-50 (F_t - warp(F_{t-1}))^2) and 0 outside the frame, I images, F frames
    (Lai et al. 2018; the form of Gantier Cadena et al. 2021). The flow from F_t to F_{t-1} is OpenCV's DIS (medium), so
    numbers compare only with those of the same flow.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[Image, Image] | None = None

    def __call__(self, image: Image, truth: Image, mask: Image | None = None) -> float:
        """Compare the next image and frame with those before; nan for the first."""
        image, truth = np.float32(image), np.float32(truth)
        before, self._before = self._before, (image, truth)
        if before is None:
            return math.nan
        grey = [np.rint(frame * 255).astype(np.uint8) for frame in (truth, before[1])]
        flow = self._flow.calc(*grey, None)
        height, width = truth.shape
        x = np.arange(width, dtype=np.float32) + flow[..., 0]
        y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
        warp = partial(cv2.remap, map1=x, map2=y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        weight = np.exp(-OCCLUSION * np.square(truth - warp(before[1]))) * inside
        error = np.abs(image - warp(before[0])) * weight
        return float(np.mean(error if mask is None else error[mask], dtype=np.float64))


def load_lpips(network: str) -> Compare:
    """Load LPIPS from its authors' package; `network` is alex or vgg.

    Raises:
        EvaluationError: the package or its backbone is not available; the message says which.
    """
    try:
        import lpips
    except Exception as error:  # a torchvision built for another torch raises RuntimeError
        raise EvaluationError(f"cannot import package lpips ({error}); see docs/evaluation.md") from None
    try:
        # It prints, and torchvision fetches its backbone, which raises whatever the network raises.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            model = lpips.LPIPS(net=network, verbose=False).eval()
    except Exception as error:
        raise EvaluationError(f"cannot load the {network} backbone of LPIPS: {error}") from None

    @torch.inference_mode()
    def compare(image: Image, truth: Image) -> float:
        pair = (torch.from_numpy(np.float32(array)).expand(1, 3, -1, -1) for array in (image, truth))
        return float(model(*pair, normalize=True))

    return compare


def load_squeeze(backbone: Path, heads: Path) -> Compare:
    """Load LPIPS-squeeze (Keras weights) from its two files; TrainingError if they are not these."""
    from ..training.perceptual import SqueezeDistance

    distance = SqueezeDistance(Path(backbone), Path(heads))

    @torch.inference_mode()
    def compare(image: Image, truth: Image) -> float:
        return float(distance(*(torch.from_numpy(np.float32(array))[None, None] for array in (image, truth))))

    return compare


# What is done to both images before they are compared, by name: (image, frame, mask) -> (image, frame).
View = Callable[[Image, Image, Image | None], tuple[Image, Image]]
VIEWS: dict[str, View] = {
    "raw": lambda image, truth, _: (none(image), none(truth)),
    "affine": lambda image, truth, mask: (fit_brightness(none(image), none(truth), mask), none(truth)),
    "equalised": lambda image, truth, _: (equalise(image), equalise(truth)),
    "clahe": lambda image, truth, _: (clahe(image), clahe(truth)),
}


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        key: in files. label: heading. decimals: in tables.
        more_is_better: else less.
        measure: a key of _MEASURES. view: a key of VIEWS, which both images go through first.
    """

    key: str
    label: str
    measure: str
    view: str
    decimals: int = 3
    more_is_better: bool = False


def _metrics() -> dict[str, Metric]:
    heads = [
        ("mse", "MSE", "mse", 3, False),
        ("psnr", "PSNR", "psnr", 2, True),
        ("ssim", "SSIM", "ssim", 3, True),
        ("ssim_7x7", "SSIM (7×7)", "ssim_7x7", 3, True),
        ("ssim_evreal_v1", "SSIM (EVREAL v1)", "ssim_range_2", 3, True),
        ("ssim_evreal_v2", "SSIM (EVREAL v2)", "ssim", 3, True),
        ("lpips_alex", "LPIPS (Alex)", "lpips_alex", 3, False),
        ("lpips_vgg", "LPIPS (VGG)", "lpips_vgg", 3, False),
        ("lpips_squeeze_keras", "LPIPS-squeeze (Keras weights)", "lpips_squeeze_keras", 3, False),
        ("temporal", "TC", "temporal", 4, False),
    ]
    return {
        f"{key}:{view}": Metric(f"{key}:{view}", f"{label}, {view}", measure, view, decimals, more)
        for key, label, measure, decimals, more in heads
        for view in VIEWS
    }


# All metrics in all views, by "name:view".
METRICS = _metrics()
_MEASURES: dict[str, Callable[..., float]] = {
    "mse": mse,
    "psnr": psnr,
    "ssim": image_ssim,
    "ssim_7x7": partial(image_ssim, gaussian=False),
    "ssim_range_2": partial(image_ssim, data_range=2.0),
}


@dataclass(frozen=True)
class MetricChoice:
    """Which metrics are computed, and why others are not: (key, reason). Can be sent to another process.

    keys: of METRICS. squeeze: (backbone, heads) or None.
    """

    keys: tuple[str, ...] = ()
    squeeze: tuple[Path, Path] | None = None
    missing: tuple[tuple[str, str], ...] = ()


def find_metrics(wanted: Sequence[str], squeeze: tuple[Path, Path] | None) -> MetricChoice:
    """Return which of the wanted metrics are available here.

    A squeeze backbone that was given and cannot be read is an error, not a missing metric.
    """
    keys, missing = [], []
    for key in wanted:
        measure = METRICS[key].measure
        if measure == "lpips_squeeze_keras":
            if squeeze:
                load_squeeze(*squeeze)
                keys.append(key)
            continue
        try:
            if measure.startswith("lpips_"):
                load_lpips(measure.removeprefix("lpips_"))
            keys.append(key)
        except EvaluationError as error:
            missing.append((key, str(error)))
    return MetricChoice(tuple(keys), squeeze, tuple(missing))


class Scorer:
    """Scores the images of one sequence, in order.

    Args:
        choice: of metrics.
        mask: bool (H, W), pixels that count; None for all. Images are cut to its bounding box before anything else,
            so that a border left out takes no part in tone maps and LPIPS either.
    """

    def __init__(self, choice: MetricChoice, mask: Image | None = None) -> None:
        self._metrics = [METRICS[key] for key in choice.keys]
        self._box, self._mask = bounding_box(mask)
        self._measures = {m.key: self._measure(m.measure, choice) for m in self._metrics}

    def _measure(self, name: str, choice: MetricChoice) -> Callable[..., float]:
        if name == "temporal":
            return TemporalConsistency()
        if name == "lpips_squeeze_keras":
            assert choice.squeeze
            return _without_mask(load_squeeze(*choice.squeeze))
        if name.startswith("lpips_"):
            return _without_mask(load_lpips(name.removeprefix("lpips_")))
        return _MEASURES[name]

    def score(self, image: Image, truth: Image) -> dict[str, float]:
        """Return key -> value of an image and its frame, both float (H, W) in [0, 1]; nan where one has no value."""
        image, truth = image[self._box], truth[self._box]
        pairs = {view: VIEWS[view](image, truth, self._mask) for view in {m.view for m in self._metrics}}
        return {m.key: self._measures[m.key](*pairs[m.view], self._mask) for m in self._metrics}


def bounding_box(mask: Image | None) -> tuple[tuple[slice, slice], Image | None]:
    """Return the rows and columns that a mask spans, and the mask within them (None if it is true throughout)."""
    if mask is None:
        return (slice(None), slice(None)), None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return box, None if mask[box].all() else mask[box]


def _without_mask(compare: Compare) -> Callable[..., float]:
    return lambda image, truth, _: compare(image, truth)
