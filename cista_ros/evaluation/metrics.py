"""How alike an image and the camera's frame are; and which of the metrics can be had on this machine.

All work on images (H, W) in [0, 1], after a protocol's tone map.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch

from .protocols import EvaluationError

IDENTICAL_MSE, IDENTICAL_DB = 1e-10, 100.0  # an image without error counts as 100 dB, as in the paper's code
OCCLUSION = 50.0  # how fast the weight of a pixel falls where the frames themselves do not match after warping

Compare = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Metric:
    """A column: its key in files, its heading, decimals in tables, whether more is better, and whether it is the
    comparison of an image with its frame (else of two images that follow each other)."""

    key: str
    label: str
    decimals: int = 3
    more_is_better: bool = False


METRICS = {
    metric.key: metric
    for metric in (
        Metric("mse", "MSE"),
        Metric("psnr", "PSNR", 2, more_is_better=True),
        Metric("ssim_uniform", "SSIM (7×7)", more_is_better=True),
        Metric("ssim_gaussian", "SSIM (Gaussian)", more_is_better=True),
        Metric("lpips_alex", "LPIPS (Alex)"),
        Metric("lpips_vgg", "LPIPS (VGG)"),
        Metric("lpips_squeeze_keras", "LPIPS-squeeze (Keras weights)"),
        Metric("temporal", "TC", 4),
    )
}


def mse(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean of the squared differences."""
    return float(np.mean(np.square(image.astype(np.float64) - truth)))


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB for a range of 1; 100 where the mean squared error is below 1e-10."""
    error = mse(image, truth)
    return IDENTICAL_DB if error < IDENTICAL_MSE else -10 * math.log10(error)


def ssim(image: np.ndarray, truth: np.ndarray, gaussian: bool) -> float:
    """Structural similarity (Wang et al. 2004) for a range of 1, by scikit-image.

    gaussian: sigma 1.5 and no sample covariance (the original's choice, and EVREAL's); else a 7x7 uniform window.
    """
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if gaussian else {}
    return float(structural_similarity(truth.astype(np.float64), image.astype(np.float64), data_range=1.0, **options))


class TemporalConsistency:
    """How little an image changes that should not: warping error along the motion of the camera's own frames.

    mean |M (I_t - warp(I_{t-1}))|, M = exp(-50 (F_t - warp(F_{t-1}))^2) and 0 outside the frame, I images, F frames
    (Lai et al. 2018; the form of Gantier Cadena et al. 2021). The flow from F_t to F_{t-1} is OpenCV's DIS (medium), so
    that numbers compare only with those of the same flow.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, image: np.ndarray, truth: np.ndarray) -> float:
        """The next image and frame; nan for the first."""
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
        mask = np.exp(-OCCLUSION * np.square(truth - warp(before[1]))) * inside
        return float(np.mean(np.abs(image - warp(before[0])) * mask, dtype=np.float64))


def load_lpips(network: str) -> Compare:
    """LPIPS by its authors' package; `network` is alex or vgg.

    Raises:
        EvaluationError: the package or its backbone cannot be had; the message says which.
    """
    try:
        import lpips
    except Exception as error:  # a torchvision built for another torch raises RuntimeError
        raise EvaluationError(f"package lpips cannot be imported ({error}); see docs/evaluation.md") from None
    try:
        # It prints, and its backbone is fetched by torchvision, which raises whatever the network does.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            model = lpips.LPIPS(net=network, verbose=False).eval()
    except Exception as error:
        raise EvaluationError(f"the {network} backbone cannot be had: {error}") from None

    @torch.inference_mode()
    def compare(image: np.ndarray, truth: np.ndarray) -> float:
        pair = (torch.from_numpy(np.float32(array)).expand(1, 3, -1, -1) for array in (image, truth))
        return float(model(*pair, normalize=True))

    return compare


def load_squeeze(backbone: Path, heads: Path) -> Compare:
    """LPIPS-squeeze (Keras weights) from the two files given; TrainingError if they are not these."""
    from ..training.perceptual import SqueezeDistance

    distance = SqueezeDistance(Path(backbone), Path(heads))

    @torch.inference_mode()
    def compare(image: np.ndarray, truth: np.ndarray) -> float:
        return float(distance(*(torch.from_numpy(np.float32(array))[None, None] for array in (image, truth))))

    return compare


@dataclass(frozen=True)
class MetricChoice:
    """Which metrics are computed, and why others are not: key -> reason. Can be sent to another process.

    lpips: those networks whose LPIPS was found to be there; squeeze: (backbone, heads) or None.
    """

    lpips: tuple[str, ...] = ()
    squeeze: tuple[Path, Path] | None = None
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def keys(self) -> list[str]:
        """Keys of METRICS that are computed, in order."""
        there = {"mse", "psnr", "ssim_uniform", "ssim_gaussian", "temporal", *(f"lpips_{net}" for net in self.lpips)}
        if self.squeeze:
            there.add("lpips_squeeze_keras")
        return [key for key in METRICS if key in there]


def find_metrics(wanted_lpips: tuple[str, ...], squeeze: tuple[Path, Path] | None) -> MetricChoice:
    """What can be had of the wanted. A squeeze backbone that was given and cannot be read is an error, not missing.

    Raises:
        EvaluationError: no scikit-image, without which there is no SSIM.
    """
    if find_spec("skimage") is None:
        raise EvaluationError("SSIM needs scikit-image: pip install scikit-image")
    there, missing = [], []
    for network in wanted_lpips:
        try:
            load_lpips(network)
            there.append(network)
        except EvaluationError as error:
            missing.append((f"lpips_{network}", str(error)))
    if squeeze:
        load_squeeze(*squeeze)
    return MetricChoice(tuple(there), squeeze, tuple(missing))


class Scorer:
    """Scores the images of one sequence, in turn."""

    def __init__(self, choice: MetricChoice) -> None:
        self._metrics: dict[str, Compare] = {
            "mse": mse,
            "psnr": psnr,
            "ssim_uniform": partial(ssim, gaussian=False),
            "ssim_gaussian": partial(ssim, gaussian=True),
            "temporal": TemporalConsistency(),
            **{f"lpips_{network}": load_lpips(network) for network in choice.lpips},
        }
        if choice.squeeze:
            self._metrics["lpips_squeeze_keras"] = load_squeeze(*choice.squeeze)

    def score(self, image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Key -> value of an image and its frame, both float (H, W) in [0, 1]; nan where one has no value."""
        return {key: compare(image, truth) for key, compare in self._metrics.items()}
