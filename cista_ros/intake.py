"""The gate between what a message or file says and what the rest may rely on: events on the sensor, in time order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import EventError
from .events import in_order, inside, no_events

# A chunk that lies further back than this is a new beginning (a looped bag, a restarted camera), not a straggler.
JUMP_NS = 10_000_000
# No event camera is smaller or larger than this; who says so is mistaken, and must not make us allocate for it.
MIN_SIDE, MAX_PIXELS = 16, 1 << 22


@dataclass
class IntakeCounts:
    """What became of the events that came in; `received` is the sum of accepted, outside and late."""

    received: int = 0
    accepted: int = 0
    outside: int = 0
    late: int = 0
    reordered: int = 0
    time_jumps: int = 0


class Intake:
    """Checks arriving events of one sensor; drops what cannot be used, and counts it.

    - Events outside the sensor are dropped (`outside`).
    - Time going back within a chunk: its events are sorted by time (`reordered` counts the chunk's events that moved).
    - A chunk whose median event lies more than 10 ms before the newest event accepted so far begins a new stream
      (`time_jumps`): whoever holds state must reset it. The median, so that no single wrong stamp can do that.
    - Other events older than the newest accepted one are dropped (`late`).

    `counts` may be given to go on counting where another intake stopped. EventError for a sensor size that cannot be.
    """

    def __init__(self, height: int, width: int, counts: IntakeCounts | None = None) -> None:
        if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
            raise EventError(
                f"a sensor of {width}x{height} pixels; expected {MIN_SIDE}x{MIN_SIDE} to {MAX_PIXELS} pixels in all"
            )
        self.height, self.width = height, width
        self.counts = counts or IntakeCounts()
        self._newest: int | None = None

    def accept(self, events: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return (the usable events, in time order, and whether time jumped back before them)."""
        counts = self.counts
        counts.received += len(events)
        on_sensor = inside(events, self.height, self.width)
        if not on_sensor.all():
            events = events[on_sensor]
            counts.outside += len(on_sensor) - len(events)
        if not len(events):
            return no_events(), False
        if not in_order(events):
            order = np.argsort(events["t"], kind="stable")
            counts.reordered += int(np.count_nonzero(order != np.arange(len(order))))
            events = events[order]
        jumped = self._newest is not None and int(events["t"][len(events) // 2]) < self._newest - JUMP_NS
        if jumped:
            counts.time_jumps += 1
        elif self._newest is not None and events["t"][0] < self._newest:
            first = int(np.searchsorted(events["t"], self._newest, "left"))
            counts.late += first
            events = events[first:]
        if len(events):
            self._newest = int(events["t"][-1])
            counts.accepted += len(events)
        return events, jumped
