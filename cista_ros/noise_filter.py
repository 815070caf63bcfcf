"""Noise in events: a background-activity filter and a mask of hot pixels. Both work on any cut of the stream."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .errors import EventError
from .events import NS, select

NOISE_FILTERS = ("none", "activity")
# An event is supported by a neighbour that fired at most this long before it (Delbruck, "Frame-free dynamic digital
# vision", 2008, uses the same order of magnitude).
SUPPORT_NS = 10_000_000
# A pixel is hot if, in two consecutive slots, it fires at more than HOT_RATE (events/s) and HOT_RATIO times as often as
# its surroundings.
SLOT_NS, HOT_RATE, HOT_RATIO = 100_000_000, 200.0, 8
# Masking more of the sensor than this suggests a mask of another camera, or a scene taken for noise.
MAX_MASKED_SHARE = 0.01
_LONG_AGO, _NEVER = np.iinfo(np.int64).min // 2, np.iinfo(np.int32).max


class ActivityFilter:
    """Drops events without support: none of the 8 neighbours fired at most `support_ns` before them.

    The result does not depend on how the stream is cut into arrays. Within a block no longer than `support_ns` every
    earlier event is recent enough, so two maps suffice: each pixel's last time before the block, and the index of its
    first event in it.
    """

    def __init__(self, height: int, width: int, support_ns: int = SUPPORT_NS) -> None:
        self.support_ns = support_ns
        # A border of one pixel saves the neighbours from being checked.
        self._stride = width + 2
        self._last = np.full((height + 2) * self._stride, _LONG_AGO, np.int64)
        self._first = np.full((height + 2) * self._stride, _NEVER, np.int32)
        self._neighbours = [dy * self._stride + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]

    def reset(self) -> None:
        """Begin a new stream."""
        self._last[:] = _LONG_AGO

    def keep(self, events: np.ndarray) -> np.ndarray:
        """Return the mask (N,) of events to keep; events are in time order, on the sensor, after earlier ones."""
        t = events["t"].copy()
        pixel = events["y"].astype(np.int64)
        pixel += 1
        pixel *= self._stride
        pixel += events["x"]
        pixel += 1
        kept = np.empty(len(events), bool)
        begin = 0
        while begin < len(events):
            end = int(np.searchsorted(t, int(t[begin]) + self.support_ns, "right"))
            kept[begin:end] = self._supported(t[begin:end], pixel[begin:end])
            begin = end
        return kept

    def _supported(self, t: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        """Return the mask of supported events in a block no longer than support_ns, and remember the block."""
        order = np.arange(len(t), dtype=np.int32)
        self._first[pixel[::-1]] = order[::-1]  # the earliest is written last
        near = pixel + self._neighbours[0]
        last, first = self._last.take(near), self._first.take(near)
        for offset in self._neighbours[1:]:
            np.add(pixel, offset, out=near)
            np.maximum(last, self._last.take(near), out=last)
            np.minimum(first, self._first.take(near), out=first)
        self._first[pixel] = _NEVER
        self._last[pixel] = t
        return (last >= t - self.support_ns) | (first < order)


class HotPixels:
    """Drops events of hot pixels: of a given mask, or learned ones, which fire far more often than their surroundings.

    Slots of SLOT_NS lie on a fixed grid of time. A pixel that is hot in two consecutive slots is in `mask` from the
    next slot on, and stays there. The result does not depend on how the stream is cut into arrays.

    rate: lowest rate of a hot pixel in events per second. mask: bool (H, W), the hot pixels; None to learn them.
    """

    def __init__(self, height: int, width: int, rate: float = HOT_RATE, mask: np.ndarray | None = None) -> None:
        self.learns = mask is None
        self.mask = np.zeros((height, width), bool) if mask is None else mask
        self._count = rate * SLOT_NS / NS
        self._pixels: list[np.ndarray] = []  # of the events of the open slot
        self._suspects = np.zeros((height, width), bool)
        self._slot: int | None = None

    def reset(self) -> None:
        """Begin a new stream; the mask stays."""
        self._pixels.clear()
        self._suspects[:] = False
        self._slot = None

    def keep(self, events: np.ndarray) -> np.ndarray:
        """Learn from events (in time order, on the sensor); return the mask (N,) of those not of hot pixels."""
        kept = np.empty(len(events), bool)
        t = events["t"].copy()
        pixel = events["y"].astype(np.int64)
        pixel *= self.mask.shape[1]
        pixel += events["x"]
        begin = 0
        while begin < len(events):
            end = len(events)
            if self.learns:
                slot = int(t[begin]) // SLOT_NS
                if slot != self._slot:
                    self._close(slot)
                end = int(np.searchsorted(t, (slot + 1) * SLOT_NS, "left"))
                self._pixels.append(pixel[begin:end])
            np.logical_not(self.mask.ravel().take(pixel[begin:end]), out=kept[begin:end])
            begin = end
        return kept

    def _close(self, slot: int) -> None:
        height, width = self.mask.shape
        if self._pixels:
            counts = np.bincount(np.concatenate(self._pixels), minlength=height * width).reshape(height, width)
            around = cv2.medianBlur(np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16), 3)
            hot = (counts > self._count) & (counts > HOT_RATIO * (around.astype(np.int64) + 1))
        else:
            hot = np.zeros_like(self.mask)
        self.mask |= hot & self._suspects
        self._suspects = hot if self._slot is not None and slot == self._slot + 1 else np.zeros_like(hot)
        self._pixels.clear()
        self._slot = slot


class NoiseFilter:
    """The filters that are switched on, in turn: hot pixels, then activity; `hot` and `noise` count dropped events."""

    def __init__(self, hot_pixels: HotPixels | None, activity: ActivityFilter | None) -> None:
        self.hot_pixels, self.activity = hot_pixels, activity
        self.hot = self.noise = 0

    def reset(self) -> None:
        """Begin a new stream."""
        for part in (self.hot_pixels, self.activity):
            if part:
                part.reset()

    def __call__(self, events: np.ndarray) -> np.ndarray:
        """Return the events to keep of an event array (N,) in time order, on the sensor, after earlier ones."""
        if self.hot_pixels:
            kept = self.hot_pixels.keep(events)
            self.hot += len(events) - int(np.count_nonzero(kept))
            events = select(events, kept)
        if self.activity:
            kept = self.activity.keep(events)
            self.noise += len(events) - int(np.count_nonzero(kept))
            events = select(events, kept)
        return events


def make_noise_filter(
    height: int, width: int, kind: str = "none", hot_pixel_mask: str | Path = ""
) -> NoiseFilter | None:
    """Make the noise filter of a sensor, of a kind of NOISE_FILTERS (ValueError); None if nothing is switched on.

    hot_pixel_mask: `learn`, a file for `read_mask`, or empty for no mask.
    """
    if kind not in NOISE_FILTERS:
        raise ValueError(f"noise filter {kind!r} is not one of {', '.join(NOISE_FILTERS)}")
    activity, hot_pixels = ActivityFilter(height, width) if kind == "activity" else None, None
    if str(hot_pixel_mask):
        mask = None if str(hot_pixel_mask) == "learn" else read_mask(Path(hot_pixel_mask), height, width)
        hot_pixels = HotPixels(height, width, mask=mask)
    return NoiseFilter(hot_pixels, activity) if activity or hot_pixels else None


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """Read a mask of pixels, bool (height, width): an image that is not black there, or text with `x y` lines.

    EventError if there is no such file, or it is empty or not a mask of this sensor.
    """
    data = path.read_bytes() if path.is_file() else None
    if not data:
        problem = "no such file" if data is None else "empty"
        raise EventError(f"{path}: {problem}; expected a mask of pixels (an image, or text with a line `x y` each)")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is not None:
        if image.shape != (height, width):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise EventError(f"{path}: the mask has {size} pixels, expected the sensor's {width}x{height}")
        return image > 0
    mask = np.zeros((height, width), bool)
    lines = data.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            raise EventError(f"{path}: line {number}: expected `x y` in pixels, or an image")
        x, y = map(int, words)
        if x >= width or y >= height:
            raise EventError(f"{path}: line {number}: pixel {x} {y} is outside the {width}x{height} sensor")
        mask[y, x] = True
    return mask


def mask_text(mask: np.ndarray) -> str:
    """Return the text of a mask, as `read_mask` reads it."""
    rows, columns = np.nonzero(mask)
    return "# hot pixels: x y\n" + "".join(f"{x} {y}\n" for x, y in zip(columns, rows, strict=True))
