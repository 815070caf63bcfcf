"""The stamps of camera frames or a trigger, kept until the events reach them (see windows.SyncWindows)."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from .event_filter import JUMP_NS

# Stamps kept until their events arrive: ten seconds of a fast trigger. More gather only if two clocks disagree.
MAX_WAITING_STAMPS = 10_000


@dataclass
class SyncCounts:
    """What became of the stamps: `stamps` = used + empty + repeated + late + crowded_out + waiting."""

    stamps: int = 0
    used: int = 0  # ended a window
    empty: int = 0  # had no events, hence no image
    repeated: int = 0  # equal to one that is waiting
    late: int = 0  # before events that are already used
    crowded_out: int = 0  # dropped as the oldest of too many waiting
    unsynced_windows: int = 0  # that ended without a stamp


@dataclass
class SyncStamps:
    """The stamps of one source. They outlive the windowers, because each new event stream gets a new windower."""

    counts: SyncCounts = field(default_factory=SyncCounts)
    waiting: list[int] = field(default_factory=list)  # ahead of the events, in order
    # Those that went back further than disorder explains: of the next round of a looped recording.
    earlier: list[int] = field(default_factory=list)
    # The last boundary, or last event, that went into a window; stamps before it are late. None at first.
    reached: int | None = None
    _newest: int | None = None

    def add(self, stamp: int) -> None:
        """Add a stamp in nanoseconds."""
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
        """Begin a new event stream: earlier stamps may now lie ahead of the events."""
        earlier, self.earlier, self.reached = self.earlier, [], None
        for stamp in earlier:
            self._keep(self.waiting, stamp)

    def clear(self) -> None:
        """Drop the waiting stamps as empty: no events will come for them."""
        self.restart()
        self.counts.empty += len(self.waiting)
        self.waiting.clear()
        self._newest = None

    def pass_by(self, time: int) -> None:
        """Drop stamps before this time as empty."""
        n = bisect_left(self.waiting, time)
        del self.waiting[:n]
        self.counts.empty += n

    def _keep(self, stamps: list[int], stamp: int) -> None:
        at = bisect_left(stamps, stamp)
        if at < len(stamps) and stamps[at] == stamp:
            self.counts.repeated += 1
            return
        stamps.insert(at, stamp)
        if len(stamps) > MAX_WAITING_STAMPS:
            del stamps[0]
            self.counts.crowded_out += 1
