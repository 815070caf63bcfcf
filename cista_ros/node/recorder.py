"""The node `cista_record`: writes the images of a topic, their events and latencies to a folder."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from ..errors import DecodeError
from ..events import binned, concatenate, in_order, inside
from ..util.atomic import write_text
from ..util.drawing import draw_events, write_png
from ..wire import cdr
from ..wire.event_packet import PacketCounts
from ..wire.ros_types import IMAGE, EmptyMessageError
from .diagnostics import LOG_EVERY_S, MAX_WAITING_EVENTS, read_reports
from .topics import LOOK_EVERY_S, EventTopic

# Twice what a node may queue, for its open window and the one in its network: 540 MB.
MAX_EVENTS = 2 * MAX_WAITING_EVENTS
MAX_MESSAGES = 100_000  # with few events each; a message takes some hundred bytes without its events


class WaitingEvents:
    """Events of messages with their arrival times, until their image arrives.

    Attributes:
        dropped: number of events without an image: the oldest above the limits, and those of an earlier stream when
            time goes back.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._messages: deque[tuple[np.ndarray, float]] = deque()
        self._events = 0
        self._dropped_until: int | None = None  # time of the last event dropped because of the limits

    def __len__(self) -> int:
        return self._events

    def add(self, events: np.ndarray, arrival: float) -> bool:
        """Append the events of a message, at least one; return whether others were dropped."""
        messages, dropped = self._messages, self.dropped
        if not in_order(events):
            events = events[np.argsort(events["t"], kind="stable")]
        if messages and events["t"][0] < messages[-1][0]["t"][-1]:
            # A new stream: no more images of the earlier one will arrive.
            self.dropped += self._events
            messages.clear()
            self._events, self._dropped_until = 0, None
        messages.append((events, arrival))
        self._events += len(events)
        while len(messages) > 1 and (self._events > MAX_EVENTS or len(messages) > MAX_MESSAGES):
            oldest, _ = messages.popleft()
            self._events -= len(oldest)
            self.dropped += len(oldest)
            self._dropped_until = int(oldest["t"][-1])
        return self.dropped > dropped

    def take(self, stamp: int) -> tuple[np.ndarray, float | None]:
        """Remove and return the events up to a time, and the arrival time of the first message with a later event.

        The arrival time is None if no such message has arrived, or if it was dropped.
        """
        messages, taken = self._messages, []
        while messages and messages[0][0]["t"][-1] <= stamp:
            taken.append(messages.popleft()[0])
        arrived = None
        if messages:
            events, arrival = messages[0]
            n = int(np.searchsorted(events["t"], stamp, "right"))
            if n:
                taken.append(events[:n])
                messages[0] = events[n:], arrival
            arrived = None if self._dropped_until is not None and self._dropped_until > stamp else arrival
        shown = concatenate(taken)
        self._events -= len(shown)
        return shown, arrived


class Recorder(Node):
    """Writes OUT/frames/%08d.png, OUT/events/%08d.png (the events since the previous image) and OUT/record.json.

    It subscribes to the events once the images have a publisher. A player that waits for the subscription to the events
    therefore waits until the recorder can receive the images.

    An image's latency is the time from the arrival of the message that ends its window (the first with a later event)
    to the arrival of the image. A window that ends because no message came has no latency.
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
        self._subscription: EventTopic | None = None
        self.create_subscription(Image, "image_raw", self._on_image, 100, raw=True)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10, raw=True)
        # Steady, because simulated time may stand still.
        self.create_timer(LOOK_EVERY_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def done(self, idle: float) -> bool:
        """Return whether nothing has arrived for this many seconds and the node reports no pending events."""
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

    def _look(self) -> None:
        if self._subscription:
            self._subscription.look()
        elif self.count_publishers("image_raw"):
            self._subscription = EventTopic(self, "events", self._on_events, self._on_lost, PacketCounts())

    def _on_events(self, data: bytes) -> None:
        self.last_arrival = time.monotonic()
        self.messages += 1
        assert self._subscription
        try:
            message = self._subscription.decode(data)
        except EmptyMessageError:
            return
        except DecodeError as error:
            self._skip("a message with events", error)
            return
        self.events += len(message.events)
        self._width = message.width
        if len(message.events) and self._waiting.add(message.events, self.last_arrival):
            self.get_logger().warning(
                f"No image came for {self._waiting.dropped} events so far; they are not drawn",
                throttle_duration_sec=LOG_EVERY_S,
            )

    def _on_image(self, data: bytes) -> None:
        now = self.last_arrival = time.monotonic()
        try:
            message = cdr.decode(IMAGE, data)
            grey = message.grey8()
        except DecodeError as error:
            self._skip("an image", error)
            return
        events, arrived = self._waiting.take(message.stamp)
        name = f"{len(self.images):08d}.png"
        drawn = self._draw(events, *grey.shape)
        for folder, image in (("frames", grey), ("events", drawn)):
            write_png(self._folder / folder / name, image)
        latency = None if arrived is None else 1000 * (now - arrived)
        self.images.append({"stamp_ns": message.stamp, "events": len(events), "latency_ms": latency})

    def _draw(self, events: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return a drawing of the events, (height, width, 3), also for images that `downscale` made smaller."""
        factor = max(1, self._width // width)
        events = events[inside(events, factor * (height + 1), self._width)]  # excludes those of damaged messages
        coarse = binned(events, factor, height, width)
        return draw_events(coarse[inside(coarse, height, width)], height, width)

    def _on_lost(self, count: int) -> None:
        self.lost += count

    def _on_diagnostics(self, data: bytes) -> None:
        try:
            reports = read_reports(data)
        except DecodeError as error:
            self._skip("diagnostics", error)
        else:
            self.diagnostics = next(iter(reports.values()), self.diagnostics)

    def _skip(self, what: str, error: DecodeError) -> None:
        self.malformed += 1
        self.get_logger().warning(f"Skipped {what}: {error}", throttle_duration_sec=LOG_EVERY_S)
