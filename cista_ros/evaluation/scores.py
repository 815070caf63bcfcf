"""Scores of an image against the camera's frame: the metrics of the tables, each in a view of both images.

A score's key is "metric:view", such as "ssim:equalised".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from ..errors import MissingPackageError
from ..metrics import fit_brightness, image_ssim, mse, psnr
from ..tone_map import RobustStretch, clahe, equalise, none, to_mono8
from ..training.perceptual import Lpips, SqueezeDistance
from .tasks import make_tasks

OCCLUSION = 50.0  # how fast the weight of a pixel falls where the frames themselves do not match after warping

Image = np.ndarray
Compare = Callable[[Image, Image, Image | None], float]  # image, frame, mask


class TemporalConsistency:
    """Temporal consistency: warping error along the optical flow of the camera's frames.

    mean |M (I_t - warp(I_{t-1}))|, M = exp(-50 (F_t - warp(F_{t-1}))^2) and 0 outside the frame, I images, F frames
    (Lai et al. 2018; the form of Gantier Cadena et al. 2021). The flow from F_t to F_{t-1} is OpenCV's DIS (medium), so
    values are comparable only for the same flow.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[Image, Image] | None = None

    def __call__(self, image: Image, truth: Image, mask: Image | None = None) -> float:
        """Compare the next image and frame with the previous ones; nan for the first."""
        image, truth = image.astype(np.float32), truth.astype(np.float32)
        before, self._before = self._before, (image, truth)
        if before is None:
            return math.nan
        grey = [np.rint(frame * 255).astype(np.uint8) for frame in (truth, before[1])]
        flow = self._flow.calc(grey[0], grey[1], np.zeros((*truth.shape, 2), np.float32))
        height, width = truth.shape
        x = np.arange(width, dtype=np.float32) + flow[..., 0]
        y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
        warp = partial(cv2.remap, map1=x, map2=y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        weight = np.exp(-OCCLUSION * np.square(truth - warp(before[1]))) * inside
        error = np.abs(image - warp(before[0])) * weight
        return float(np.mean(error if mask is None else error[mask], dtype=np.float64))


# Preparation of both images before the comparison: (image, frame, mask) -> (image, frame).
View = Callable[[Image, Image, Image | None], tuple[Image, Image]]
VIEWS: dict[str, View] = {
    "raw": lambda image, truth, _: (none(image), none(truth)),
    "affine": lambda image, truth, mask: (fit_brightness(none(image), none(truth), mask), none(truth)),
    "equalised": lambda image, truth, _: (equalise(image), equalise(truth)),
    "clahe": lambda image, truth, _: (clahe(image), clahe(truth)),
}


@dataclass(frozen=True)
class Metric:
    """A metric: its heading, the decimals in tables, and whether more is better."""

    label: str
    decimals: int = 3
    more_is_better: bool = False
    measure: Compare | None = None  # None for those that need to be loaded first (LPIPS, TC)


METRICS = {
    "mse": Metric("MSE", measure=mse),
    "psnr": Metric("PSNR", 2, True, psnr),
    "ssim": Metric("SSIM", 3, True, image_ssim),
    "ssim_7x7": Metric("SSIM (7×7)", 3, True, partial(image_ssim, gaussian=False)),
    # EVREAL's first version gave scikit-image no data range, which took 2 for float images; its second version gives 1.
    "ssim_evreal_v1": Metric("SSIM (EVREAL v1)", 3, True, partial(image_ssim, data_range=2.0)),
    "ssim_evreal_v2": Metric("SSIM (EVREAL v2)", 3, True, image_ssim),
    "lpips_alex": Metric("LPIPS (Alex)"),
    "lpips_vgg": Metric("LPIPS (VGG)"),
    "lpips_squeeze_keras": Metric("LPIPS-squeeze (Keras weights)"),
    "temporal": Metric("TC", 4),
    "corners_found": Metric("target found", 3, True),
    "corners_distance": Metric("corners, px", 2),
    "tags": Metric("AprilTags", 3, True),
    "track_length": Metric("KLT track, frames", 2, True),
    "orb_inliers": Metric("ORB inliers", 1, True),
}


def metric_of(key: str) -> Metric:
    """Return the metric of a score."""
    return METRICS[key.partition(":")[0]]


def label_of(key: str) -> str:
    """Return a score's heading: its metric, its view (not of tasks), and which way is better."""
    metric, (_, colon, view) = metric_of(key), key.partition(":")
    return f"{metric.label}{', ' if colon else ''}{view} {'↑' if metric.more_is_better else '↓'}"


@dataclass(frozen=True)
class ScoreChoice:
    """Available scores, and why others are missing; picklable."""

    keys: tuple[str, ...] = ()
    squeeze: tuple[Path, Path] | None = None  # backbone and heads of LPIPS-squeeze
    missing: tuple[tuple[str, str], ...] = ()  # (key, reason)
    tasks: tuple[str, ...] = ()  # keys of tasks.TASKS
    target: str | None = None  # calibration target of the tasks, as text


def choose_scores(wanted: Sequence[str], squeeze: tuple[Path, Path] | None = None) -> ScoreChoice:
    """Return which of the wanted scores are available here; LPIPS-squeeze is left out without its files.

    Raises TrainingError for files that cannot be read.
    """
    keys, missing = [], []
    for key in wanted:
        metric = key.partition(":")[0]
        if metric == "lpips_squeeze_keras" and not squeeze:
            continue
        try:
            _measure(metric, squeeze)
            keys.append(key)
        except MissingPackageError as error:
            missing.append((key, str(error)))
    return ScoreChoice(tuple(keys), squeeze, tuple(missing))


def _measure(metric: str, squeeze: tuple[Path, Path] | None) -> Compare:
    if (measure := METRICS[metric].measure) is not None:
        return measure
    if metric == "temporal":
        return TemporalConsistency()
    if metric == "lpips_squeeze_keras":
        assert squeeze
        distance: torch.nn.Module = SqueezeDistance(*squeeze)
    else:
        distance = Lpips(metric.removeprefix("lpips_"))

    @torch.inference_mode()
    def compare(image: Image, truth: Image, _: Image | None = None) -> float:
        return float(distance(*(torch.from_numpy(np.float32(x))[None, None] for x in (image, truth))))

    return compare


class Scorer:
    """Scores the images of one sequence, in order.

    mask: bool (H, W), pixels that count; None for all. Images are cut to its bounding box before anything else, so that
    a border left out takes no part in tone maps and LPIPS either.
    """

    def __init__(self, choice: ScoreChoice, mask: Image | None = None) -> None:
        self._box, self._mask = bounding_box(mask)
        self._measures = {key: _measure(key.partition(":")[0], choice.squeeze) for key in choice.keys}
        self._tasks = make_tasks(choice.tasks, choice.target)

    def score(self, image: Image, truth: Image | None) -> dict[str, float]:
        """Return key -> value of an image and its frame, both float (H, W) in [0, 1]; nan where one has no value.

        Without a frame, only tasks give values.
        """
        image, truth = image[self._box], None if truth is None else truth[self._box]
        values: dict[str, float] = {}
        if truth is not None:
            views = {key.partition(":")[2] for key in self._measures}
            pairs = {view: VIEWS[view](image, truth, self._mask) for view in views}
            values = {
                key: measure(*pairs[key.partition(":")[2]], self._mask) for key, measure in self._measures.items()
            }
        if self._tasks:
            pair = _grey(image), None if truth is None else _grey(truth)
            values |= {key: value for task in self._tasks for key, value in task(*pair).items()}
        return values


def _grey(image: Image) -> Image:
    return to_mono8(RobustStretch()(image))


def bounding_box(mask: Image | None) -> tuple[tuple[slice, slice], Image | None]:
    """Return the rows and columns that a mask spans, and the mask within them (None if it is true throughout)."""
    if mask is None:
        return (slice(None), slice(None)), None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return box, None if mask[box].all() else mask[box]
