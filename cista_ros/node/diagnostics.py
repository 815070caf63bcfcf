"""What the node tells of itself: diagnostic_msgs on /diagnostics, numbers to plot on ~/statistics, warnings."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.impl.rcutils_logger import RcutilsLogger
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from .counts import Counts, Rates

LOG_EVERY_S = 5.0


class Troubles:
    """Warnings of what was lost or refused. Used by both threads."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._last, self._last_at = "", 0.0
        self._logger = logger
        self._told: dict[str, float] = {}

    @property
    def last(self) -> str:
        """The last of them."""
        return self._last

    @last.setter
    def last(self, text: str) -> None:
        self._last, self._last_at = text, time.monotonic()

    def age(self) -> float:
        """Seconds since the last."""
        return time.monotonic() - self._last_at

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
    status.values = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def statistics(rates: Rates, counts: Counts, queued: int) -> Float64MultiArray:
    """Numbers to plot, in an order that does not change; the label of the only dimension has their names."""
    values = {
        **asdict(rates),
        "queued_windows": queued,
        "dropped_events": counts.dropped_events(),
        "dropped_windows": counts.dropped_windows(),
        "merged_windows": counts.backlog.merged_windows,
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
