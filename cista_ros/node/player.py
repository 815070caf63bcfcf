"""The node `cista_play`: a recording published in its own time, as raw bytes, events and frames and camera_info."""

from __future__ import annotations

import time

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rosgraph_msgs.msg import Clock

from ..errors import RecordingError
from ..recordings import Recorded, Recording
from ..wire import cdr
from ..wire.ros_types import EVENT_ARRAY, EVENT_PACKET, IMAGE, KINDS, EventMessage, ImageMessage
from .completion import Completion
from .images import time_message
from .message_types import message_class
from .process import STEP_S, Spinner
from .stop import Stop

# Reliable and deep: large messages, and bursts when the playback is fast, must not be lost.
QOS = QoSProfile(depth=100)
CLOCK_STEP_S = 0.01
ACKNOWLEDGED_S = 10.0


class Player(Node):
    """Publishes a recording on the topics that it was recorded from.

    Args:
        recording: what to play.
        rate: times real time.
        clock: also publish /clock.
        stop: once set, every method returns early.
    """

    def __init__(self, recording: Recording, rate: float, clock: bool, stop: Stop) -> None:
        super().__init__("cista_play")
        self._recording, self._rate, self._stop = recording, rate, stop
        self._spinner = Spinner(self)
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if clock else None
        self._topics: dict[str, Publisher] = {}
        # event_array_msgs is history: what was recorded under that name goes out under the present one.
        self._publisher(recording.events_topic, EVENT_ARRAY if recording.events_type == EVENT_ARRAY else EVENT_PACKET)
        if recording.frames_topic:
            self._publisher(recording.frames_topic, IMAGE)
        self.counts = {"messages": 0, "events": 0, "images": 0}

    def wait_for_subscribers(self, wanted: int) -> None:
        """Return once so many subscribe the events."""
        events = self._topics[self._recording.events_topic]
        while events.get_subscription_count() < wanted and not self._stop.is_set():
            self.get_logger().info(
                f"Waiting for {wanted} subscribers of {events.topic_name}", throttle_duration_sec=2.0, skip_first=True
            )
            self._spinner.once(0.05)
        if wanted:
            # They were discovered by us; a moment later we are by them.
            time.sleep(0.2)

    def play(self, start: float | None, end: float | None) -> None:
        """Publish the recording once, in its own time, from `start` to `end` in seconds since its start.

        Raises:
            RecordingError: a message cannot be read, or not be sent (ROS 1 knows later times), or there is none between
                start and end.
        """
        began, first = time.monotonic(), None
        for recorded in self._recording.read(start, end):
            if self._stop.is_set():
                return
            first = recorded.received if first is None else first
            try:
                self._wait_until(began + (recorded.received - first) / 1e9 / self._rate, recorded.received)
                self._publish(recorded)
            except (ValueError, AssertionError) as error:  # by our codec; by rclpy, of /clock
                raise RecordingError(
                    f"{self._recording.path}: a message on {recorded.topic} cannot be sent: {error}"
                ) from None
        if first is None:
            raise RecordingError(f"{self._recording.path}: nothing was recorded between --start and --end")

    def finish(self) -> None:
        """Wait until every subscriber has what was published."""
        deadline = time.monotonic() + ACKNOWLEDGED_S
        for publisher in self._topics.values():
            while not self._stop.is_set() and not publisher.wait_for_all_acked(Duration(seconds=STEP_S)):
                if time.monotonic() > deadline:
                    self.get_logger().warning(f"Not all of {publisher.topic_name} was acknowledged.")
                    break

    def wait_for_images(self) -> None:
        """Wait until the reconstruction nodes that subscribe the events have made their images of them."""
        completion = Completion(self, self._topics[self._recording.events_topic].topic_name)
        while not self._stop.is_set() and (names := completion.waits_for()):
            if completion.is_stuck():
                self.get_logger().warning(f"Not waiting any longer for {', '.join(sorted(names))}")
                return
            self._spinner.once(STEP_S)

    def _wait_until(self, due: float, stamp: int) -> None:
        while (wait := due - time.monotonic()) > 0 and not self._stop.is_set():
            self._tell_time(stamp - round(wait * self._rate * 1e9))
            self._spinner.once(min(wait, CLOCK_STEP_S if self._clock_publisher else STEP_S))
        self._tell_time(stamp)

    def _tell_time(self, stamp: int) -> None:
        if self._clock_publisher:
            self._clock_publisher.publish(Clock(clock=time_message(stamp)))

    def _publish(self, recorded: Recorded) -> None:
        message = recorded.message
        # Packets go out as they were recorded.
        sent = message.packet or message if isinstance(message, EventMessage) else message
        self._publisher(recorded.topic, KINDS[type(sent)]).publish(cdr.encode(sent))
        self.counts["messages"] += 1
        if isinstance(message, EventMessage):
            self.counts["events"] += len(message.events)
        self.counts["images"] += isinstance(message, ImageMessage)

    def _publisher(self, topic: str, kind: str) -> Publisher:
        if topic not in self._topics:
            overrides = QoSOverridingOptions.with_default_policies()
            publisher = self.create_publisher(message_class(kind), topic, QOS, qos_overriding_options=overrides)
            self._topics[topic] = publisher
        return self._topics[topic]
