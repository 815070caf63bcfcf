"""What the node counted, as diagnostic_msgs for /diagnostics."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ..intake import IntakeCounts
from .backlog import BacklogCounts


@dataclass
class Counts:
    """Everything that came in, and what became of it.

    intake.received = used_events + intake.outside + intake.late + backlog.skipped_events + failed_events + pending.
    """

    intake: IntakeCounts = field(default_factory=IntakeCounts)
    backlog: BacklogCounts = field(default_factory=BacklogCounts)
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
        return messages + self.dropped_events() + self.backlog.merged_windows + self.failed_windows

    def values(self) -> dict[str, int]:
        """All counts by name, flat, and the sums of them that one asks for first."""
        sums = {"dropped_events": self.dropped_events(), "pending_events": self.pending_events()}
        values = asdict(self)
        intake, backlog = values.pop("intake"), values.pop("backlog")
        return {
            **{f"{name}_events" if name != "time_jumps" else name: n for name, n in intake.items()},
            **backlog,
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


def diagnostic_array(stamp: Time, name: str, level: bytes, message: str, values: dict[str, object]) -> DiagnosticArray:
    """One status in a DiagnosticArray."""
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id="event camera")
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array
