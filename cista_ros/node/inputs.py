"""What the node subscribes to, and how it becomes windows. All of it in the executor's thread, and cheap."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from rclpy.node import Node
from rclpy.qos import qos_profile_system_default
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from ..errors import CistaError, DecodeError, EventError
from ..event_filter import EventFilter
from ..window_maker import WindowMaker
from ..windows import Window
from ..wire.event_packet import PacketCounts
from ..wire.ros_types import EventMessage
from .counts import Counts
from .diagnostics import Troubles
from .event_subscription import EventSubscription
from .message_types import from_bytes
from .parameters import Settings
from .sync import SyncTopic

IDLE_STEP_S = 0.05
INFO_TOPIC = "events/camera_info"


@dataclass
class Inputs:
    """The events, the camera_info, and the stamps that windows may end at.

    Args:
        node: whose subscriptions these are.
        settings, counts, troubles: the node's.
        on_windows: is given the windows that are complete, each time that there are any.
    """

    node: Node
    settings: Settings
    counts: Counts
    troubles: Troubles
    on_windows: Callable[[list[Window]], None]

    def __post_init__(self) -> None:
        self.windows: WindowMaker | None = None
        self.frame_id = ""
        self.camera_info: CameraInfo | None = None
        self.camera_binning = 1, 1
        self.last_message = time.monotonic()
        self.clock_offset_s = 0.0
        self._refusal = ""
        self.sync = SyncTopic(self.node, self._on_stamp, self.counts, self.troubles)
        self._events: EventSubscription | None = None
        self._info: Subscription | None = None
        self._size = 0, 0
        self._seen = self._idle_steps = 0

    @property
    def topic_name(self) -> str:
        """The events' resolved topic."""
        return self.node.resolve_topic_name("events")

    @property
    def subscribed(self) -> bool:
        """Whether events are subscribed to now."""
        return self._events is not None

    def subscribe(self) -> None:
        """Let messages come. CistaError if the events cannot be subscribed to."""
        self.last_message = time.monotonic()
        types = self.settings.events_type, self.settings.event_time
        try:
            self._events = EventSubscription(
                self.node, "events", self._on_events, self._on_lost, self.counts.packets, *types
            )
        except CistaError as error:
            self._refusal = f"{self.topic_name} cannot be subscribed: {error}"
            raise
        self._refusal = ""
        self._info = self.node.create_subscription(
            CameraInfo, INFO_TOPIC, self._on_camera_info, qos_profile_system_default, raw=True
        )
        self.sync.want(self.settings.windows == "sync")

    def unsubscribe(self) -> None:
        """Let none come any more; what the last ones said of the camera is forgotten."""
        if self._events:
            self._events.destroy()
            self.node.destroy_subscription(self._info)
            self._events = self._info = self.camera_info = None
        self.sync.want(False)

    def take_waiting(self) -> None:
        """Handle the messages that have come, while the executor cannot."""
        if self._events:
            self._events.take_waiting()

    def end_stream(self) -> list[Window]:
        """The windows that are left; the next message begins a stream, of whatever sensor size."""
        windows, self.windows = self.windows, None
        if self._events:
            self._events.forget()
        return windows.restart() if windows else []

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the sensor, by the last message that could be used."""
        return self._size

    def restart(self) -> None:
        """Close the open window; what comes begins a new stream of the same sensor."""
        if self.windows:
            self._hand_on(self.windows.restart())

    def adjust(self, settings: Settings) -> None:
        """Go on with other settings."""
        old, self.settings = self.settings, settings
        if self.windows:
            event_filter = self.windows.event_filter
            event_filter.max_gap_ns = settings.max_gap_ns
            if settings.window_choice != old.window_choice:
                self._hand_on(
                    self.windows.recut(settings.windower(event_filter.height, event_filter.width, self.sync.stamps))
                )
        # Only now: it may be a stamp that the open window ended at.
        self.sync.want(self.subscribed and settings.windows == "sync")

    def flush_if_idle(self) -> None:
        """Close the open window if no message came for so long. To be called every IDLE_STEP_S.

        Counted in calls, not by the clock: while this thread was busy, messages may have come that it did not take yet.
        """
        idle = self.counts.messages == self._seen
        self._seen = self.counts.messages
        self._idle_steps = self._idle_steps + 1 if idle else 0
        timeout = self.settings.idle_timeout
        if self.windows and timeout and self._idle_steps * IDLE_STEP_S >= timeout:
            self._hand_on(self.windows.flush())

    def other_types(self) -> str:
        """The types on the events' topic that we cannot take, as text; empty if there are none."""
        return self._events.other_types() if self._events else ""

    @property
    def refusal(self) -> str:
        """Why the events cannot be subscribed to; empty if they can, or if that was not tried yet."""
        return self._events.refusal if self._events else self._refusal

    @property
    def unmet_qos(self) -> str:
        """Why a publisher of the events cannot reach us, with both sides' QoS; empty if all can."""
        return self._events.unmet if self._events else ""

    @property
    def silent(self) -> bool:
        """Whether no message has come for longer than is usual."""
        silence = time.monotonic() - self.last_message
        return self.counts.messages == 0 or silence > max(1.0, self.settings.idle_timeout)

    @property
    def open_events(self) -> int:
        """Events in the window that is still open."""
        return self.windows.open_events if self.windows else 0

    def _on_events(self, data: bytes) -> None:
        self.last_message = time.monotonic()
        self.counts.messages += 1
        assert self._events
        packets = replace(self.counts.packets)
        try:
            message = self._events.decode(data)
        except DecodeError as error:
            self._tell_of_packets(packets)
            self.counts.malformed_messages += 1
            self.troubles.add("malformed", f"Skipped a message on {self.topic_name}: {error}")
            return
        self._tell_of_packets(packets)
        if not self._is_of_our_size(message):
            return
        assert self.windows
        event_filter = self.windows.event_filter
        self.frame_id = message.frame_id
        if len(message.events):
            self.clock_offset_s = (message.stamp - int(message.events["t"][-1])) / 1e9
        before = replace(event_filter.counts)
        self._hand_on(self.windows.push(message.events, message.frame_id))
        self._tell_of_events(event_filter, before)

    def _is_of_our_size(self, message: EventMessage) -> bool:
        if self.windows is None:
            try:
                self.windows = self._begin(message.height, message.width)
            except EventError as error:
                self.counts.wrong_size_messages += 1
                self.troubles.add("size", f"Skipped a message on {self.topic_name}: {error}")
                return False
        event_filter = self.windows.event_filter
        if (message.height, message.width) == (event_filter.height, event_filter.width):
            return True
        self.counts.wrong_size_messages += 1
        self.troubles.add(
            "size",
            f"Skipped a message of {message.width}x{message.height} pixels on {self.topic_name}: it was"
            f" {event_filter.width}x{event_filter.height} before. Call ~/reset to take the new size.",
        )
        return False

    def _begin(self, height: int, width: int) -> WindowMaker:
        event_filter = EventFilter(height, width, self.counts.event_filter, self.settings.max_gap_ns)
        self._size = height, width
        return WindowMaker(event_filter, self.settings.windower(height, width, self.sync.stamps))

    def _hand_on(self, windows: list[Window]) -> None:
        if windows:
            self.on_windows(windows)

    def _tell_of_packets(self, before: PacketCounts) -> None:
        missing = self.counts.packets.missing_packets - before.missing_packets
        unknown = self.counts.packets.unknown_words - before.unknown_words
        if missing or unknown:
            self.troubles.add(
                "packets",
                f"{missing} packets were missing before one on {self.topic_name}, in which {unknown} words have unknown"
                " codes",
            )

    def _tell_of_events(self, event_filter: EventFilter, before: object) -> None:
        counts = event_filter.counts
        if counts == before:
            return
        outside, late, stray, back, gaps = (
            getattr(counts, name) - getattr(before, name) for name in ("outside", "late", "stray", "time_jumps", "gaps")
        )
        if back or gaps:
            self.troubles.tell("jump", f"Time jumped {'back' if back else 'forward'}: a new stream begins.")
        if outside or late:
            self.troubles.add(
                "events",
                f"Dropped {outside} events outside the {event_filter.width}x{event_filter.height} sensor and"
                f" {late} older than those before them, on {self.topic_name}",
            )
        if stray:
            publishers = self.node.count_publishers(self.topic_name)
            self.troubles.add(
                "stray",
                f"Dropped {stray} events on {self.topic_name} whose time is far from that of the messages before and"
                f" after them; the topic has {publishers} publisher{'s' if publishers != 1 else ''}",
            )

    def _on_camera_info(self, data: bytes) -> None:
        try:
            info = from_bytes(CameraInfo, data)
        except DecodeError as error:
            self.counts.malformed_messages += 1
            self.troubles.add("camera_info", f"Skipped a camera_info: {error}")
            return
        self.camera_binning = info.binning_x, info.binning_y
        self.camera_info = info

    def _on_stamp(self, stamp: int) -> None:
        if self.windows:
            self._hand_on(self.windows.add_stamp(stamp))
        else:
            self.sync.stamps.add(stamp)

    def _on_lost(self, count: int) -> None:
        self.counts.lost_messages += count
        self.troubles.add("lost", f"{count} messages of {self.topic_name} were lost on the way here")
