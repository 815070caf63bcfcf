"""The node's report of itself, once a second."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from ..wire.ros_types import EVENT_TYPES
from .counts import Counts, Recent
from .diagnostics import Troubles, diagnostic_array, statistics
from .images import time_message
from .inputs import Inputs
from .memory import Trim, memory

REPORT_S = 1.0


@dataclass(frozen=True)
class Situation:
    """What the node is at: the state of its life cycle, what waits for the network, and what keeps it from running."""

    state: str
    weights: str
    device: torch.device | None
    queued_windows: int
    not_ready: str


class Reporter:
    """Publishes /diagnostics (stamped by the node's clock) and ~/statistics."""

    def __init__(self, node: Node, counts: Counts, recent: Recent, troubles: Troubles, inputs: Inputs) -> None:
        self._node, self._counts, self._recent = node, counts, recent
        self._troubles, self._inputs = troubles, inputs
        self._troubles_told = self._failed_told = 0
        self._next = time.monotonic() + REPORT_S
        self._trim = Trim()
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._statistics = node.create_publisher(Float64MultiArray, "~/statistics", 10)

    @property
    def due(self) -> bool:
        """Whether the last report is older than it should be, because the executor's timers do not run."""
        return time.monotonic() > self._next

    def report(self, situation: Situation) -> None:
        """Publish both."""
        self._next = time.monotonic() + 1.5 * REPORT_S
        if not situation.queued_windows:
            self._trim()
        counts = self._counts
        rates = self._recent.take(counts.event_filter.received)
        level, text = self._assess(situation, rates.image_rate)
        values: dict[str, object] = {
            "state": situation.state,
            **counts.values(),
            **self._inputs.sync.values(),
            **asdict(rates),
            "queued_windows": situation.queued_windows,
            "open_events": self._inputs.open_events,
            "clock_offset_s": self._inputs.clock_offset_s,
            "device": situation.device or "none",
            "weights": situation.weights,
            **memory(situation.device),
            "last_error": self._troubles.last,
            "last_error_s_ago": self._troubles.age() if self._troubles.last else "",
        }
        stamp = time_message(self._node.get_clock().now().nanoseconds)
        name = f"{self._node.get_fully_qualified_name()}: reconstruction"
        self._diagnostics.publish(diagnostic_array(stamp, name, level, text, values))
        self._statistics.publish(statistics(rates, counts, situation.queued_windows))

    def _assess(self, situation: Situation, image_rate: float) -> tuple[bytes, str]:
        counts, inputs = self._counts, self._inputs
        troubles, failed = counts.troubles(), counts.failed_windows
        more_troubles, more_failed = troubles > self._troubles_told, failed > self._failed_told
        self._troubles_told, self._failed_told = troubles, failed
        if situation.state != "active":
            return DiagnosticStatus.OK, situation.state
        if situation.not_ready:
            return DiagnosticStatus.ERROR, situation.not_ready
        if more_failed and not image_rate:
            return DiagnosticStatus.ERROR, self._troubles.last
        if inputs.refusal and (inputs.silent or not inputs.subscribed):
            return DiagnosticStatus.ERROR, inputs.refusal
        if not inputs.subscribed:
            return DiagnosticStatus.OK, "nobody subscribes to the images"
        if inputs.silent:
            if inputs.unmet_qos:
                return DiagnosticStatus.ERROR, inputs.unmet_qos
            if other := inputs.other_types():
                text = f"{inputs.topic_name} bears {other}; this node takes {', '.join(EVENT_TYPES)}"
                self._troubles.add("type", text)
                return DiagnosticStatus.ERROR, text
            return DiagnosticStatus.WARN, f"no events on {inputs.topic_name}"
        if more_troubles:
            return DiagnosticStatus.WARN, self._troubles.last
        return DiagnosticStatus.OK, "reconstructing"
