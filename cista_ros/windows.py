"""When to reconstruct: cut a stream of events into windows, each of which becomes one image.

All windowers share one interface: `push(events)` returns the windows that these events complete, `flush()` returns
the open one. Boundaries depend on event time alone, not on how the stream was cut into messages, so the node, the
commands and the evaluation make the same windows from the same events. `make_windower` makes a windower by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from .errors import WindowError
from .events import NS, concatenate
from .sync_stamps import SyncStamps

# The paper reconstructs from at most about 15 000 events on a 240x180 sensor (section 2.1).
PAPER_EVENTS, PAPER_PIXELS = 15_000, 240 * 180


@dataclass(frozen=True)
class Window:
    """The events of one image."""

    events: np.ndarray  #: event array (N,) in time order
    stamp: int  #: the image's time in nanoseconds
    first: bool = False  #: begins a stream: what the network remembers of another stream must be forgotten first
    merged: bool = False  #: combines several because time was short; it takes a single network step
    height: int = 0  #: sensor size in pixels, set by the WindowMaker like `width` and `frame_id`
    width: int = 0
    frame_id: str = ""  #: coordinate frame of the camera, as the latest message named it


def merge(*windows: Window) -> Window:
    """Join consecutive windows of one stream; the result has the last one's stamp."""
    if len(windows) == 1:
        return windows[0]
    events = concatenate([w.events for w in windows])
    return replace(windows[-1], events=events, first=windows[0].first, merged=True)


def default_max_events(height: int, width: int) -> int:
    """Return the paper's limit of events per network step, scaled with the sensor's area (15 000 at 240x180)."""
    return max(1, round(PAPER_EVENTS * height * width / PAPER_PIXELS))


def split_evenly(events: np.ndarray, max_events: int) -> list[np.ndarray]:
    """Cut N events into max(1, round(N / max_events)) consecutive parts whose lengths differ by at most one.

    The limit is met on average, as in the paper's protocol: a part may hold up to 1.5 times max_events.
    """
    return np.array_split(events, max(1, round(len(events) / max_events)))


class Windower(ABC):
    """Gathers events until a boundary closes the window.

    image_stamps: stamps of images by those of windows, where they differ (used by the WindowMaker): a window that ends
    at a trigger has the stamp of the frame that it triggers.
    """

    image_stamps: Mapping[int, int] = MappingProxyType({})

    def __init__(self) -> None:
        self._open: list[np.ndarray] = []

    @property
    def open_events(self) -> int:
        """Number of events in the open window."""
        return sum(map(len, self._open))

    def push(self, events: np.ndarray) -> list[Window]:
        """Add events (in time order, not before earlier ones) and return the windows that they close."""
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
                # No need to wait for the next event.
                closed += self.flush()
        return closed

    def flush(self) -> list[Window]:
        """Close the open window and return it, unless it has no events."""
        events = concatenate(self._open)
        self._open = []
        return [Window(events, self._stamp(events))] if len(events) else []

    def _stamp(self, events: np.ndarray) -> int:
        return int(events["t"][-1])

    def _is_complete(self) -> bool:
        """Return whether the open window ends with the latest event."""
        return False

    def _is_past(self, event: np.void) -> bool:
        """Return whether the open window ends before this event."""
        return False

    def _begin(self, event: np.void) -> None:  # noqa: B027 (only for windows that can be past)
        """Move the boundaries to the window that contains this event."""

    @abstractmethod
    def _count_inside(self, events: np.ndarray) -> int:
        """Return how many leading events belong to the open window."""


class PeriodWindows(Windower):
    """Windows of equal duration: [t0 + k period, t0 + (k+1) period), t0 being the first event's time.

    A window without events gives no image. The stamp is the last event's time.
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
        assert self._end is not None
        return int(np.searchsorted(events["t"], self._end, "left"))


class CountWindows(Windower):
    """Windows of equally many events. The stamp is the last event's time."""

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

    def _count_inside(self, events: np.ndarray) -> int:
        n = min(self._left, len(events))
        self._left -= n
        return n


class AdaptiveWindows(Windower):
    """Windows that end when the busiest area of the sensor has enough events: the image rate follows the motion.

    The sensor is divided into equal areas of about 32x32 pixels, as for the area event numbers of Liu and Delbruck,
    "Adaptive Time-Slice Block-Matching Optical Flow Algorithm for Dynamic Vision Sensors", BMVC 2018. A window ends
    with the event that brings the first area to `events_per_pixel` events per pixel. A small, fast object is thus
    followed as closely as a moving view. A window lasts at least `shortest_ns` and less than `longest_ns` from its
    first event; these boundaries are exclusive. The stamp is the last event's time.
    """

    AREA = 32
    # Events searched at a time for the one that fills an area; small, so that a chunk of many windows stays cheap.
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
        waits = self._end < self._first + self.longest_ns  # an area is full; only the shortest time must pass
        if waits or not len(full):
            self._counts = counts
            return len(events)
        filling = min(int(np.flatnonzero(areas == area)[self._limit - self._counts[area] - 1]) for area in full)
        if events["t"][filling] >= self._first + self.shortest_ns:
            self._complete = True
            return filling + 1
        self._end = self._first + self.shortest_ns
        return int(np.searchsorted(events["t"], self._end, "left"))


class SyncWindows(Windower):
    """Windows (stamp[i-1], stamp[i]] where the stamps (of frames, a trigger) arrive beside the events.

    Stamps may come late, out of order or never. A window is closed by the first event after its stamp, or by the stamp
    if that comes later; its stamp is the one that ends it. A stamp without new events before it gives no window. A
    window without a stamp ends before the first event that is `timeout_ns` (of event time) later than its own first, or
    when flushed; it has its last event's time and is counted in `unsynced_windows`.

    Args:
        stamps: where stamps are kept; a new windower begins a new stream on it.
    """

    def __init__(self, stamps: SyncStamps, timeout_ns: int) -> None:
        super().__init__()
        if timeout_ns <= 0:
            raise ValueError(f"timeout must be positive, not {timeout_ns} ns")
        self.stamps, self.timeout_ns = stamps, timeout_ns
        self._first = 0
        stamps.restart()

    def add_stamp(self, stamp: int) -> list[Window]:
        """Add a stamp in nanoseconds; return the window that it closes, if any."""
        self.stamps.add(stamp)
        if not self._open:
            return []
        self.stamps.pass_by(self._first)
        events = concatenate(self._open)
        n = self._count_inside(events)
        if n == len(events):
            return []
        self._open = [events[:n]]
        closed = self.flush()
        self._begin(events[n])
        self._open = [events[n:]]
        return closed

    def flush(self) -> list[Window]:
        end = self._end_stamp()
        closed = super().flush()
        if closed:
            self.stamps.reached = closed[0].stamp
            if end is None:
                self.stamps.counts.unsynced_windows += 1
            else:
                del self.stamps.waiting[0]
                self.stamps.counts.used += 1
        return closed

    def _end_stamp(self) -> int | None:
        """Return the stamp that ends the open window, if it is known and within the timeout."""
        waiting = self.stamps.waiting
        return waiting[0] if waiting and waiting[0] < self._first + self.timeout_ns else None

    def _last_time(self) -> int:
        end = self._end_stamp()
        return self._first + self.timeout_ns - 1 if end is None else end

    def _stamp(self, events: np.ndarray) -> int:
        end = self._end_stamp()
        return super()._stamp(events) if end is None else end

    def _is_past(self, event: np.void) -> bool:
        return not self._open or bool(event["t"] > self._last_time())

    def _begin(self, event: np.void) -> None:
        self._first = int(event["t"])
        self.stamps.pass_by(self._first)

    def _count_inside(self, events: np.ndarray) -> int:
        return int(np.searchsorted(events["t"], self._last_time(), "right"))


class StampWindows(SyncWindows):
    """Windows between stamps that are all known, such as those of a recording's frames; the first is unbounded.

    Events after the last stamp belong to no window and are counted in `events_after`.
    """

    def __init__(self, stamps: Sequence[int] | np.ndarray) -> None:
        known = np.asarray(stamps, np.int64)
        if np.any(known[1:] < known[:-1]):
            raise ValueError("stamps must not decrease")
        super().__init__(SyncStamps(waiting=np.unique(known).tolist()), timeout_ns=1 << 64)
        self.events_after = 0
        self._last_stamp = known[-1:]

    def push(self, events: np.ndarray) -> list[Window]:
        usable = int(np.searchsorted(events["t"], self._last_stamp, "right").sum())  # none without stamps
        self.events_after += len(events) - usable
        closed = super().push(events[:usable])
        return closed if usable == len(events) else closed + self.flush()


WINDOW_KINDS = ("period", "count", "adaptive", "stamps", "sync", "trigger")
# The kind of windows that an option is for, of those that one kind alone uses.
KIND_OF_OPTION = {"period": "period", "count": "count", "edge": "trigger", "trigger_input": "trigger"}
KIND_OF_OPTION |= dict.fromkeys(("events_per_pixel", "shortest", "longest"), "adaptive")


def required_kind(kind: str | None, options: Iterable[str]) -> str | None:
    """Return the kind of windows that these options are for, else `kind`; WindowError if one is for another kind."""
    for name in options:
        wanted = KIND_OF_OPTION.get(name, kind)
        if kind not in (None, wanted):
            raise WindowError(f"option {name.replace('_', '-')}: for windows of the kind {wanted}, not {kind}")
        kind = wanted
    return kind


def make_windower(
    kind: str,
    height: int,
    width: int,
    *,
    period: float = 1 / 30,
    count: int | None = None,
    events_per_pixel: float = 1.0,
    shortest: float = 0.005,
    longest: float = 0.2,
    stamps: Sequence[int] | np.ndarray | SyncStamps = (),
    image_stamps: Mapping[int, int] | None = None,
    sync_timeout: float = 1.0,
) -> Windower:
    """Make a windower by its kind; each kind uses only its own options. ValueError for values out of range.

    Args:
        kind: one of WINDOW_KINDS.
        height, width: sensor size in pixels.
        period: seconds per window (`period`).
        count: events per window; None or 0 for the paper's limit, scaled with the sensor's area (`count`).
        events_per_pixel: events per pixel of the busiest area that end a window (`adaptive`).
        shortest, longest: seconds that bound a window (`adaptive`).
        stamps: of frames (`stamps`, `sync`) or triggers (`trigger`): all, int64 nanoseconds, not decreasing; or the
            SyncStamps that they are added to as they arrive (`sync`, `trigger`).
        image_stamps: see Windower (`stamps`, `sync`, `trigger`).
        sync_timeout: seconds of event time that events wait for a stamp in SyncStamps.
    """
    if kind == "period":
        return PeriodWindows(round(period * NS))
    if kind == "count":
        return CountWindows(count or default_max_events(height, width))
    if kind == "adaptive":
        return AdaptiveWindows(height, width, events_per_pixel, round(shortest * NS), round(longest * NS))
    if kind in ("trigger", "sync" if isinstance(stamps, SyncStamps) else "stamps"):
        timeout = round(sync_timeout * NS)
        found = SyncWindows(stamps, timeout) if isinstance(stamps, SyncStamps) else StampWindows(stamps)
        found.image_stamps = {} if image_stamps is None else image_stamps
        return found
    raise ValueError(f"windows {kind!r} is not one of {', '.join(WINDOW_KINDS)}, or its stamps are of the wrong type")
