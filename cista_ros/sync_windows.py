"""Windows between the time stamps of another stream (a camera's frames, a trigger) that comes in beside the events.

Offline all stamps are known beforehand, and `windows.StampWindows` cuts there. Here they come late, out of order, or
never; where they come in order, and before the events are `timeout_ns` further, the windows are the same.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from .event_filter import JUMP_NS
from .events import concatenate
from .windows import Window, Windower

# Stamps whose events have not come yet: ten seconds of a fast trigger. Only clocks that do not agree let more gather.
MAX_WAITING = 10_000


@dataclass
class SyncCounts:
    """What became of the stamps; `stamps` is the sum of the rest but the last, and of those that wait.

    Attributes:
        stamps: how many came.
        used: ended a window.
        empty: no event came for them: no image.
        repeated: came before, and waits still.
        late: the events of that time had been used already.
        crowded_out: were the oldest of too many that waited.
        unsynced_windows: windows that ended for want of a stamp.
    """

    stamps: int = 0
    used: int = 0
    empty: int = 0
    repeated: int = 0
    late: int = 0
    crowded_out: int = 0
    unsynced_windows: int = 0


@dataclass
class SyncStamps:
    """The stamps of one source, which outlives the windowers of an event stream that begins anew.

    Attributes:
        waiting: stamps to come in event time, in order.
        earlier: stamps that went back further than disorder explains: of the next round of a looped recording, there
            before its events are.
        reached: the last boundary or event that went into a window: a stamp before it is late. None before the first.
    """

    counts: SyncCounts = field(default_factory=SyncCounts)
    waiting: list[int] = field(default_factory=list)
    earlier: list[int] = field(default_factory=list)
    reached: int | None = None
    _newest: int | None = None

    def add(self, stamp: int) -> None:
        """Take a stamp in nanoseconds."""
        self.counts.stamps += 1
        went_back = self._newest is not None and stamp < self._newest - JUMP_NS
        of_next_round = went_back or (self.earlier and stamp > self.earlier[-1])
        if self.reached is None or stamp > self.reached:
            self._keep(self.waiting, stamp)
        elif of_next_round:
            self._keep(self.earlier, stamp)
        else:
            self.counts.late += 1
            return
        self._newest = stamp

    def restart(self) -> None:
        """The events began a new stream: what was earlier than theirs may now be to come."""
        earlier, self.earlier, self.reached = self.earlier, [], None
        for stamp in earlier:
            self._keep(self.waiting, stamp)

    def clear(self) -> None:
        """No event is to come for those that wait."""
        self.restart()
        self.counts.empty += len(self.waiting)
        self.waiting.clear()
        self._newest = None

    def pass_by(self, time: int) -> None:
        """Stamps before this time end no window: no event came for them."""
        n = bisect_left(self.waiting, time)
        del self.waiting[:n]
        self.counts.empty += n

    def _keep(self, stamps: list[int], stamp: int) -> None:
        at = bisect_left(stamps, stamp)
        if at < len(stamps) and stamps[at] == stamp:
            self.counts.repeated += 1
            return
        stamps.insert(at, stamp)
        if len(stamps) > MAX_WAITING:
            del stamps[0]
            self.counts.crowded_out += 1


class SyncWindows(Windower):
    """Windows (stamp[i-1], stamp[i]], each closed by the first event after its stamp, or by the stamp if that is later.

    An image bears the stamp that ends its window. No window is longer than `timeout_ns`: the first event that is so
    much later than the window's first ends it, exclusively, and its image bears its last event's time
    (`unsynced_windows`). So does that of a window flushed while no stamp is known for it.

    Args:
        stamps: where stamps are kept; a new windower begins a new stream on it.
        timeout_ns: how long, in event time, events wait for a stamp.
    """

    def __init__(self, stamps: SyncStamps, timeout_ns: int) -> None:
        super().__init__()
        if timeout_ns <= 0:
            raise ValueError(f"timeout must be positive, not {timeout_ns} ns")
        self.stamps, self.timeout_ns = stamps, timeout_ns
        self._first = 0
        stamps.restart()

    def add_stamp(self, stamp: int) -> list[Window]:
        """Take a stamp in nanoseconds; return the window that it closes."""
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
        """The stamp that ends the open window, if it is known and soon enough."""
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
