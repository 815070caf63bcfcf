"""The subscriptions of the node, and how their messages become windows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import qos_profile_system_default
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from ..errors import CistaError, DecodeError, EventError
from ..event_filter import EventFilter
from ..events import NS, trigger_times
from ..input_check import InputCheck, Pace
from ..noise_filter import make_noise_filter
from ..sync_stamps import SyncStamps
from ..trigger_pairs import TriggerPairs
from ..window_maker import WindowMaker
from ..windows import Window, Windower
from ..wire import cdr
from ..wire.ros_types import CAMERA_INFO, EVENT_ARRAY, EVENT_TYPES, CameraInfoMessage, EmptyMessageError, EventMessage
from .diagnostics import Growth, Health, Status
from .images import load_camera_info
from .parameters import INFO_TOPIC, Settings
from .topics import LOOK_EVERY_S, EventTopic, SyncTopic

IDLE_STEP_S = 0.05
# Event times further from their message's header stamp than this are from another clock.
CLOCK_OFFSET_S = 1.0


class Inputs:
    """The events, the camera_info, and the stamps that windows may end at.

    Its callbacks run in one callback group; all methods may be called from any thread.

    Args:
        node: the node that subscribes.
        settings, health: the node's.
        on_windows: called with the windows that are complete, if any, while the lock is held.
        group: callback group of the subscriptions.
        lock: held while windows are made or changed.

    Attributes:
        camera_info: the latest one received or that of camera_info_url, or None.

    Raises:
        CalibrationError: camera_info_url cannot be read.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        health: Health,
        on_windows: Callable[[list[Window]], None],
        group: CallbackGroup,
        lock: threading.RLock,
    ) -> None:
        self._node, self._settings, self._on_windows, self._group, self._lock = node, settings, on_windows, group, lock
        self._counts, self._warnings = health.counts, health.warnings
        self.topic_name = node.resolve_topic_name("events")
        self._calibration = calibration(settings)
        self.camera_info = self._calibration and self._calibration[0]
        self._stamps = SyncStamps(self._counts.sync)
        self._pairs = TriggerPairs(settings.trigger_delay * NS)
        self._has_frames = False  # the frames on sync, which triggers wait for
        self._windows: WindowMaker | None = None
        self._events: EventTopic | None = None
        self._sync: SyncTopic | None = None
        self._info: Subscription | None = None
        self._check: InputCheck | None = None
        self._refusal, self._clock_offset_s = "", 0.0
        self._last_message = time.monotonic()
        self._pace = Pace()
        self._growth = Growth()
        self._steps = self._idle_steps = 0

    @property
    def subscribed(self) -> bool:
        """Whether the node is subscribed to events now."""
        return self._events is not None

    @property
    def joined_late(self) -> bool:
        """Whether the publisher had sent messages before the first one received."""
        return self._events is not None and self._events.joined_late is not False

    @property
    def camera_name(self) -> str:
        """The camera's name: that of its calibration, else the namespace of its topic."""
        if self._calibration and self._calibration[1]:
            return self._calibration[1]
        return (self.topic_name.rpartition("/")[0] or self.topic_name).strip("/")

    def values(self) -> dict[str, object]:
        """Return what the diagnostics say of the inputs, beside the counts."""
        return {
            "open_events": self._windows.open_events if self._windows else 0,
            "idle_timeout_s": self._idle_timeout,
            "clock_offset_s": self._clock_offset_s,
            "trigger_delay_s": self._pairs.delay / NS,
            "unpaired_frames": self._pairs.unpaired_frames,
        }

    def assess(self) -> Status | None:
        """Return why no events arrive; None if they do."""
        topic, timeout = self._events, max(1.0, self._idle_timeout)
        silent = self._counts.messages == 0 or time.monotonic() - self._last_message > timeout
        refusal = topic.refusal if topic else self._refusal
        if refusal and (silent or not topic):
            return DiagnosticStatus.ERROR, refusal
        if not topic:
            return DiagnosticStatus.OK, "idle: the images have no subscribers"
        if not silent:
            return None
        if unmet := topic.unmet:
            return DiagnosticStatus.ERROR, unmet
        if other := topic.other_types():
            text = f"{self.topic_name} has type {other}; this node reads {', '.join(EVENT_TYPES)}"
            self._warnings.add("type", text)
            return DiagnosticStatus.ERROR, text
        return DiagnosticStatus.WARN, f"no events on {self.topic_name}"

    @property
    def _idle_timeout(self) -> float:
        """Seconds of silence after which the open window ends, at the pace of the events; 0: never."""
        return self._settings.idle_timeout / self._pace()

    def subscribe(self) -> None:
        """Subscribe to events, camera_info and, with windows=sync or trigger, the stamps. CistaError if that fails."""
        with self._lock:
            self._last_message = time.monotonic()
            types = self._settings.events_type, self._settings.event_time
            try:
                self._events = EventTopic(
                    self._node, "events", self._on_events, self._on_lost, self._counts.packets, *types, self._group
                )
            except CistaError as error:
                self._refusal = f"cannot subscribe to {self.topic_name}: {error}"
                raise
            self._refusal = ""
            qos, group = qos_profile_system_default, self._group
            self._info = self._node.create_subscription(
                CameraInfo, INFO_TOPIC, self._on_camera_info, qos, callback_group=group, raw=True
            )
            self._follow_stamps()

    def unsubscribe(self) -> None:
        """Unsubscribe, and discard the received camera_info."""
        with self._lock:
            if self._events:
                self._events.destroy()
                self._events = None
            if self._info:
                self._node.destroy_subscription(self._info)
                self._info = None
            self.camera_info = self._calibration and self._calibration[0]
            self._follow_stamps()

    def _follow_stamps(self) -> None:
        """Subscribe to the stamps if windows end at them, else unsubscribe and discard those that wait."""
        if self._events and self._settings.windows in ("sync", "trigger"):
            self._sync = self._sync or SyncTopic(self._node, "sync", self._on_stamp, self._group)
            return
        if self._sync:
            self._sync.destroy()
            self._sync = None
        self._stamps.clear()

    def end_stream(self) -> list[Window]:
        """Return the open windows. The next message begins a new stream of any sensor size."""
        with self._lock:
            windows, self._windows = self._windows, None
            self._pace = Pace()
            if self._events:
                self._events.restart()
            return windows.restart() if windows else []

    def restart(self) -> None:
        """Close the open window; the next message begins a new stream of the same sensor."""
        with self._lock:
            if self._windows:
                self._on_windows(self._windows.restart())

    def adjust(self, settings: Settings) -> None:
        """Apply new settings. If camera_info_url cannot be read, raise CalibrationError and change nothing."""
        with self._lock:
            old = self._settings
            if settings.camera_info_url != old.camera_info_url:
                self._calibration = calibration(settings)
                self.camera_info = self._calibration and self._calibration[0]
            self._settings = settings
            if self._windows:
                event_filter = self._windows.event_filter
                event_filter.max_gap_ns = settings.max_gap_ns
                if settings.window_choice != old.window_choice:
                    self._on_windows(self._windows.flush())
                    self._stamps.clear()
                    self._pairs = TriggerPairs(settings.trigger_delay * NS)
                    self._windows.recut(self._windower(event_filter.height, event_filter.width))
            if settings.filter_choice != old.filter_choice:
                self._on_windows(self.end_stream())
            # Last, because it may discard the stamps, and the open window may have ended at one.
            self._follow_stamps()

    def step(self) -> None:
        """Follow the publishers, and close the open window after `idle_timeout`. To be called every IDLE_STEP_S.

        It counts its calls instead of reading the clock, because messages may be waiting while the thread is busy.
        """
        with self._lock:
            self._steps += 1
            if self._steps % round(LOOK_EVERY_S / IDLE_STEP_S) == 0:
                self._look()
            idle = not self._growth("messages", self._counts.messages)
            self._idle_steps = self._idle_steps + 1 if idle else 0
            timeout = self._idle_timeout
            if self._windows and timeout and self._idle_steps * IDLE_STEP_S >= timeout:
                self._on_windows(self._windows.flush())

    def _look(self) -> None:
        if self._events:
            self._events.look()
        if not self._sync:
            return
        if self._growth("unpaired", lone := self._pairs.unpaired_frames) > 0:
            text = f"So far {lone} frames on {self._sync.topic_name} belong to no trigger"
            self._warnings.add("pairs", f"{text}; `cista sync` tells trigger_delay")
        counts = self._counts.sync
        if self._growth("missed", counts.unsynced_windows + counts.late) > 0:
            triggered = self._settings.windows == "trigger"
            end = f"trigger on {self.topic_name}" if triggered else f"stamp on {self._sync.topic_name}"
            self._warnings.add(
                "sync",
                f"So far {counts.unsynced_windows} windows ended without a {end}, and"
                f" {counts.late} stamps arrived after their events had been used",
            )
        try:
            self._sync.look()
        except CistaError as error:
            self._warnings.add("sync_type", f"{self._sync.topic_name}: {error}")
        self._has_frames = self._node.count_publishers(self._sync.topic_name) > 0

    def _on_events(self, data: bytes) -> None:
        with self._lock:
            if not self._events:  # unsubscribed while this message waited for the lock
                return
            self._last_message = time.monotonic()
            self._counts.messages += 1
            try:
                self._take(self._events.decode(data))
            except EmptyMessageError:
                pass
            except DecodeError as error:
                self._skip(self.topic_name, error)
            self._warn_of_losses()

    def _take(self, message: EventMessage) -> None:
        try:
            windows = self._stream_of(message)
        except EventError as error:
            self._counts.wrong_size_messages += 1
            self._warnings.add("size", f"Skipped a message on {self.topic_name}: {error}")
            return
        if "\ufffd" in message.frame_id:
            self._warnings.log("frame_id", f"The frame_id of messages on {self.topic_name} is not valid UTF-8")
        if len(message.events):
            last = int(message.events["t"][-1])
            self._pace.add(self._last_message, last)
            self._check_clock((message.stamp - last) / NS)
        for text in self._check.observe(message.events) if self._check else []:
            self._warnings.log(text, f"{self.topic_name}: {text}")
        self._counts.triggers += len(message.triggers)
        if self._settings.windows == "trigger":
            self._add_triggers(message)
        self._on_windows(windows.push(message.events, message.frame_id))

    def _stream_of(self, message: EventMessage) -> WindowMaker:
        """Return the open stream, or begin one. EventError if the message has another or an impossible sensor size."""
        size, settings = (message.height, message.width), self._settings
        if self._windows:
            expected = self._windows.event_filter.height, self._windows.event_filter.width
            advice = "as before. Call ~/reset to accept the new size."
        else:
            expected, advice = settings.sensor_size or size, "set by sensor_width and sensor_height."
        if size != expected:
            (height, width), pixels = expected, f"{message.width}x{message.height} pixels"
            raise EventError(f"its sensor has {pixels}; expected {width}x{height}, {advice}")
        if not self._windows:
            counts, noise_filter = self._counts.event_filter, make_noise_filter(*size, *settings.filter_choice)
            event_filter = EventFilter(*size, counts, settings.max_gap_ns, noise_filter)
            self._check = InputCheck(*size, counts, noise_filter)
            self._windows = WindowMaker(event_filter, self._windower(*size))
        return self._windows

    def _windower(self, height: int, width: int) -> Callable[[], Windower]:
        return self._settings.windower(height, width, self._stamps, self._pairs.frame_stamps)

    def _check_clock(self, offset: float) -> None:
        self._clock_offset_s = offset
        if abs(offset) > CLOCK_OFFSET_S and self._events:
            advice = "" if EVENT_TYPES[str(self._events.kind)] == EVENT_ARRAY else " Set event_time to host."
            self._warnings.log(
                "clock",
                f"Events on {self.topic_name} are stamped {abs(offset):.6g} s {'before' if offset > 0 else 'after'}"
                f" their messages: TF and message_filters cannot match the images.{advice}",
            )

    def _warn_of_losses(self) -> None:
        topic, warnings, counted = self.topic_name, self._warnings, vars(self._counts.event_filter)
        packets = self._counts.packets
        missing = self._growth("missing_packets", packets.missing_packets)
        unknown = self._growth("unknown_words", packets.unknown_words)
        outside, late, stray, back, gaps = (
            self._growth(name, counted[name]) for name in ("outside", "late", "stray", "time_jumps", "gaps")
        )
        if missing:
            warnings.add("packets", f"{missing} packets are missing before one on {topic}")
        if unknown:
            warnings.add("words", f"Skipped {unknown} words with unknown codes in a packet on {topic}")
        if back or gaps:
            warnings.log("jump", f"Time jumped {'back' if back else 'forward'}: a new stream begins.")
        if self._windows and (outside or late):
            sensor = f"{self._windows.event_filter.width}x{self._windows.event_filter.height} sensor"
            warnings.add(
                "events",
                f"Dropped {outside} events outside the {sensor} and {late} older than those before them, on {topic}",
            )
        if stray:
            publishers = self._node.count_publishers(topic)
            warnings.add(
                "stray",
                f"Dropped {stray} events on {topic} whose time is far from that of the messages before and after them;"
                f" the topic has {publishers} publisher{'s' if publishers != 1 else ''}",
            )

    def _on_camera_info(self, data: bytes) -> None:
        try:
            info = cdr.decode(CAMERA_INFO, data)
        except DecodeError as error:
            self._skip(self._node.resolve_topic_name(INFO_TOPIC), error)
            return
        if not self._calibration:
            self.camera_info = info

    def _on_stamp(self, data: bytes) -> None:
        with self._lock:
            if not self._sync:
                return
            try:
                stamp = cdr.decode_stamp(data)
            except DecodeError as error:
                self._skip(self._sync.topic_name, error)
                return
            for end in self._pairs.add_frame(stamp) if self._settings.windows == "trigger" else [stamp]:
                self._add_stamp(end)

    def _add_triggers(self, message: EventMessage) -> None:
        number = self._settings.trigger_input
        times = trigger_times(message.triggers, self._settings.trigger_edge, None if number < 0 else number)
        for time_ in times.tolist():
            paired = self._pairs.add_trigger(time_)
            for end in paired if self._has_frames else [time_]:
                self._add_stamp(end)

    def _add_stamp(self, end: int) -> None:
        if self._windows:
            self._on_windows(self._windows.add_stamp(end))
        else:
            self._stamps.add(end)

    def _skip(self, topic: str, error: DecodeError) -> None:
        self._counts.malformed_messages += 1
        self._warnings.add(f"malformed {topic}", f"Skipped a message on {topic}: {error}")

    def _on_lost(self, count: int) -> None:
        self._counts.lost_messages += count
        self._warnings.add("lost", f"{count} messages on {self.topic_name} were lost in transit")


def calibration(settings: Settings) -> tuple[CameraInfoMessage, str] | None:
    """Read the camera_info and the camera's name at camera_info_url; None without one. Raises CalibrationError."""
    return load_camera_info(settings.camera_info_url) if settings.camera_info_url else None
