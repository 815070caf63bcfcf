"""The node `cista_record`: images, and the events that made them, from topics into a folder, with latencies."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from ..errors import DecodeError
from ..events import binned, inside
from ..util.atomic import write_text, write_whole
from ..util.drawing import draw_events
from ..wire.event_packet import PacketCounts
from .event_subscription import EventSubscription
from .images import to_grey
from .message_types import from_bytes
from .waiting_events import WaitingEvents


class Recorder(Node):
    """Writes OUT/frames/%08d.png and OUT/events/%08d.png (what happened since the image before), and OUT/record.json.

    An image's latency runs from the arrival here of the message that ends its window (the first with a later event) to
    the image's arrival; a window that ends because no message came has none.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("cista_record")
        self._folder = folder
        for name in ("frames", "events"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.images: list[dict[str, float | int | None]] = []
        self.events = self.messages = self.malformed = self.lost = 0
        self.diagnostics: dict[str, str] = {}
        self.last_arrival: float | None = None
        self._waiting = WaitingEvents()
        self._width = 0  # of the sensor
        self._subscription = EventSubscription(self, "events", self._on_events, self._on_lost, PacketCounts())
        self.create_subscription(Image, "image_raw", self._on_image, 100, raw=True)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10, raw=True)

    def done(self, idle: float) -> bool:
        """Whether nothing has come for so many seconds and the node says that it has nothing left to do."""
        quiet = self.last_arrival is not None and time.monotonic() - self.last_arrival > idle
        return quiet and self.diagnostics.get("pending_events", "0") == "0"

    def write_report(self) -> None:
        """Write OUT/record.json."""
        report = {
            "images": self.images,
            "events": self.events,
            "dropped_events": self._waiting.dropped,
            "messages": self.messages,
            "malformed_messages": self.malformed,
            "lost_messages": self.lost,
            "diagnostics": self.diagnostics,
            "rmw": get_rmw_implementation_identifier(),
        }
        write_text(self._folder / "record.json", json.dumps(report, indent=1))

    def _on_events(self, data: bytes) -> None:
        self.last_arrival = time.monotonic()
        self.messages += 1
        try:
            message = self._subscription.decode(data)
        except DecodeError as error:
            self.malformed += 1
            self.get_logger().warning(f"Skipped a message of events: {error}", throttle_duration_sec=5.0)
            return
        self.events += len(message.events)
        self._width = message.width
        if len(message.events):
            dropped = self._waiting.dropped
            self._waiting.add(message.events, self.last_arrival)
            if self._waiting.dropped > dropped:
                self.get_logger().warning(
                    f"{self._waiting.dropped} events so far are in no drawing: no image came for them",
                    throttle_duration_sec=5.0,
                )

    def _on_image(self, data: bytes) -> None:
        now = self.last_arrival = time.monotonic()
        try:
            message = from_bytes(Image, data)
            grey = to_grey(message)
        except DecodeError as error:
            self.malformed += 1
            self.get_logger().warning(f"Skipped an image: {error}", throttle_duration_sec=5.0)
            return
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        events, arrived = self._waiting.take(stamp)
        name = f"{len(self.images):08d}.png"
        drawn = self._draw(events, message.height, message.width)
        for folder, image in (("frames", grey), ("events", drawn)):
            write_whole(self._folder / folder / name, cv2.imencode(".png", image)[1].tobytes())
        latency = None if arrived is None else 1000 * (now - arrived)
        self.images.append({"stamp_ns": stamp, "events": len(events), "latency_ms": latency})

    def _draw(self, events: np.ndarray, height: int, width: int) -> np.ndarray:
        """The events at an image's size, also where `downscale` made that smaller than the sensor."""
        coarse = binned(events, max(1, round(self._width / width)))
        return draw_events(coarse[inside(coarse, height, width)], height, width)

    def _on_lost(self, count: int) -> None:
        self.lost += count

    def _on_diagnostics(self, data: bytes) -> None:
        try:
            message = from_bytes(DiagnosticArray, data)
        except DecodeError as error:
            self.malformed += 1
            self.get_logger().warning(f"Skipped diagnostics: {error}", throttle_duration_sec=5.0)
            return
        for status in message.status:
            if status.name.endswith(": reconstruction"):
                self.diagnostics = {item.key: item.value for item in status.values}
