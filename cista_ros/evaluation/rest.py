"""The rest test: how the image persists when the camera stops and only noise arrives.

After the recording's last event, a camera at rest is simulated for 2 s: each pixel fires at random, and a few hot
pixels fire all the time. The image is then compared with the last one before the rest: correlation measures whether
the scene is still visible, standard deviation the remaining contrast.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from ..event_filter import EventFilter
from ..events import NS, make_events
from ..metrics import correlation
from ..pipeline import read_windows
from ..reconstructor import Reconstructor
from ..recordings import Recording
from ..window_maker import WindowMaker
from ..windows import StampWindows
from .scores import bounding_box

WINDOW_NS, WINDOWS = 33_000_000, 60  # 1.98 s
HOT_PIXELS, HOT_RATE = 10, 100.0  # pixels, and events/s of each
BEFORE_NS = 5 * NS  # of the recording, what precedes the rest
SEED = 2022


# Events/s of every pixel and number of hot pixels, by the name in tables and files.
RESTS = {
    f"{rate:g} /s" + (f" + {hot_pixels} hot" if hot_pixels else ""): (rate, hot_pixels)
    for rate in (0.1, 1.0)
    for hot_pixels in (0, HOT_PIXELS)
}


def noise_windows(rate: float, hot_pixels: int, begin: int, height: int, width: int) -> list[np.ndarray]:
    """Return the events of each window from `begin` (ns) on: Poisson noise of either polarity, hot pixels positive."""
    rng = np.random.default_rng(SEED)
    rates = np.full(height * width, rate)
    hot = rng.choice(height * width, hot_pixels, replace=False)
    rates[hot] = HOT_RATE
    windows = []
    for i in range(WINDOWS):
        pixel = np.repeat(np.arange(height * width), rng.poisson(rates * (WINDOW_NS / NS)))
        rng.shuffle(pixel)
        t = np.sort(rng.integers(0, WINDOW_NS, len(pixel))) + begin + i * WINDOW_NS
        polarity = np.isin(pixel, hot) | (rng.random(len(pixel)) < 0.5)
        windows.append(make_events(pixel % width, pixel // width, t, polarity))
    return windows


def run_rest_test(
    reconstructor: Reconstructor, recording: Recording, mask: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """Run every kind of rest after the last 5 s of a recording; return label -> {"correlation", "contrast"}.

    Args:
        reconstructor: for the recording's sensor; its state is lost.
        recording: with camera frames, at which its events are cut into windows; what follows the last is one more.
        mask: bool (H, W), pixels that count.
    """
    before = last_windows(recording)
    box, _ = bounding_box(mask)
    found = {}
    for name, rest in RESTS.items():
        reconstructor.reset()
        for events in before:
            last = reconstructor.reconstruct(events).image[box]
        for events in noise_windows(*rest, int(before[-1]["t"][-1]) + 1, recording.height, recording.width):
            image = reconstructor.reconstruct(events).image[box]
        contrast = float(image.std() / last.std()) if last.std() > 0 else math.nan
        found[name] = {"correlation": correlation(image, last), "contrast": contrast}
    return found


def last_windows(recording: Recording) -> list[np.ndarray]:
    """Return the events of the windows before each frame of a recording's last 5 s, and of what follows."""
    stamps = np.append(recording.frame_stamps(), np.iinfo(np.int64).max)
    maker = WindowMaker(EventFilter(recording.height, recording.width), lambda: StampWindows(stamps))
    kept: deque[np.ndarray] = deque()
    for window in read_windows(recording, maker):
        kept.append(window.events)
        while kept[0]["t"][-1] < window.events["t"][-1] - BEFORE_NS:
            kept.popleft()
    return list(kept)
