"""What the node reports of itself: /diagnostics, ~/statistics to plot, and its use of memory."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from ..wire.ros_types import EVENT_TYPES
from .frame_maker import FrameMaker, LoadedNetwork
from .health import Counts, Rates, Speed, Warnings
from .images import time_message
from .inputs import Inputs
from .worker import Worker

REPORT_S = 1.0
MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes; not 4096 on every ARM machine
# Less than this is not worth the look through the heap.
GROWTH_MB = 64.0


class Reporter:
    """Publishes /diagnostics (stamped by the node's clock) and ~/statistics. For several threads."""

    def __init__(self, node: Node, counts: Counts, speed: Speed, warnings: Warnings, inputs: Inputs) -> None:
        self._node, self._counts, self._speed = node, counts, speed
        self._warnings, self._inputs = warnings, inputs
        self._problems = self._failed = 0
        self._trim = Trim()
        self._lock = threading.Lock()
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._statistics = node.create_publisher(Float64MultiArray, "~/statistics", 10)

    def report(
        self, state: str, weights: str, loaded: LoadedNetwork | None, maker: FrameMaker | None, worker: Worker | None
    ) -> None:
        """Publish both now.

        Args:
            state: of the node's life cycle.
            weights: name of the weights, as far as it is known.
            loaded, maker, worker: the network and what runs it, while they exist.
        """
        with self._lock:
            self._report(state, weights, loaded, maker, worker)

    def _report(
        self, state: str, weights: str, loaded: LoadedNetwork | None, maker: FrameMaker | None, worker: Worker | None
    ) -> None:
        counts, inputs = self._counts, self._inputs
        queued = worker.queue.pending()[0] if worker else 0
        if not queued:
            self._trim()
        rates = self._speed.rates(counts.event_filter.received)
        level, text = self._assess(state, maker, rates.image_rate)
        device = loaded.device if loaded else None
        values: dict[str, object] = {
            "state": state,
            **counts.values(),
            **inputs.sync.values(),
            **asdict(rates),
            "queued_windows": queued,
            "open_events": inputs.open_events,
            "idle_timeout_s": inputs.idle_timeout,
            "clock_offset_s": inputs.clock_offset_s,
            "device": device or "none",
            "weights": loaded.weights if loaded else weights,
            **memory(device),
            "last_error": self._warnings.last,
            "last_error_s_ago": self._warnings.age() if self._warnings.last else "",
        }
        stamp = time_message(self._node.get_clock().now().nanoseconds)
        name = f"{self._node.get_fully_qualified_name()}: reconstruction"
        self._diagnostics.publish(diagnostic_array(stamp, name, inputs.camera_name, level, text, values))
        self._statistics.publish(statistics(rates, counts, queued))

    def _assess(self, state: str, maker: FrameMaker | None, image_rate: float) -> tuple[bytes, str]:
        counts, inputs = self._counts, self._inputs
        problems, failed = counts.problems(), counts.failed_windows
        more_problems, more_failed = problems > self._problems, failed > self._failed
        self._problems, self._failed = problems, failed
        if state != "active":
            return DiagnosticStatus.OK, state
        if maker and maker.error:
            return DiagnosticStatus.ERROR, str(maker.error)
        if more_failed and not image_rate:
            return DiagnosticStatus.ERROR, self._warnings.last
        if inputs.refusal and (inputs.silent or not inputs.subscribed):
            return DiagnosticStatus.ERROR, inputs.refusal
        if not inputs.subscribed:
            return DiagnosticStatus.OK, "idle: the images have no subscribers"
        if inputs.silent:
            if inputs.unmet_qos:
                return DiagnosticStatus.ERROR, inputs.unmet_qos
            if other := inputs.other_types():
                text = f"{inputs.topic_name} has type {other}; this node reads {', '.join(EVENT_TYPES)}"
                self._warnings.add("type", text)
                return DiagnosticStatus.ERROR, text
            return DiagnosticStatus.WARN, f"no events on {inputs.topic_name}"
        if more_problems:
            return DiagnosticStatus.WARN, self._warnings.last
        return DiagnosticStatus.OK, "reconstructing"


def diagnostic_array(
    stamp: Time, name: str, hardware_id: str, level: bytes, message: str, values: dict[str, object]
) -> DiagnosticArray:
    """Return a DiagnosticArray of one status."""
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware_id)
    status.values = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def statistics(rates: Rates, counts: Counts, queued: int) -> Float64MultiArray:
    """Return numbers to plot, in a fixed order; the label of the only dimension has their names."""
    values = {
        **asdict(rates),
        "queued_windows": queued,
        "dropped_events": counts.dropped_events(),
        "dropped_windows": counts.dropped_windows(),
        "merged_windows": counts.queue.merged_windows,
        "lost_messages": counts.lost_messages,
    }
    message = Float64MultiArray(data=[float(value) for value in values.values()])
    size = len(values)
    message.layout.dim = [MultiArrayDimension(label=",".join(values), size=size, stride=size)]
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
        with suppress(RuntimeError):
            free, total = torch.cuda.mem_get_info(device)
            names = "device_memory_mb", "device_memory_free_mb", "device_memory_total_mb"
            sizes = torch.cuda.memory_reserved(device), free, total
            found |= {name: round(size / MIB, 1) for name, size in zip(names, sizes, strict=True)}
    return found


class Trim:
    """Gives memory back to the system that glibc's malloc keeps after a burst of events.

    Without glibc (musl) it does nothing: that malloc keeps nothing.
    """

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
