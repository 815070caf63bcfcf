"""When to reconstruct: gather a stream of events into windows, each of which becomes one image.

All windowers share one interface: `push(events)` returns the windows that these events closed, `flush()` the one
still open. Boundaries depend on event time alone, never on how the stream was cut into messages, so that a node, a
command and an evaluation that see the same events make the same windows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .events import concatenate

# The paper reconstructs from at most about 15 000 events on a 240x180 sensor (section 2.1).
PAPER_EVENTS, PAPER_PIXELS = 15_000, 240 * 180


@dataclass(frozen=True)
class Window:
    """The events of one image, in time order, and that image's time stamp in nanoseconds.

    first: this window begins a stream; what was remembered of another must be forgotten before it.
    merged: made of several windows because time was short; one network step must do for it.
    """

    events: np.ndarray
    stamp: int
    first: bool = False
    merged: bool = False


def merge(*windows: Window) -> Window:
    """One window of one or several that follow each other in one stream."""
    if len(windows) == 1:
        return windows[0]
    return Window(concatenate([w.events for w in windows]), windows[-1].stamp, windows[0].first, merged=True)


def default_max_events(height: int, width: int) -> int:
    """The paper's limit of events a reconstruction, scaled with the sensor's area (15 000 at 240x180)."""
    return max(1, round(PAPER_EVENTS * height * width / PAPER_PIXELS))


def split_evenly(events: np.ndarray, max_events: int) -> list[np.ndarray]:
    """Cut N events into max(1, round(N / max_events)) consecutive parts whose lengths differ by at most one.

    As in the paper's protocol the limit is met on average: a part may hold up to 1.5 times max_events.
    """
    return np.array_split(events, max(1, round(len(events) / max_events)))


class Windower(ABC):
    """Gathers pushed events until a boundary closes the window."""

    def __init__(self) -> None:
        self._open: list[np.ndarray] = []

    @property
    def open_events(self) -> int:
        """How many events wait in the window that is still open."""
        return sum(map(len, self._open))

    def push(self, events: np.ndarray) -> list[Window]:
        """Add events (time-ordered, not before those pushed earlier); return the windows that they close."""
        closed: list[Window] = []
        while len(events):
            if self._is_past(events[0]):
                closed += self.flush()
                self._begin(events[0])
            n = self._count_inside(events)
            if n:
                self._open.append(events[:n])
            events = events[n:]
            if self._is_complete():
                # There is no need to wait for the event after it.
                closed += self.flush()
        return closed

    def flush(self) -> list[Window]:
        """Close the open window now; an empty list if it holds no event."""
        events = concatenate(self._open)
        self._open = []
        return [Window(events, self._stamp(events))] if len(events) else []

    def _stamp(self, events: np.ndarray) -> int:
        return int(events["t"][-1])

    def _is_complete(self) -> bool:
        """Whether the open window ends with the event that came last."""
        return False

    @abstractmethod
    def _is_past(self, event: np.void) -> bool:
        """Whether the open window ends before this event."""

    @abstractmethod
    def _begin(self, event: np.void) -> None:
        """Move the boundaries on to the window that holds this event."""

    @abstractmethod
    def _count_inside(self, events: np.ndarray) -> int:
        """How many leading events still belong to the open window."""


class PeriodWindows(Windower):
    """Windows of equal duration: [t0 + k period, t0 + (k+1) period), t0 being the first event's time.

    Windows without an event make no image. An image bears its last event's time.
    """

    def __init__(self, period_ns: int) -> None:
        super().__init__()
        if period_ns <= 0:
            raise ValueError(f"period must be positive, not {period_ns} ns")
        self.period_ns = period_ns
        self._end: int | None = None

    def _is_past(self, event: np.void) -> bool:
        return self._end is None or event["t"] >= self._end

    def _begin(self, event: np.void) -> None:
        t = int(event["t"])
        origin = t if self._end is None else self._end
        self._end = origin + ((t - origin) // self.period_ns + 1) * self.period_ns

    def _count_inside(self, events: np.ndarray) -> int:
        return int(np.searchsorted(events["t"], self._end, "left"))


class CountWindows(Windower):
    """Windows of equally many events; an image bears its last event's time."""

    def __init__(self, count: int) -> None:
        super().__init__()
        if count <= 0:
            raise ValueError(f"count must be positive, not {count}")
        self.count = count
        self._left = count

    def flush(self) -> list[Window]:
        self._left = self.count
        return super().flush()

    def _is_complete(self) -> bool:
        return not self._left

    def _is_past(self, event: np.void) -> bool:
        return False

    def _begin(self, event: np.void) -> None:
        pass  # no window is ever past: a full one is closed at once

    def _count_inside(self, events: np.ndarray) -> int:
        n = min(self._left, len(events))
        self._left -= n
        return n


class AdaptiveWindows(Windower):
    """Windows that last until the busiest area of the sensor has seen enough: images come as fast as things move.

    The sensor is divided into equal areas of about 32x32 pixels, as for the area event numbers of Liu and Delbruck,
    "Adaptive Time-Slice Block-Matching Optical Flow Algorithm for Dynamic Vision Sensors", BMVC 2018. A window ends
    with the event by which the first area reaches `events_per_pixel` events a pixel: a small, fast thing is followed as
    closely as if the whole view moved, which a count of all events would not do.

    Whatever is seen, a window lasts at least `shortest_ns` and less than `longest_ns`, from its first event; where
    that bounds it, the boundary is exclusive. An image bears its last event's time.
    """

    AREA = 32
    # Events searched at a time for the one that fills an area: so small that a chunk of many windows costs little more.
    BLOCK = 4096

    def __init__(self, height: int, width: int, events_per_pixel: float, shortest_ns: int, longest_ns: int) -> None:
        super().__init__()
        if not 0 <= shortest_ns < longest_ns:
            raise ValueError(f"shortest must be less than longest, not {shortest_ns} and {longest_ns} ns")
        if not events_per_pixel > 0:
            raise ValueError(f"events per pixel must be positive, not {events_per_pixel}")
        self.shortest_ns, self.longest_ns = shortest_ns, longest_ns
        rows, columns = (max(1, round(side / self.AREA)) for side in (height, width))
        self._row_areas = (np.arange(height) * rows // height * columns).astype(np.int16)
        self._column_areas = (np.arange(width) * columns // width).astype(np.int16)
        self._limit = max(1, round(events_per_pixel * height * width / (rows * columns)))
        self._counts = np.zeros(rows * columns, np.int64)
        self._first = self._end = 0
        self._complete = False

    def flush(self) -> list[Window]:
        self._counts[:] = 0
        self._complete = False
        return super().flush()

    def _is_complete(self) -> bool:
        return self._complete

    def _is_past(self, event: np.void) -> bool:
        return not self._open or bool(event["t"] >= self._end)

    def _begin(self, event: np.void) -> None:
        self._first = int(event["t"])
        self._end = self._first + self.longest_ns

    def _count_inside(self, events: np.ndarray) -> int:
        events = events[: self.BLOCK]
        events = events[: int(np.searchsorted(events["t"], self._end, "left"))]
        areas = self._row_areas[events["y"]] + self._column_areas[events["x"]]
        counts = self._counts + np.bincount(areas, minlength=len(self._counts))
        full = np.flatnonzero(counts >= self._limit)
        waits = self._end < self._first + self.longest_ns  # full already; only the shortest time must pass
        if waits or not len(full):
            self._counts = counts
            return len(events)
        filling = min(int(np.flatnonzero(areas == area)[self._limit - self._counts[area] - 1]) for area in full)
        if events["t"][filling] >= self._first + self.shortest_ns:
            self._complete = True
            return filling + 1
        self._end = self._first + self.shortest_ns
        return int(np.searchsorted(events["t"], self._end, "left"))


class StampWindows(Windower):
    """Windows between given time stamps (a camera's frames): (stamp[i-1], stamp[i]], the first without a beginning.

    An image bears the stamp that ends its window; a stamp that no new event precedes has none. Events after the last
    stamp belong to no image: they are counted in `events_after`.
    """

    def __init__(self, stamps: Sequence[int] | np.ndarray) -> None:
        super().__init__()
        self.stamps = np.asarray(stamps, np.int64)
        if np.any(self.stamps[1:] < self.stamps[:-1]):
            raise ValueError("stamps must not decrease")
        self.events_after = 0
        self._next = 0

    def push(self, events: np.ndarray) -> list[Window]:
        usable = int(np.searchsorted(events["t"], self.stamps[-1], "right")) if len(self.stamps) else 0
        self.events_after += len(events) - usable
        closed = super().push(events[:usable])
        if usable < len(events):
            closed += self.flush()
        return closed

    def _stamp(self, events: np.ndarray) -> int:
        return int(self.stamps[self._next])

    def _is_past(self, event: np.void) -> bool:
        return bool(event["t"] > self.stamps[self._next])

    def _begin(self, event: np.void) -> None:
        self._next = int(np.searchsorted(self.stamps, event["t"], "left"))

    def _count_inside(self, events: np.ndarray) -> int:
        return int(np.searchsorted(events["t"], self.stamps[self._next], "right"))
