"""Check events as they arrive: what passes is on the sensor and in time order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .errors import EventError
from .events import concatenate, in_order, inside, no_events, select
from .noise_filter import NoiseFilter

# Events further back than this belong to another time (a looped bag, a restarted camera), not to a straggler.
JUMP_NS = 10_000_000
# A chunk further ahead than this must be confirmed by the next one.
AHEAD_NS = 1_000_000_000
# Events so far ahead (36 years) have another clock, whatever gaps are allowed. Such spans times 4 still fit int64.
LONGEST_GAP_NS = 1 << 60
# No event camera is smaller or larger than this. Other sizes are errors, and nothing is allocated for them.
MIN_SIDE, MAX_PIXELS = 16, 1 << 22


@dataclass
class FilterCounts:
    """What became of the events: received = accepted + outside + late + stray + hot + noise + held."""

    received: int = 0
    accepted: int = 0
    outside: int = 0  #: outside the sensor
    late: int = 0  #: older than accepted ones
    stray: int = 0  #: with a time far from that of the messages around them
    hot: int = 0  #: of hot pixels
    noise: int = 0  #: without support by a neighbour (see noise_filter)
    reordered: int = 0  #: moved when their message was sorted by time
    time_jumps: int = 0  #: new streams after time jumped back
    gaps: int = 0  #: new streams after time jumped ahead


@dataclass(frozen=True)
class Part:
    """Events in time order, not before those of the previous part unless they begin a new stream."""

    events: np.ndarray
    begins_stream: bool


@dataclass
class EventFilter:
    """Checks the events of one sensor, chunk by chunk; drops and counts those that cannot be used.

    - Events outside the sensor are dropped (`outside`).
    - If time goes back within a chunk, the chunk is sorted by time (`reordered` counts the events that move).
    - The median event decides where a chunk lies in time, so that a single wrong stamp does not move it. A chunk that
      lies more than 10 ms before the newest event so far, or more than 1 s after it, is held until the next chunk. If
      that one lies there too, or in a third place, time has jumped. If it continues where the stream was, the held
      chunk is dropped (`stray`).
    - The same holds for the smaller part of a chunk after a pause of more than 10 ms within it, and for a chunk after
      such a pause that has less than half as many events as the one before.
    - Time that has jumped back (`time_jumps`), or ahead by more than `max_gap_ns` (`gaps`; None for no limit except
      LONGEST_GAP_NS), begins a new stream. State that depends on earlier events must then be reset.
    - Other events older than the newest accepted one are dropped (`late`).
    - The noise filter, if any, sees what is left (`hot`, `noise`).
    """

    height: int  #: sensor size in pixels; EventError if it is impossible
    width: int
    counts: FilterCounts = field(default_factory=FilterCounts)  #: may be those of another EventFilter
    max_gap_ns: int | None = None
    noise_filter: NoiseFilter | None = None

    def __post_init__(self) -> None:
        if min(self.height, self.width) < MIN_SIDE or self.height * self.width > MAX_PIXELS:
            raise EventError(
                f"impossible sensor size {self.width}x{self.height}: expected at least {MIN_SIDE}x{MIN_SIDE} and at"
                f" most {MAX_PIXELS} pixels in total"
            )
        self._begins_stream = False  # with the next events that the noise filter keeps
        self._newest: int | None = None
        self._last_size = 0
        self._held = no_events()

    @property
    def held_events(self) -> int:
        """Number of events held until the next chunk confirms their time."""
        return len(self._held)

    def accept(self, events: np.ndarray) -> list[Part]:
        """Return the usable events, in order; held events are returned later, with the next chunk or `release`."""
        events = self._ordered(self._on_sensor(events))
        if not len(events):
            return []
        parts: list[Part] = []
        confirmed = self._newest is None
        if len(self._held):
            held, self._held = self._held, no_events()
            assert self._newest is not None
            middle = _middle(events)
            ahead = _middle(held) > self._newest
            if self._continues(middle) and not (ahead and middle >= held["t"][0] - JUMP_NS):
                self.counts.stray += len(held)
            elif ahead and held["t"][0] - JUMP_NS <= middle <= held["t"][-1] + AHEAD_NS:
                confirmed = True
                events = concatenate([held, events])  # which may overlap
                events = events[np.argsort(events["t"], kind="stable")]
            else:
                parts += self._place(held)
        if not confirmed and self._is_doubtful(events):
            self._held = events
            return parts
        n = _before_pause(events)
        self._held = events[n:]
        return [*parts, *self._place(events[:n])]

    def release(self) -> list[Part]:
        """Return the held events: no further chunk will confirm their time."""
        held, self._held = self._held, no_events()
        return self._place(held) if len(held) else []

    def _is_doubtful(self, events: np.ndarray) -> bool:
        """Return whether a chunk lies elsewhere than the stream, or is small and follows a pause."""
        assert self._newest is not None
        small = 2 * len(events) < self._last_size
        return not self._continues(_middle(events)) or (small and events["t"][0] > self._newest + JUMP_NS)

    def _continues(self, middle: int) -> bool:
        """Return whether a chunk continues the stream."""
        assert self._newest is not None
        return self._newest - JUMP_NS <= middle <= self._newest + AHEAD_NS

    def _place(self, events: np.ndarray) -> list[Part]:
        counts, newest, begins = self.counts, self._newest, False
        longest = min(self.max_gap_ns or LONGEST_GAP_NS, LONGEST_GAP_NS)
        if newest is not None:
            back = _middle(events) < newest - JUMP_NS
            ahead = int(events["t"][0]) - newest > longest
            counts.time_jumps += back
            counts.gaps += ahead
            begins = back or ahead
            if not begins and events["t"][0] < newest:
                first = int(np.searchsorted(events["t"], newest, "left"))
                counts.late += first
                events = events[first:]
        if not len(events):
            return []
        self._newest, self._last_size = int(events["t"][-1]), len(events)
        if self._newest - events["t"][0] <= longest:
            return self._denoised([Part(events, begins)])
        gaps = np.flatnonzero(np.diff(events["t"]) > longest) + 1
        counts.gaps += len(gaps)
        return self._denoised([Part(part, begins or i > 0) for i, part in enumerate(np.split(events, gaps))])

    def _denoised(self, parts: list[Part]) -> list[Part]:
        noise_filter, counts = self.noise_filter, self.counts
        if noise_filter:
            hot, noise = noise_filter.hot, noise_filter.noise
            left = []
            for part in parts:
                if part.begins_stream:
                    noise_filter.reset()
                    self._begins_stream = True
                events = noise_filter(part.events)
                if len(events):
                    left.append(Part(events, self._begins_stream))
                    self._begins_stream = False
            counts.hot += noise_filter.hot - hot
            counts.noise += noise_filter.noise - noise
            parts = left
        counts.accepted += sum(len(part.events) for part in parts)
        return parts

    def _on_sensor(self, events: np.ndarray) -> np.ndarray:
        self.counts.received += len(events)
        on_sensor = inside(events, self.height, self.width)
        if on_sensor.all():
            return events
        kept = select(events, on_sensor)
        self.counts.outside += len(events) - len(kept)
        return kept

    def _ordered(self, events: np.ndarray) -> np.ndarray:
        if in_order(events):
            return events
        order = np.argsort(events["t"], kind="stable")
        self.counts.reordered += int(np.count_nonzero(order != np.arange(len(order))))
        return events[order]


def _middle(events: np.ndarray) -> int:
    return int(events["t"][len(events) // 2])


def _before_pause(events: np.ndarray) -> int:
    """Return how many events precede the first long pause in the chunk's second half; all without such a pause."""
    half = len(events) // 2
    pauses = np.flatnonzero(np.diff(events["t"][half:]) > JUMP_NS)
    return half + int(pauses[0]) + 1 if len(pauses) else len(events)
