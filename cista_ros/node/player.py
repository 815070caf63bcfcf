"""The node `cista_play`: publishes a recording in its own time, once the reconstruction nodes are ready."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import TimeReference
from std_srvs.srv import Trigger

from ..errors import DecodeError, RecordingError
from ..recordings import Recorded, Recording
from ..recordings.convert import Converted, Encode
from ..wire import cdr
from ..wire.event_packet import ENCODINGS
from ..wire.ros_types import EVENT_ARRAY, EVENT_PACKET, IMAGE, KINDS, EventMessage, ImageMessage, Message
from .diagnostics import read_reports
from .images import time_message
from .process import STEP_S, Stop
from .topics import create_publisher, message_class

# Reliable and deep: large messages, and bursts at high rates, must not be lost.
DEPTH = 100
CLOCK_STEP_S = 0.01
ACKNOWLEDGED_S = 10.0
# From when the publisher knows a subscription until the subscription knows the publisher.
MATCHING_S = 0.2
LOG_EVERY_S = 10.0
# Reports are up to a second old: at 30 windows/s this limits a node's queue to about two seconds of playback.
MAX_QUEUED_WINDOWS = 30
MAX_QUEUED_EVENTS = 1 << 22
# A node with unfinished work whose reports do not change for this long is stuck.
STUCK_S = 120.0
# Messages that have not arrived after this many reports, one per second, were lost.
LOST_REPORTS = 5


@dataclass
class Report:
    """The last report of one reconstruction node on /diagnostics."""

    state: str = ""
    messages: int = 0  # received by the node
    pending: int = 0  # events
    open: int = 0  # events of the open window
    queued: int = 0  # windows
    unchanged: int = field(default=0, compare=False)  # number of consecutive reports equal to the one before
    changed: float = field(default_factory=time.monotonic, compare=False)

    def following(self, values: dict[str, str]) -> Report:
        """Return the next report, from its values."""
        texts = (values.get(key, "") for key in ("messages", "pending_events", "open_events", "queued_windows"))
        report = Report(values.get("state", ""), *(int(text) if text.isdecimal() else 0 for text in texts))
        if report == self:
            report.unchanged, report.changed = self.unchanged + 1, self.changed
        return report


class Player(Node):
    """Publishes a recording on the topics that it was recorded from.

    Args:
        recording: the recording.
        rate: speed, times real time.
        clock: also publish /clock.
        keep_pace: pause while a reconstruction node falls behind.
        stop: once set, every method returns early.
        events_as: "keep", "dvs_msgs" (EventArray) or an encoding of EventPacket, whose times may be cut to whole
            microseconds.
    """

    def __init__(
        self, recording: Recording, rate: float, clock: bool, keep_pace: bool, stop: Stop, events_as: str = "keep"
    ) -> None:
        super().__init__("cista_play")
        self._recording, self._rate, self._keep_pace, self._stop = recording, rate, keep_pace, stop
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if clock else None
        self._topics: dict[str, Publisher] = {}
        self._events_as = events_as
        self._encode: Encode | None = None
        # event_array_msgs is the former name of event_camera_msgs.
        kind = EVENT_ARRAY if recording.events_type == EVENT_ARRAY else EVENT_PACKET
        kind = {"keep": kind, "dvs_msgs": EVENT_ARRAY}.get(events_as, EVENT_PACKET)
        self._events = self._publisher(recording.events_topic, kind)
        if recording.frames_topic:
            self._publisher(recording.frames_topic, IMAGE)
        self._triggers = self.create_publisher(TimeReference, "~/triggers", DEPTH)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100, raw=True)
        self._reports: dict[str, Report] = {}  # by node
        self._malformed = self._received = 0  # reports
        self.counts = {"messages": 0, "events": 0, "images": 0, "triggers": 0}
        self._event_messages = 0
        # By node: how many messages it had received, less those that were published, when it was first seen active.
        self._offsets: dict[str, int] = {}
        self._reports_seen = 0

    def wait_for_subscribers(self, nodes: int, subscribers: int) -> None:
        """Wait until the events topic has enough subscribers, and all of them are connected.

        A node that knows the sensor size has prepared its network when it is active.

        Args:
            nodes: number of active reconstruction nodes.
            subscribers: number of subscribers of any kind.
        """
        logged = time.monotonic()
        while not self._stop.is_set():
            missing = self._missing(nodes, subscribers)
            if not missing:
                break
            if time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                self.get_logger().info(f"Waiting for {missing}")
            self._executor.spin_once(0.05)
        if nodes or subscribers:
            time.sleep(MATCHING_S)
        self._note_new_nodes()

    def _missing(self, nodes: int, subscribers: int) -> str:
        """Return what the player waits for, and the present subscribers; empty if nothing is missing."""
        topic, active, found = self._events.topic_name, self._active(), self._subscribers()
        if len(active) < nodes:
            states = [
                f"{name} is {report.state}" + ("" if name in found else f" and not subscribed to {topic}")
                for name, report in self._reports.items()
            ]
            others = ", ".join(sorted(set(found) - set(self._reports)))
            states += [f"other subscribers: {others}"] if others else []
            wanted = "an active reconstruction node" if nodes == 1 else f"{nodes} active reconstruction nodes"
            return f"{wanted} on {topic} ({'; '.join(states) or 'no subscribers'})"
        if len(found) < subscribers:
            return f"{subscribers} subscribers on {topic} ({', '.join(found) or 'none'})"
        pairs = ((self._events.qos_profile, info.qos_profile) for info in self.get_subscriptions_info_by_topic(topic))
        served = [pair for pair in pairs if qos_check_compatible(*pair)[0] != QoSCompatibility.ERROR]
        if self._events.get_subscription_count() < max(nodes, subscribers, len(served)):
            return f"connections to the subscribers on {topic} ({', '.join(found)})"
        return ""

    def _subscribers(self) -> list[str]:
        """Return the full names of all nodes that subscribe to the events."""
        infos = self.get_subscriptions_info_by_topic(self._events.topic_name)
        return [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos]

    def _active(self) -> dict[str, Report]:
        """Return the reports of the active reconstruction nodes that subscribe to the events."""
        found = self._subscribers()
        return {name: report for name, report in self._reports.items() if report.state == "active" and name in found}

    def _on_diagnostics(self, data: bytes) -> None:
        try:
            reports = read_reports(data)
        except DecodeError as error:
            self._malformed += 1
            self.get_logger().warning(
                f"Skipped {self._malformed} malformed diagnostics so far: {error}", throttle_duration_sec=LOG_EVERY_S
            )
            return
        for name, values in reports.items():
            self._reports[name] = self._reports.get(name, Report()).following(values)
            self._received += 1

    def _note_new_nodes(self) -> None:
        """Store the message counts of newly active nodes, and warn of messages that they missed."""
        for name, report in self._active().items():
            if name not in self._offsets:
                self._offsets[name] = report.messages - self._event_messages
                if self._event_messages:
                    self.get_logger().warning(
                        f"{name} became active late: {self._event_messages} messages with events were published before"
                    )

    def play(self, start: float | None, end: float | None) -> None:
        """Publish the recording once, in its own time, from `start` to `end` in seconds since its start.

        Raises:
            RecordingError: a message cannot be read or published, or no message is between start and end.
        """
        due: float | None = None
        last = 0
        self._encode = Encode(self._events_as, True, Converted()) if self._events_as in ENCODINGS else None
        for recorded in self._recording.read(start, end):
            if self._stop.is_set():
                return
            due = time.monotonic() if due is None else due + (recorded.received - last) / 1e9 / self._rate
            last = recorded.received
            try:
                self._wait_until(due, recorded.received)
                due += self._pause_for_nodes()
                self._publish(recorded)
            except (ValueError, AssertionError) as error:  # from the codec, and from rclpy for /clock
                raise RecordingError(
                    f"{self._recording.path}: cannot publish a message on {recorded.topic}: {error}"
                ) from None
        if due is None:
            raise RecordingError(f"{self._recording.path}: no message between --start and --end")

    def finish(self) -> None:
        """Wait until every subscriber has received what was published."""
        deadline = time.monotonic() + ACKNOWLEDGED_S
        for publisher in self._topics.values():
            while not self._stop.is_set() and not publisher.wait_for_all_acked(Duration(seconds=STEP_S)):
                if time.monotonic() > deadline:
                    self.get_logger().warning(f"Not every subscriber acknowledged all of {publisher.topic_name}")
                    break

    def wait_for_images(self) -> bool:
        """Wait until the reconstruction nodes have made images of all events that they received.

        A window that is still open is closed by the node's service ~/reset.

        Returns:
            False if a node did not receive all messages, or stopped working.
        """
        complete = True
        done: set[str] = set()
        closed: set[str] = set()
        logged = time.monotonic()

        def fail(name: str, text: str) -> None:
            nonlocal complete
            complete = False
            done.add(name)
            self.get_logger().error(f"{name} {text}")

        for report in self._reports.values():
            report.unchanged = 0
        while not self._stop.is_set():
            self._note_new_nodes()
            waiting = {name: report for name, report in self._active().items() if name not in done}
            for name in self._offsets.keys() - waiting.keys() - done - self._nodes_in_graph():
                fail(name, "ended before it made images of all events")
            if not waiting:
                break
            for name, report in waiting.items():
                missing = self._event_messages - (report.messages - self._offsets[name])
                idle = report.unchanged >= (1 if missing <= 0 else LOST_REPORTS) and report.pending == report.open
                if idle and report.open and name not in closed:
                    closed.add(name)
                    self._close_window(name)
                elif idle and not report.open:
                    done.add(name)
                    if missing > 0:
                        fail(name, f"did not receive {missing} of {self._event_messages} messages")
                elif time.monotonic() - report.changed > STUCK_S:
                    fail(name, f"makes no progress; {report.pending} events are pending")
            if time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                left = [f"{name} has {r.queued} windows and {r.pending} events left" for name, r in waiting.items()]
                self.get_logger().info(f"Waiting for images: {', '.join(left)}")
            self._executor.spin_once(STEP_S)
        return complete

    def _nodes_in_graph(self) -> set[str]:
        return {f"{space.rstrip('/')}/{name}" for name, space in self.get_node_names_and_namespaces()}

    def _close_window(self, name: str) -> None:
        client: Any = self.create_client(Trigger, f"{name}/reset")
        if client.wait_for_service(STEP_S):
            self._reports[name].unchanged = 0
            client.call_async(Trigger.Request())

    def _wait_until(self, due: float, stamp: int) -> None:
        while (wait := due - time.monotonic()) > 0 and not self._stop.is_set():
            self._publish_clock(stamp - round(wait * self._rate * 1e9))
            self._executor.spin_once(min(wait, CLOCK_STEP_S if self._clock_publisher else STEP_S))
        self._publish_clock(stamp)

    def _pause_for_nodes(self) -> float:
        """Wait while a node is behind; return for how many seconds."""
        self._executor.spin_once(0.0)
        if self._reports_seen == self._received:
            return 0.0
        self._reports_seen = self._received
        self._note_new_nodes()
        began = time.monotonic()
        while self._keep_pace and not self._stop.is_set() and (behind := self._nodes_behind()):
            self.get_logger().warning(
                f"Playing slower than rate {self._rate:g}: {', '.join(behind)} is behind",
                throttle_duration_sec=LOG_EVERY_S,
            )
            self._executor.spin_once(STEP_S)
        return time.monotonic() - began

    def _nodes_behind(self) -> list[str]:
        return [
            name
            for name, report in self._active().items()
            if report.queued > MAX_QUEUED_WINDOWS or report.pending - report.open > MAX_QUEUED_EVENTS
        ]

    def _publish_clock(self, stamp: int) -> None:
        if self._clock_publisher:
            self._clock_publisher.publish(Clock(clock=time_message(stamp)))

    def _publish(self, recorded: Recorded) -> None:
        message = recorded.message
        for sent in self._events_of(message) if isinstance(message, EventMessage) else [message]:
            self._publisher(recorded.topic, KINDS[type(sent)]).publish(cdr.encode(sent))
            self.counts["messages"] += 1
        self.counts["images"] += isinstance(message, ImageMessage)

    def _events_of(self, message: EventMessage) -> Iterator[Message]:
        """Publish the triggers of a message, and yield its events as they are to be published."""
        self.counts["events"] += len(message.events)
        for trigger in message.triggers:
            reference = TimeReference(source=f"input {trigger['id']} {'rising' if trigger['p'] else 'falling'}")
            reference.header.stamp = reference.time_ref = time_message(int(trigger["t"]))
            reference.header.frame_id = message.frame_id
            self._triggers.publish(reference)
            self.counts["triggers"] += 1
        same: Message = message
        if message.packet and self._events_as in ("keep", message.packet.encoding):
            same = message.packet  # goes out as it was recorded
        for sent in self._encode(message) if self._encode and same is message else [same]:
            self._event_messages += 1
            yield sent

    def _publisher(self, topic: str, kind: str) -> Publisher:
        if topic not in self._topics:
            self._topics[topic] = create_publisher(self, message_class(kind), topic, DEPTH)
        return self._topics[topic]
