"""The gate between what a message or file says and what the rest may rely on: events on the sensor, in time order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import EventError
from .events import concatenate, in_order, inside, no_events

# Further back than this lies another time (a looped bag, a restarted camera), not a straggler.
JUMP_NS = 10_000_000
# Further ahead than this a chunk must be confirmed by the next one.
AHEAD_NS = 1_000_000_000
# What lies so far ahead (36 years) is of another clock, whatever gaps are allowed; shares of such spans fit int64.
LONGEST_GAP_NS = 1 << 60
# No event camera is smaller or larger than this; who says so is mistaken, and must not make us allocate for it.
MIN_SIDE, MAX_PIXELS = 16, 1 << 22


@dataclass
class FilterCounts:
    """What became of the events that came in.

    `received` is the sum of accepted, outside, late and stray, and of what is held. `time_jumps` counts the jumps back,
    `gaps` those forward, by which a new stream began.
    """

    received: int = 0
    accepted: int = 0
    outside: int = 0
    late: int = 0
    stray: int = 0
    reordered: int = 0
    time_jumps: int = 0
    gaps: int = 0


@dataclass(frozen=True)
class Part:
    """Usable events in time order, not before those of the part before unless they begin a new stream."""

    events: np.ndarray
    begins_stream: bool


class EventFilter:
    """Checks arriving events of one sensor; drops what cannot be used, and counts it.

    - Events outside the sensor are dropped (`outside`).
    - Time going back within a chunk: its events are sorted by time (`reordered` counts the chunk's events that moved).
    - A chunk is where its median event is, so that no single wrong stamp moves it. One that lies more than 10 ms before
      the newest event so far, or more than 1 s after it, is held until the next chunk: if that lies there too, or in a
      third place, time has jumped; if it goes on where the stream was, what was held is dropped (`stray`).
    - So is the smaller part of a chunk that comes after a pause of more than 10 ms within it, and a chunk after such a
      pause that has less than half as many events as the one before.
    - Time that has jumped back (`time_jumps`), or forward by more than `max_gap_ns` (`gaps`), begins a new stream:
      whoever holds state must reset it.
    - Other events older than the newest accepted one are dropped (`late`).

    Args:
        height, width: the sensor's size in pixels.
        counts: to go on counting where another event_filter stopped.
        max_gap_ns: see above; None if no jump forward begins a new stream (but one of LONGEST_GAP_NS).
    Raises:
        EventError: a sensor size that cannot be.
    """

    def __init__(
        self, height: int, width: int, counts: FilterCounts | None = None, max_gap_ns: int | None = None
    ) -> None:
        if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
            raise EventError(
                f"a sensor of {width}x{height} pixels; expected {MIN_SIDE}x{MIN_SIDE} to {MAX_PIXELS} pixels in all"
            )
        self.height, self.width = height, width
        self.counts = counts or FilterCounts()
        self.max_gap_ns = max_gap_ns
        self._newest: int | None = None
        self._last_size = 0
        self._held = no_events()

    @property
    def held_events(self) -> int:
        """How many events wait for the next chunk to confirm their time."""
        return len(self._held)

    def accept(self, events: np.ndarray) -> list[Part]:
        """The usable events, in order; what is held may come with the next chunk."""
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
        """What is held, because nothing more is to come that could confirm it."""
        held, self._held = self._held, no_events()
        return self._place(held) if len(held) else []

    def _is_doubtful(self, events: np.ndarray) -> bool:
        """Whether a chunk lies elsewhere than the stream, or after a pause and is small."""
        assert self._newest is not None
        small = 2 * len(events) < self._last_size
        return not self._continues(_middle(events)) or (small and events["t"][0] > self._newest + JUMP_NS)

    def _continues(self, middle: int) -> bool:
        """Whether a chunk goes on where the stream is."""
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
        counts.accepted += len(events)
        if self._newest - events["t"][0] <= longest:
            return [Part(events, begins)]
        gaps = np.flatnonzero(np.diff(events["t"]) > longest) + 1
        counts.gaps += len(gaps)
        return [Part(part, begins or i > 0) for i, part in enumerate(np.split(events, gaps))]

    def _on_sensor(self, events: np.ndarray) -> np.ndarray:
        self.counts.received += len(events)
        on_sensor = inside(events, self.height, self.width)
        if on_sensor.all():
            return events
        kept = events[on_sensor]
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
    """How many events come before the first long pause in the chunk's second half; all if there is none."""
    half = len(events) // 2
    pauses = np.flatnonzero(np.diff(events["t"][half:]) > JUMP_NS)
    return half + int(pauses[0]) + 1 if len(pauses) else len(events)
