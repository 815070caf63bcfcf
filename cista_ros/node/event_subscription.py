"""A subscription to events of whatever type their publishers have, and the decoder of their stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ..errors import CistaError
from ..wire import cdr
from ..wire.event_packet import EventStream, PacketCounts
from ..wire.ros_types import EVENT_TYPES, EventMessage
from .message_types import message_class
from .subscription import RawSubscription

LOOK_EVERY_S = 0.1


class EventSubscription:
    """Subscribes a topic of events once it knows of which type they are, and anew when that changes.

    Args:
        node: whose subscription it is.
        topic: its name.
        on_message: called with the bytes of each message; `decode` makes events of them.
        on_lost: called with the number of messages that were lost on the way.
        counts: of packets, to go on counting in.
        events_type: one of EVENT_TYPES, or "auto" for that of the publishers.
        event_time: of packets, "sensor" or "host" (see PacketDecoder).

    Attributes:
        refusal: why events of the publishers' type cannot be subscribed to; empty as long as they can.

    Raises:
        MissingPackageError, SubscriptionError: `events_type` is named, and its package is not installed, or the QoS of
            the parameters is none.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[int], None],
        counts: PacketCounts,
        events_type: str = "auto",
        event_time: str = "sensor",
    ) -> None:
        self._node, self.topic_name = node, node.resolve_topic_name(topic)
        self._on_message, self._on_lost = on_message, on_lost
        self._event_time = event_time
        self._counts = counts
        self._kind: str | None = None
        self._subscription: RawSubscription | None = None
        self._refused: set[str] = set()
        self.refusal = ""
        self._timer: Any = None
        if events_type == "auto":
            # Steady: simulated time may stand still.
            self._timer = node.create_timer(LOOK_EVERY_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        else:
            self._subscribe(events_type)

    def decode(self, data: bytes) -> EventMessage:
        """The events of a message that came in; DecodeError if they cannot be decoded."""
        return self._stream.decode(data)

    def forget(self) -> None:
        """Begin a new stream: what the decoder knows of messages so far goes."""
        if self._kind:
            self._stream = EventStream(self._kind, cdr, self._event_time, self._counts)

    def other_types(self) -> str:
        """The types of this topic's publishers whose messages are not taken, as text; empty if there are none."""
        # Before the first look, each that could be.
        taken = {self._kind} if self._kind else set(EVENT_TYPES) - self._refused
        return ", ".join(sorted(self._types() - taken))

    @property
    def unmet(self) -> str:
        """See RawSubscription."""
        return self._subscription.unmet if self._subscription else ""

    def take_waiting(self) -> None:
        """See RawSubscription."""
        if self._subscription:
            self._subscription.take_waiting()

    def destroy(self) -> None:
        """Take no more messages."""
        if self._timer:
            self._node.destroy_timer(self._timer)
        if self._subscription:
            self._subscription.destroy()

    def _types(self) -> set[str]:
        return {info.topic_type for info in self._node.get_publishers_info_by_topic(self.topic_name)}

    def _look(self) -> None:
        types = self._types()
        if self._kind in types:
            return
        for kind in (kind for kind in EVENT_TYPES if kind in types - self._refused):
            try:
                return self._subscribe(kind)
            except CistaError as error:
                self._refused.add(kind)
                self.refusal = f"{self.topic_name} cannot be subscribed: {error}"
                self._node.get_logger().error(self.refusal)

    def _subscribe(self, kind: str) -> None:
        message_type = message_class(kind)
        if self._subscription:
            self._subscription.change_type(message_type)
        else:
            self._subscription = RawSubscription(
                self._node, message_type, self.topic_name, self._on_message, self._on_lost
            )
        self._kind, self.refusal = kind, ""
        self.forget()
        self._node.get_logger().info(f"Subscribed {self.topic_name} ({kind})")
