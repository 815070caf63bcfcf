"""What the node counted, as diagnostic_msgs for /diagnostics."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.impl.rcutils_logger import RcutilsLogger

from ..intake import IntakeCounts
from ..wire.event_packet import PacketCounts
from .backlog import BacklogCounts

LOG_EVERY_S = 5.0


@dataclass
class Counts:
    """Everything that came in, and what became of it.

    intake.received = used_events + intake.outside + intake.late + backlog.skipped_events + failed_events + pending.
    """

    intake: IntakeCounts = field(default_factory=IntakeCounts)
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
    resets: int = 0

    def dropped_events(self) -> int:
        """Events that came in and never will be in an image."""
        return self.intake.outside + self.intake.late + self.backlog.skipped_events + self.failed_events

    def pending_events(self) -> int:
        """Events that came in and are in no image yet."""
        return self.intake.received - self.used_events - self.dropped_events()

    def troubles(self) -> int:
        """A number that grows whenever something was lost or refused."""
        messages = self.lost_messages + self.malformed_messages + self.wrong_size_messages
        messages += self.packets.missing_packets + self.packets.unknown_words
        return messages + self.dropped_events() + self.backlog.merged_windows + self.failed_windows

    def values(self) -> dict[str, int]:
        """All counts by name, flat, and the sums of them that one asks for first."""
        sums = {"dropped_events": self.dropped_events(), "pending_events": self.pending_events()}
        values = asdict(self)
        intake, backlog, packets = values.pop("intake"), values.pop("backlog"), values.pop("packets")
        return {
            **{f"{name}_events" if name != "time_jumps" else name: n for name, n in intake.items()},
            **backlog,
            **packets,
            **values,
            **sums,
        }

    def summary(self) -> str:
        """All of it in one line of text."""
        return (
            f"{self.messages} messages ({self.malformed_messages} malformed, {self.wrong_size_messages} of a wrong"
            f" size, {self.lost_messages} lost); {self.intake.received} events: {self.used_events} used for"
            f" {self.images} images, {self.dropped_events()} dropped, {self.pending_events()} pending; windows merged"
            f" {self.backlog.merged_windows}, skipped {self.backlog.skipped_windows}, failed {self.failed_windows}"
        )


class Troubles:
    """Warnings of what was lost or refused. Used by both threads."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self.last = ""
        self._logger = logger
        self._told: dict[str, float] = {}

    def add(self, kind: str, text: str) -> None:
        """Warn, and keep the text in `last`."""
        self.last = text
        self.tell(kind, text)

    def tell(self, kind: str, text: str) -> None:
        """Warn, of each kind at most once in LOG_EVERY_S. (rclpy's throttle knows places in the code, not kinds.)"""
        now = time.monotonic()
        if now - self._told.get(kind, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._told[kind] = now
            self._logger.warning(text)


def diagnostic_array(stamp: Time, name: str, level: bytes, message: str, values: dict[str, object]) -> DiagnosticArray:
    """One status in a DiagnosticArray."""
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id="event camera")
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array
