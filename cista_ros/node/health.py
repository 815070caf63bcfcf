"""What the node counts, how fast it is, and the warnings it logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field

import numpy as np

from ..event_filter import FilterCounts
from ..wire.event_packet import PacketCounts

LOG_EVERY_S = 5.0
# 270 MB. Without this bound memory would grow without end on a machine that has no time even for merged windows.
MAX_WAITING_EVENTS = 1 << 24


@dataclass
class QueueCounts:
    """What the queue did with windows that did not become images of their own.

    merged: windows joined with the one after them. skipped: windows (and their events) dropped because time was short.
    discarded: dropped because the node was deactivated.
    """

    merged_windows: int = 0
    skipped_windows: int = 0
    skipped_events: int = 0
    discarded_windows: int = 0
    discarded_events: int = 0


@dataclass
class Counts:
    """Everything that came in, and what became of it.

    event_filter.received = used_events + dropped_events() + pending_events().
    """

    event_filter: FilterCounts = field(default_factory=FilterCounts)
    queue: QueueCounts = field(default_factory=QueueCounts)
    packets: PacketCounts = field(default_factory=PacketCounts)
    messages: int = 0
    lost_messages: int = 0
    malformed_messages: int = 0
    wrong_size_messages: int = 0
    used_events: int = 0
    images: int = 0
    warm_up_windows: int = 0
    failed_windows: int = 0
    failed_events: int = 0
    not_ready_windows: int = 0
    not_ready_events: int = 0
    resets: int = 0

    def dropped_events(self) -> int:
        """Return the number of received events that will never be part of an image."""
        event_filter, queue = self.event_filter, self.queue
        unusable = event_filter.outside + event_filter.late + event_filter.stray + event_filter.hot + event_filter.noise
        return unusable + queue.skipped_events + queue.discarded_events + self.failed_events + self.not_ready_events

    def pending_events(self) -> int:
        """Return the number of received events that are not part of an image yet."""
        return self.event_filter.received - self.used_events - self.dropped_events()

    def dropped_windows(self) -> int:
        """Return the number of windows that will never be an image or part of one."""
        queue = self.queue
        return queue.skipped_windows + queue.discarded_windows + self.failed_windows + self.not_ready_windows

    def problems(self) -> int:
        """Return a number that grows whenever data was lost or refused against the user's will."""
        messages = self.lost_messages + self.malformed_messages + self.wrong_size_messages
        messages += self.packets.missing_packets + self.packets.unknown_words
        wanted = self.queue.discarded_events + self.event_filter.hot + self.event_filter.noise
        events = self.dropped_events() - wanted
        return messages + events + self.queue.merged_windows + self.failed_windows + self.not_ready_windows

    def values(self) -> dict[str, int]:
        """Return all counts by name, with the sums that matter most."""
        taken = deepcopy(self)  # the worker's thread keeps counting, and the numbers must add up
        sums = {"dropped_events": taken.dropped_events(), "pending_events": taken.pending_events()}
        values = asdict(taken)
        event_filter, queue, packets = values.pop("event_filter"), values.pop("queue"), values.pop("packets")
        return {
            **{name if name in ("time_jumps", "gaps") else f"{name}_events": n for name, n in event_filter.items()},
            **queue,
            **packets,
            **values,
            **sums,
        }

    def summary(self) -> str:
        """Return one line for the end of the log."""
        return (
            f"{self.messages} messages ({self.malformed_messages} malformed, {self.wrong_size_messages} of the wrong"
            f" size, {self.lost_messages} lost); {self.event_filter.received} events: {self.used_events} used for"
            f" {self.images} images, {self.dropped_events()} dropped, {self.pending_events()} pending; windows merged"
            f" {self.queue.merged_windows}, skipped {self.queue.skipped_windows}, failed {self.failed_windows}"
        )


@dataclass(frozen=True)
class Rates:
    """Events and images per second, and quantiles of the images' latency in ms (NaN without images)."""

    event_rate: float
    image_rate: float
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_max: float


class Speed:
    """Collects image latencies in one thread and gives rates to another."""

    # Asked again sooner than this, the rates of the last time are returned: those of an instant mean nothing.
    SHORTEST_S = 0.5

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        self._since, self._received = time.monotonic(), 0
        self._rates = Rates(0.0, 0.0, np.nan, np.nan, np.nan)

    def add(self, latency: float) -> None:
        """Record an image that was published `latency` seconds after its window was complete."""
        with self._lock:
            self._latencies.append(latency)

    def rates(self, received: int) -> Rates:
        """Return the rates since the last call; `received` is the number of events received in all."""
        with self._lock:
            now = time.monotonic()
            seconds, events = now - self._since, received - self._received
            if seconds >= self.SHORTEST_S:
                latencies, self._latencies = self._latencies, []
                self._since, self._received = now, received
                quantiles = 1000 * np.quantile(latencies, (0.5, 0.95, 1)) if latencies else np.full(3, np.nan)
                self._rates = Rates(events / seconds, len(latencies) / seconds, *map(float, quantiles))
            return self._rates


class Warnings:
    """Logs warnings, each kind at most once in LOG_EVERY_S, and keeps the last problem. For several threads.

    Args:
        log: writes a line to the log as a warning. (rclpy's own throttle distinguishes lines of code, not kinds.)
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._logged: dict[str, float] = {}
        self._last, self._last_at = "", 0.0

    @property
    def last(self) -> str:
        """The last problem; empty if there was none."""
        return self._last

    @last.setter
    def last(self, text: str) -> None:
        self._last, self._last_at = text, time.monotonic()

    def age(self) -> float:
        """Return the seconds since the last problem."""
        return time.monotonic() - self._last_at

    def add(self, kind: str, text: str) -> None:
        """Log a problem and keep its text in `last`."""
        self.last = text
        self.log(kind, text)

    def log(self, kind: str, text: str) -> None:
        """Log a warning that is no problem in itself."""
        now = time.monotonic()
        if now - self._logged.get(kind, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged[kind] = now
            self._log(text)
