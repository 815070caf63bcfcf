"""What the node counted, and how fast it was of late."""

from __future__ import annotations

import threading
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, field

import numpy as np

from ..event_filter import FilterCounts
from ..wire.event_packet import PacketCounts
from .backlog import BacklogCounts


@dataclass
class Counts:
    """Everything that came in, and what became of it.

    event_filter.received = used_events + dropped_events() + pending_events().
    """

    event_filter: FilterCounts = field(default_factory=FilterCounts)
    backlog: BacklogCounts = field(default_factory=BacklogCounts)
    packets: PacketCounts = field(default_factory=PacketCounts)
    messages: int = 0
    lost_messages: int = 0
    malformed_messages: int = 0
    wrong_size_messages: int = 0
    used_events: int = 0
    images: int = 0
    failed_windows: int = 0
    failed_events: int = 0
    not_ready_windows: int = 0
    not_ready_events: int = 0
    resets: int = 0

    def dropped_events(self) -> int:
        """Events that came in and never will be in an image."""
        event_filter, backlog = self.event_filter, self.backlog
        unusable = event_filter.outside + event_filter.late + event_filter.stray
        return unusable + backlog.skipped_events + backlog.discarded_events + self.failed_events + self.not_ready_events

    def pending_events(self) -> int:
        """Events that came in and are in no image yet."""
        return self.event_filter.received - self.used_events - self.dropped_events()

    def dropped_windows(self) -> int:
        """Windows that came to be and never will be an image, nor part of one."""
        backlog = self.backlog
        return backlog.skipped_windows + backlog.discarded_windows + self.failed_windows + self.not_ready_windows

    def troubles(self) -> int:
        """A number that grows whenever something was lost or refused against the user's will."""
        messages = self.lost_messages + self.malformed_messages + self.wrong_size_messages
        messages += self.packets.missing_packets + self.packets.unknown_words
        events = self.dropped_events() - self.backlog.discarded_events
        return messages + events + self.backlog.merged_windows + self.failed_windows + self.not_ready_windows

    def values(self) -> dict[str, int]:
        """All counts by name, flat, and the sums of them that one asks for first."""
        taken = deepcopy(self)  # the worker's thread goes on counting, and these must add up
        sums = {"dropped_events": taken.dropped_events(), "pending_events": taken.pending_events()}
        values = asdict(taken)
        event_filter, backlog, packets = values.pop("event_filter"), values.pop("backlog"), values.pop("packets")
        return {
            **{name if name in ("time_jumps", "gaps") else f"{name}_events": n for name, n in event_filter.items()},
            **backlog,
            **packets,
            **values,
            **sums,
        }

    def summary(self) -> str:
        """All of it in one line of text."""
        return (
            f"{self.messages} messages ({self.malformed_messages} malformed, {self.wrong_size_messages} of a wrong"
            f" size, {self.lost_messages} lost); {self.event_filter.received} events: {self.used_events} used for"
            f" {self.images} images, {self.dropped_events()} dropped, {self.pending_events()} pending; windows merged"
            f" {self.backlog.merged_windows}, skipped {self.backlog.skipped_windows}, failed {self.failed_windows}"
        )


@dataclass(frozen=True)
class Rates:
    """Since the last time: events and images a second, and quantiles of the images' latency in ms (NaN without any)."""

    event_rate: float
    image_rate: float
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_max: float


class Recent:
    """Latencies of images as they come, from one thread; rates for another that asks now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        self._since, self._received = time.monotonic(), 0

    def add(self, latency: float) -> None:
        """An image was published so many seconds after its window was complete."""
        with self._lock:
            self._latencies.append(latency)

    def take(self, received: int) -> Rates:
        """The rates since this was called last; `received` is how many events there have been in all."""
        with self._lock:
            latencies, self._latencies = self._latencies, []
        now = time.monotonic()
        seconds, events = max(now - self._since, 1e-3), received - self._received
        self._since, self._received = now, received
        quantiles = 1000 * np.quantile(latencies, (0.5, 0.95, 1)) if latencies else np.full(3, np.nan)
        return Rates(events / seconds, len(latencies) / seconds, *map(float, quantiles))
