"""Signs of wrong input in a stream of events, each reported once, and the pace of playback."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from .event_filter import FilterCounts
from .events import NS, inside, select
from .noise_filter import MAX_MASKED_SHARE, HotPixels, NoiseFilter

# Fewer events say little about a rate or a share.
ENOUGH_EVENTS = 1000
# No event camera in the light is slower, and none is faster. USUAL_RATE is that of an ordinary scene (events/s).
LOWEST_RATE, HIGHEST_RATE, USUAL_RATE = 10.0, 1e9, 2e4
# Pixels that fire more often than this, and alone, ruin the default image (events/s).
ABSURD_RATE = 2000.0
LOOK_FOR_HOT_NS = 2 * NS  # from the first event
MAX_NOISE_SHARE = 0.95
_FACTORS = {1e9: "nanoseconds read as seconds", 1e6: "microseconds read as seconds"}


def rate_warning(t: np.ndarray) -> str:
    """Return a warning if event times (N,) in nanoseconds are impossible, with the likely factor; else ''.

    The rate leaves out the longest one per cent of the intervals: pauses. The factor, 1e6 or 1e9, brings it closer to
    usual.
    """
    if len(t) < ENOUGH_EVENTS or t[-1] <= t[0]:
        return ""
    intervals = np.sort(np.diff(t))[: int(0.99 * len(t))]
    rate = NS / max(float(intervals.mean()), 1e-3)
    if LOWEST_RATE <= rate <= HIGHEST_RATE or (rate > HIGHEST_RATE and not intervals.any()):
        return ""
    slow = rate < LOWEST_RATE
    factor = min(_FACTORS, key=lambda f: abs(np.log((rate * f if slow else rate / f) / USUAL_RATE)))
    cause = f"large ({_FACTORS[factor]})" if slow else "small"
    return f"{rate:.2g} events per second are impossible: timestamps are probably {factor:.0e} times too {cause}"


def first_warnings(height: int, width: int, arrays: Iterable[np.ndarray]) -> list[str]:
    """Return the warnings about the first ENOUGH_EVENTS events of a stream, given as event arrays."""
    check, found, count = InputCheck(height, width), [], 0
    for events in arrays:
        found += check.observe(events)
        count += len(events)
        if count >= ENOUGH_EVENTS:
            break
    return found


class InputCheck:
    """Looks at the events of one sensor as they arrive, before the event filter.

    counts, noise_filter: those of the event filter.
    """

    def __init__(
        self, height: int, width: int, counts: FilterCounts | None = None, noise_filter: NoiseFilter | None = None
    ) -> None:
        self.height, self.width = height, width
        self._counts = counts or FilterCounts()
        self._noise_filter = noise_filter
        masked = noise_filter is not None and noise_filter.hot_pixels is not None
        self._hot = None if masked else HotPixels(height, width, ABSURD_RATE)
        self._begin: list[np.ndarray] | None = []  # times of the first events
        self._received = self._outside = 0
        self._largest = 0, 0
        self._hot_until: int | None = None
        self._said: set[str] = set()

    def observe(self, events: np.ndarray) -> list[str]:
        """Return the warnings that an event array (N,) gives rise to; each kind is returned once."""
        if not len(events):
            return []
        self._received += len(events)
        rate = self._rate_warning(events["t"])
        on_sensor = inside(events, self.height, self.width)
        if not on_sensor.all():
            self._outside += len(events) - int(np.count_nonzero(on_sensor))
            self._largest = max(self._largest[0], int(events["x"].max())), max(self._largest[1], int(events["y"].max()))
            events = select(events, on_sensor)
        found = {
            "rate": rate,
            "size": self._size_warning(),
            "hot": self._hot_warning(events),
            "noise": self._noise_warning(),
            "mask": self._mask_warning(),
        }
        new = {kind: text for kind, text in found.items() if text and kind not in self._said}
        self._said |= new.keys()
        return list(new.values())

    def _size_warning(self) -> str:
        x, y = self._largest
        swapped = x < self.height and y < self.width and (x >= self.width or y >= self.height)
        if self._received < ENOUGH_EVENTS or self._outside * 100 < self._received or not swapped:
            return ""
        return (
            f"{self._outside} events are outside the {self.width}x{self.height} sensor, but would be on one of"
            f" {self.height}x{self.width} pixels: width and height are probably swapped"
        )

    def _rate_warning(self, t: np.ndarray) -> str:
        if self._begin is None:
            return ""
        self._begin.append(t.copy())
        if self._received < ENOUGH_EVENTS:
            return ""
        times, self._begin = np.concatenate(self._begin), None
        return rate_warning(times)

    def _hot_warning(self, events: np.ndarray) -> str:
        """Return a warning about pixels that fire at absurd rates at the begin of the stream."""
        if self._hot is None or not len(events):
            return ""
        t = int(events["t"][0])
        until = self._hot_until = t + LOOK_FOR_HOT_NS if self._hot_until is None else self._hot_until
        if t > until:
            self._hot = None
            return ""
        self._hot.keep(events)
        count = int(np.count_nonzero(self._hot.mask))
        if not count:
            return ""
        return (
            f"{count} hot pixels fire more than {ABSURD_RATE:.0f} times per second: drop their events with"
            " --hot-pixel-mask learn (parameter hot_pixel_mask), or limit them with --clip-hot-pixels"
        )

    def _noise_warning(self) -> str:
        dropped = self._counts.hot + self._counts.noise
        total = dropped + self._counts.accepted
        if total < ENOUGH_EVENTS or dropped <= MAX_NOISE_SHARE * total:
            return ""
        return f"the noise filter drops {dropped} of {total} events: more than {MAX_NOISE_SHARE:.0%}"

    def _mask_warning(self) -> str:
        if self._noise_filter is None or self._noise_filter.hot_pixels is None:
            return ""
        hot_pixels = self._noise_filter.hot_pixels
        masked = int(np.count_nonzero(hot_pixels.mask))
        if masked <= MAX_MASKED_SHARE * hot_pixels.mask.size:
            return ""
        kind = "learned" if hot_pixels.learns else "given"
        return f"the {kind} hot-pixel mask covers {masked} pixels: more than {MAX_MASKED_SHARE:.0%} of the sensor"


class Pace:
    """Estimates how fast event time passes: 1 with a camera, less in slow playback."""

    # Slower playback ends windows by idle_timeout.
    SLOWEST = 1 / 40
    # After a single message.
    UNKNOWN = 1 / 10

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=30)  # arrival in s, event time in ns

    def add(self, arrival: float, stamp: int) -> None:
        """Add a message: when it arrived, in seconds, and the time of its last event, in nanoseconds."""
        if self._seen and stamp < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((arrival, stamp))

    def __call__(self) -> float:
        """Return the seconds of event time per second, between SLOWEST and 1."""
        if len(self._seen) < 2:
            return self.UNKNOWN
        (first, start), (last, end) = self._seen[0], self._seen[-1]
        return min(1.0, max(self.SLOWEST, (end - start) / NS / max(last - first, 1e-9)))
