"""When the reconstruction nodes of a topic have nothing left to do, by what they say on /diagnostics."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node, NodeNameNonExistentError

from ..errors import DecodeError
from .message_types import from_bytes

SUFFIX = ": reconstruction"
# A node that says the same for so long while events are pending will never be done with them.
STUCK_S = 30.0
# A subscriber may be known before its name and its other topics are. For so long it may turn out to be one of ours.
KNOWN_S = 3.0


class Completion:
    """Watches the nodes that subscribe to a topic, from when it is made.

    A node is done when two reports in turn tell of the same messages and of no event that waits, but for those of a
    window that nothing will close.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node, self._topic = node, topic
        self._reports: dict[str, dict[str, str]] = {}
        self._done: set[str] = set()
        self._began = self._news = time.monotonic()
        self._malformed = 0
        self._subscription = node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, 100, raw=True
        )

    def waits_for(self) -> set[str]:
        """The names of the nodes that are not done; nodes of other kinds are not waited for."""
        subscribers = {
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_subscriptions_info_by_topic(self._topic)
        }
        return {name for name in subscribers - self._done if name in self._reports or self._may_report(name)}

    def is_stuck(self) -> bool:
        """Whether nothing has changed for long."""
        return time.monotonic() - self._news > STUCK_S

    def _may_report(self, name: str) -> bool:
        if time.monotonic() - self._began < KNOWN_S:
            return True
        namespace, _, own = name.rpartition("/")
        try:
            published = self._node.get_publisher_names_and_types_by_node(own, namespace or "/")
        except NodeNameNonExistentError:
            return False
        return any(topic == f"{name}/statistics" for topic, _ in published)

    def _on_diagnostics(self, data: bytes) -> None:
        try:
            message = from_bytes(DiagnosticArray, data)
        except DecodeError as error:
            self._malformed += 1
            self._node.get_logger().warning(
                f"Skipped diagnostics ({self._malformed} so far): {error}", throttle_duration_sec=5.0
            )
            return
        for status in message.status:
            if status.name.endswith(SUFFIX):
                self._on_report(status.name.removesuffix(SUFFIX), status)

    def _on_report(self, name: str, status: DiagnosticStatus) -> None:
        values = {item.key: item.value for item in status.values}
        report = {key: values.get(key, "") for key in ("messages", "pending_events", "open_events")}
        before = self._reports.get(name)
        self._reports[name] = report
        if report != before:
            self._news = time.monotonic()
        elif report["pending_events"] == report["open_events"]:
            self._done.add(name)
