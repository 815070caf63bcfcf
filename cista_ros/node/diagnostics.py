"""What the node counts, how fast it is, and what it warns of; and how that is published, and read by other nodes."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from ..event_filter import FilterCounts
from ..sync_stamps import SyncCounts
from ..wire.event_packet import PacketCounts
from .topics import deserialize

if TYPE_CHECKING:  # torch takes seconds to import, and the player and the recorder do not need it
    import torch

LOG_EVERY_S = 5.0
# 270 MB. Without this bound memory would grow without end on a machine that has no time even for merged windows.
MAX_WAITING_EVENTS = 1 << 24
REPORT_S = 1.0
REPORT_SUFFIX = ": reconstruction"  # of the status's name, after the node's
MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes; not 4096 on every ARM machine
# Less growth is not worth the look through the heap.
GROWTH_MB = 64.0
# Level (one of DiagnosticStatus) and message.
Status = tuple[bytes, str]


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
    sync: SyncCounts = field(default_factory=SyncCounts)
    messages: int = 0
    triggers: int = 0
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
        parts = {name: values.pop(name) for name in ("event_filter", "queue", "packets", "sync")}
        filtered = {k if k in ("time_jumps", "gaps") else f"{k}_events": n for k, n in parts["event_filter"].items()}
        synced = {k if k == "unsynced_windows" else f"sync_{k}": n for k, n in parts["sync"].items()}
        return {**filtered, **parts["queue"], **parts["packets"], **values, **sums, **synced}

    def summary(self) -> str:
        """Return one line for the end of the log."""
        return (
            f"{self.messages} messages ({self.malformed_messages} malformed, {self.wrong_size_messages} of the wrong"
            f" size, {self.lost_messages} lost); {self.event_filter.received} events: {self.used_events} used for"
            f" {self.images} images, {self.dropped_events()} dropped, {self.pending_events()} pending; windows merged"
            f" {self.queue.merged_windows}, skipped {self.queue.skipped_windows}, failed {self.failed_windows}"
        )


class Rates(NamedTuple):
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

    Attributes:
        last: the last problem; empty if there was none.
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._logged: dict[str, float] = {}
        self.last, self._last_at = "", 0.0

    def age(self) -> float:
        """Return the seconds since the last problem."""
        return time.monotonic() - self._last_at

    def note(self, text: str) -> None:
        """Keep the text of a problem in `last`."""
        self.last, self._last_at = text, time.monotonic()

    def add(self, kind: str, text: str) -> None:
        """Log a problem and keep its text in `last`."""
        self.note(text)
        self.log(kind, text)

    def log(self, kind: str, text: str) -> None:
        """Log a warning that is no problem in itself."""
        now = time.monotonic()
        if now - self._logged.get(kind, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged[kind] = now
            self._log(text)


class Growth:
    """Tells by how much numbers have grown."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def __call__(self, name: str, value: int) -> int:
        """Return the difference of a number from the last call with this name, at first from 0."""
        before, self._last[name] = self._last.get(name, 0), value
        return value - before


class Health:
    """Counts, speed and warnings of one node; `log` writes a line to the log as a warning."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self.counts, self.speed, self.warnings = Counts(), Speed(), Warnings(log)


class Reporter:
    """Publishes /diagnostics, stamped by the node's clock, and ~/statistics. For one thread at a time."""

    def __init__(self, node: Node, health: Health) -> None:
        self._node, self._health = node, health
        self._growth = Growth()
        self._trim = Trim()
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._statistics = node.create_publisher(Float64MultiArray, "~/statistics", 10)

    def report(
        self, camera: str, state: str, error: object, inputs: Status | None, queued: int, values: dict[str, object]
    ) -> None:
        """Publish both now.

        Args:
            camera: name of the camera.
            state: of the node's life cycle.
            error: why the network cannot be run; None if it can.
            inputs: what is unusual about the inputs, if anything.
            queued: number of windows that wait.
            values: what to publish beside the state, counts, rates and the last problem.
        """
        counts, warnings = self._health.counts, self._health.warnings
        if not queued:
            self._trim()
        rates = self._health.speed.rates(counts.event_filter.received)
        level, text = self._assess(state, error, inputs, rates.image_rate)
        last = {"last_error": warnings.last, "last_error_s_ago": warnings.age() if warnings.last else ""}
        values = {"state": state, **counts.values(), **rates._asdict(), "queued_windows": queued, **values, **last}
        name = self._node.get_fully_qualified_name() + REPORT_SUFFIX
        status = DiagnosticStatus(level=level, name=name, message=text, hardware_id=camera)
        status.values = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)
        self._statistics.publish(statistics(rates, counts, queued))

    def _assess(self, state: str, error: object, inputs: Status | None, image_rate: float) -> Status:
        counts, last = self._health.counts, self._health.warnings.last
        problems, failed = self._growth("problems", counts.problems()), self._growth("failed", counts.failed_windows)
        if state != "active":
            return DiagnosticStatus.OK, state
        if error:
            return DiagnosticStatus.ERROR, str(error)
        if failed > 0 and not image_rate:
            return DiagnosticStatus.ERROR, last
        if inputs:
            return inputs
        return (DiagnosticStatus.WARN, last) if problems > 0 else (DiagnosticStatus.OK, "reconstructing")


def read_reports(data: bytes) -> dict[str, dict[str, str]]:
    """Return the reports of reconstruction nodes in a serialized DiagnosticArray: values by the node's full name.

    Raises:
        DecodeError: the bytes are no DiagnosticArray.
    """
    statuses = deserialize(DiagnosticArray, data).status
    ours = [status for status in statuses if status.name.endswith(REPORT_SUFFIX)]
    return {s.name.removesuffix(REPORT_SUFFIX): {item.key: item.value for item in s.values} for s in ours}


def statistics(rates: Rates, counts: Counts, queued: int) -> Float64MultiArray:
    """Return numbers to plot, in a fixed order; the label of the only dimension has their names."""
    values: dict[str, float] = {
        **rates._asdict(),
        "queued_windows": queued,
        "dropped_events": counts.dropped_events(),
        "dropped_windows": counts.dropped_windows(),
        "merged_windows": counts.queue.merged_windows,
        "lost_messages": counts.lost_messages,
    }
    message = Float64MultiArray(data=[*map(float, values.values())])
    message.layout.dim = [MultiArrayDimension(label=",".join(values), size=len(values), stride=len(values))]
    return message


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def resident_mb() -> float:
    """Return the MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / MIB


def memory(device: torch.device | None) -> dict[str, float]:
    """Return the MiB in use: by this process, and by torch on its GPU, unless that has failed."""
    found = {"process_memory_mb": round(resident_mb(), 1)}
    if device is not None and device.type == "cuda":
        import torch

        with suppress(RuntimeError):
            free, total = torch.cuda.mem_get_info(device)
            names = "device_memory_mb", "device_memory_free_mb", "device_memory_total_mb"
            sizes = torch.cuda.memory_reserved(device), free, total
            found |= {name: round(size / MIB, 1) for name, size in zip(names, sizes, strict=True)}
    return found


class Trim:
    """Gives memory back to the system that glibc's malloc keeps after a burst of events; a no-op without glibc."""

    def __init__(self) -> None:
        self._malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._least = math.inf

    def __call__(self) -> None:
        """To be called from time to time, when nothing waits. Takes milliseconds where memory has grown, else none."""
        now = resident_mb()
        if self._malloc_trim and now > self._least + GROWTH_MB:
            self._malloc_trim(0)
            now = self._least = resident_mb()
        self._least = min(self._least, now)
