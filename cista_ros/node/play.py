"""The player `cista_play`: a recording published in its own time, as raw bytes, events and frames and camera_info."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock

from ..errors import RecordingError
from ..recordings import Recorded, Recording, open_recording
from ..wire import cdr
from ..wire.messages import EVENT_ARRAY, EVENT_PACKET, IMAGE, KINDS, EventMessage, ImageMessage
from .completion import Completion
from .images import time_message
from .message_types import message_class
from .process import STEP_S, Spinner, Stop, ros_process

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
            RecordingError: a message cannot be read, or there is none between start and end.
        """
        began, first = time.monotonic(), None
        for recorded in self._recording.read(start, end):
            if self._stop.is_set():
                return
            first = recorded.received if first is None else first
            self._wait_until(began + (recorded.received - first) / 1e9 / self._rate, recorded.received)
            self._publish(recorded)
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


def _arguments(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("play", description="Publish a recording's events, frames and camera_info.")
    parser.add_argument("recording", help="ROS 1 bag, rosbag2, or ECD text (folder or zip)")
    parser.add_argument("--rate", type=_positive, default=1.0, help="times real time (default 1)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, with the same stamps")
    parser.add_argument("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    parser.add_argument("--start", type=_seconds, help="begin this many seconds into the recording")
    parser.add_argument("--end", type=_seconds, help="end this many seconds into the recording")
    parser.add_argument("--events-topic", help="needed when several topics bear events")
    parser.add_argument("--frames-topic", help="needed when several topics bear images")
    parser.add_argument(
        "--wait-for-subscribers",
        type=_count,
        default=1,
        metavar="N",
        help="start only when so many subscribe the events (default 1; 0: at once)",
    )
    parser.add_argument(
        "--wait-for-images",
        action="store_true",
        help="end only when the nodes that reconstruct the events have made their images of them",
    )
    parser.add_argument("--json", action="store_true", help="print what was published as JSON at the end")
    return parser.parse_args(args)


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def _positive(text: str) -> float:
    if (value := _seconds(text)) == 0:
        raise argparse.ArgumentTypeError("0 is not a positive number")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def main(args: list[str] | None = None) -> None:
    """Play a recording; exit code 0 at its end or on SIGINT and SIGTERM, 2 for bad input."""
    options = _arguments(remove_ros_args(sys.argv if args is None else ["play", *args])[1:])
    topics = {"events_topic": options.events_topic, "frames_topic": options.frames_topic}
    with ros_process("cista_play", args) as stop, open_recording(options.recording, **topics) as recording:
        player = Player(recording, options.rate, options.clock, stop)
        player.wait_for_subscribers(options.wait_for_subscribers)
        player.play(options.start, options.end)
        while options.loop and not stop.is_set():
            player.play(options.start, options.end)
        player.finish()
        if options.wait_for_images:
            player.wait_for_images()
        if options.json:
            print(json.dumps(player.counts))


if __name__ == "__main__":
    main()
