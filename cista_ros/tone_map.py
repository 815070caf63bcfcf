"""Network output -> displayed image: float images (H, W) in, float images (H, W) in [0, 1] out."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

Image = np.ndarray
# With less contrast than this, only rounding errors would be stretched.
FLAT = 1e-6


def none(image: Image) -> Image:
    """Clip the image to [0, 1]."""
    return np.asarray(np.clip(image, 0, 1))


def stretch(image: Image) -> Image:
    """Map the darkest pixel to 0 and the brightest to 1; a uniform image becomes mid-grey."""
    low, high = float(image.min()), float(image.max())
    if high - low < FLAT:
        return np.full_like(image, 0.5)
    return np.asarray(np.clip((image - np.float32(low)) * np.float32(1 / (high - low)), 0, 1))


def equalise(image: Image) -> Image:
    """Stretch, then equalise the histogram in 256 levels, as in the paper's evaluation."""
    return cv2.equalizeHist(to_mono8(stretch(image))).astype(np.float32) / 255


def clahe(image: Image) -> Image:
    """Stretch, then equalise adaptively with limited contrast (CLAHE, clip 2.0, 8x8 tiles)."""
    tiles = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    return tiles.apply(to_mono8(stretch(image))).astype(np.float32) / 255


class RobustStretch:
    """Stretches between the 1st and 99th percentile, both smoothed over time to avoid flicker.

    The first image after a reset sets the limits; each later one moves them by `rate` times the difference. With a
    largest `gain`, an image that would need more keeps its mean brightness as far as both percentiles stay in [0, 1],
    so that noise is not amplified and flat regions are neither black nor white.
    """

    def __init__(self, rate: float = 0.2, gain: float = math.inf) -> None:
        self.rate, self.gain = rate, gain
        self._limits: np.ndarray | None = None

    def __call__(self, image: Image) -> Image:
        limits = np.array([*np.percentile(image, (1, 99)), image.mean()])
        if self._limits is not None:
            limits = self._limits + self.rate * (limits - self._limits)
        self._limits = limits
        low, high, mean = limits.tolist()
        if high - low < FLAT and self.gain == math.inf:
            return np.full_like(image, 0.5)
        gain = min(self.gain, 1 / max(high - low, FLAT))
        shown_low = min(max(mean - (mean - low) * gain, 0.0), 1 - (high - low) * gain)
        return np.asarray(np.clip((image - np.float32(low)) * np.float32(gain) + np.float32(shown_low), 0, 1))

    def reset(self) -> None:
        """Clear the memory: the next image sets the limits."""
        self._limits = None


ToneMap = Callable[[Image], Image]
TONE_MAPS: dict[str, Callable[[], ToneMap]] = {
    "none": lambda: none,
    "natural": lambda: RobustStretch(gain=1.4),
    "stretch": lambda: stretch,
    "robust": RobustStretch,
    "equalise": lambda: equalise,
    "clahe": lambda: clahe,
}


def make_tone_map(name: str) -> ToneMap:
    """Return a new tone map by its name, with its own memory. ValueError lists the known names."""
    if name not in TONE_MAPS:
        raise ValueError(f"tone map {name!r} is not one of {', '.join(TONE_MAPS)}")
    return TONE_MAPS[name]()


def reset_tone_map(tone_map: ToneMap) -> None:
    """Clear the memory of a tone map that has one."""
    if isinstance(tone_map, RobustStretch):
        tone_map.reset()


def to_mono8(image: Image) -> Image:
    """Convert [0, 1] to uint8, rounded."""
    return np.asarray(np.rint(image * 255), np.uint8)


def to_mono16(image: Image) -> Image:
    """Convert [0, 1] to uint16, rounded."""
    return np.asarray(np.rint(image * 65535), np.uint16)
