"""The topic of events: its message type, its quality of service, and messages as raw bytes.

Messages are taken raw because rclpy needs tens of milliseconds to build the Python objects of one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import InvalidQosOverridesError, QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from ..errors import CistaError, DecodeError, MissingPackageError
from ..wire import cdr
from ..wire.event_packet import EventStream, PacketCounts
from ..wire.ros_types import EVENT_ARRAY, EVENT_PACKET, EVENT_TYPES, EventMessage

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = [
    "EventTopic",
    "PublisherEventCallbacks",
    "QosError",
    "UnsupportedEventTypeError",
    "deserialize",
    "incompatible_qos",
    "message_class",
    "qos_overrides",
]

# Messages above half a megabyte arrive whole only if reliable, and bursts only if the queue is deep: a reliable queue
# that overflows loses its oldest message, too. This is one second of the fastest drivers.
DEPTH = 1000
MAX_DEPTH = 2**31 - 1
LOOK_EVERY_S = 0.1
# Iron and later pass callbacks with two arguments the message's number in its publisher's sequence.
HAS_SEQUENCE = hasattr(Subscription, "CallbackType")
OVERRIDABLE = QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY
RELIABLE, BEST_EFFORT = QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT
# What an unlimited deadline becomes differs by middleware; all are years.
_UNLIMITED_NS = 10**16

Message = TypeVar("Message")


class QosError(CistaError):
    """QoS parameters that no topic can have."""


def message_class(kind: str) -> type:
    """Return the class of a message type such as dvs_msgs/msg/EventArray.

    Raises:
        MissingPackageError: its package is not installed.
    """
    package, _, name = kind.split("/")
    try:
        found: type = getattr(import_module(f"{package}.msg"), name)
    except ImportError:
        build = f"build it from msg/{package} of this repository, or " if kind in (EVENT_ARRAY, EVENT_PACKET) else ""
        raise MissingPackageError(
            f"{kind}: the package {package} is not installed; {build}install your distribution's"
        ) from None
    return found


def deserialize(message_type: type[Message], data: bytes) -> Message:
    """Deserialize a message of a raw subscription.

    On a typed subscription malformed bytes are dropped silently (Fast DDS) or end the process, depending on the
    middleware.

    Raises:
        DecodeError: the bytes are not a message of this type.
    """
    try:
        return deserialize_message(data, message_type)
    except Exception as error:  # rclpy does not document which
        raise DecodeError(f"cannot deserialize {message_type.__name__}: {error}") from None


def qos_overrides() -> QoSOverridingOptions:
    """Let parameters override the QoS of a topic: qos_overrides.TOPIC.{publisher,subscription}.POLICY."""
    return QoSOverridingOptions(OVERRIDABLE, callback=_check_depth)


def _check_depth(qos: QoSProfile) -> SetParametersResult:
    valid = 0 <= qos.depth <= MAX_DEPTH
    return SetParametersResult(successful=valid, reason="" if valid else f"depth {qos.depth}; expected 0 to 2^31-1")


def incompatible_qos(node: Node, topic: str, qos: QoSProfile, event: Any, publishing: bool = False) -> str:
    """Describe why a publisher and a subscription of a topic do not match, for the event that reports it.

    Args:
        node: a node with an endpoint of this QoS on the topic: a publisher if `publishing`, else a subscription.
    """
    policy = QoSPolicyKind(event.last_policy_kind)
    if publishing:
        found = node.get_subscriptions_info_by_topic(topic)
        unmet = [info for info in found if _mismatch(qos, info.qos_profile, policy)]
        other, verb, own = "subscription", "requests", "this node offers"
    else:
        found = node.get_publishers_info_by_topic(topic)
        unmet = [info for info in found if _mismatch(info.qos_profile, qos, policy)]
        other, verb, own = "publisher", "offers", "this node requests"
    # A node that has just started has no name yet; the middleware gives it one with leading underscores.
    others = ", ".join(
        f"{other} {'' if info.node_name.startswith('_') else repr(info.node_name)} {verb}"
        f" {_policy_text(info.qos_profile, policy)}".replace("  ", " ")
        for info in unmet
    )
    name = policy.name.lower().replace("_", " ")
    return f"incompatible QoS on {topic} ({name}): {others or other}, {own} {_policy_text(qos, policy)}"


def _mismatch(publisher: QoSProfile, subscription: QoSProfile, policy: QoSPolicyKind) -> bool:
    # Only this policy: unset ones of a local profile and what the graph reports of them do not compare.
    name = policy.name.lower()
    pair = (QoSProfile(depth=1, **{name: getattr(qos, name)}) for qos in (publisher, subscription))
    return bool(qos_check_compatible(*pair)[0] == QoSCompatibility.ERROR)


def _policy_text(qos: QoSProfile, policy: QoSPolicyKind) -> str:
    if policy == QoSPolicyKind.DEADLINE:
        limited = 0 < qos.deadline.nanoseconds < _UNLIMITED_NS
        return f"{qos.deadline.nanoseconds / 1e6:g} ms" if limited else "none"
    value = getattr(qos, policy.name.lower(), None)
    name = getattr(value, "name", str(value))
    return "automatic" if name == "SYSTEM_DEFAULT" else name.lower().replace("_", "-")


class EventTopic:
    """Subscribes to a topic of events with the type and the reliability of its publishers, also when those change.

    The subscription is reliable unless a publisher is best-effort. The parameters
    qos_overrides.TOPIC.subscription.{reliability,durability,history,depth} override this.

    Args:
        node: the node that subscribes.
        topic: name of the topic.
        on_message: called with the bytes of each message; `decode` returns their events.
        on_lost: called with the number of messages lost in transit: by the gaps in the publishers' sequence numbers
            (Iron and later) or as reported by the middleware.
        counts: packet counts to add to.
        events_type: one of EVENT_TYPES, or "auto" for the publishers' type.
        event_time: "host" or "sensor" (see PacketDecoder).
        group: callback group of the subscription; None for the node's default.

    Attributes:
        refusal: why subscribing failed; empty if it did not.
        joined_late: whether messages had been published before the first that arrived. None before that; True if the
            middleware does not report it.

    Raises:
        MissingPackageError, QosError: `events_type` is named and its package is missing, or the QoS is impossible.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[int], None],
        counts: PacketCounts,
        events_type: str = "auto",
        event_time: str = "host",
        group: CallbackGroup | None = None,
    ) -> None:
        self._node, self.topic_name = node, node.resolve_topic_name(topic)
        self._on_message, self._on_lost = on_message, on_lost
        self._counts, self._event_time, self._group = counts, event_time, group
        self._kind: str | None = None
        self._wanted = set(EVENT_TYPES) if events_type == "auto" else {events_type}
        self._subscription: Subscription | None = None
        self._reliability = RELIABLE
        self._qos = QoSProfile(depth=DEPTH)
        self._last: dict[str, int] = {}
        self._mixed = False
        self._gaps = self._reported = self._lost = 0
        self._unmet = self.refusal = ""
        self.joined_late: bool | None = None
        # Steady: simulated time may stand still.
        self._timer = node.create_timer(LOOK_EVERY_S, self._look, group, Clock(clock_type=ClockType.STEADY_TIME))
        if events_type != "auto":
            self._subscribe(events_type)

    @property
    def kind(self) -> str | None:
        """The type that is subscribed to, if any."""
        return self._kind

    def decode(self, data: bytes) -> EventMessage:
        """Return the events of a message. DecodeError if they cannot be decoded."""
        return self._stream.decode(data)

    def restart(self) -> None:
        """Begin a new stream: reset the decoder."""
        if self._kind:
            self._stream = EventStream(self._kind, cdr, self._event_time, self._counts)

    def other_types(self) -> str:
        """Return the publishers' types that this is not subscribed to, comma-separated."""
        # Before the first look, all that it may subscribe to.
        taken = {self._kind} if self._kind else self._wanted
        return ", ".join(sorted({info.topic_type for info in self._publishers()} - taken))

    @property
    def unmet(self) -> str:
        """Why a publisher's QoS does not match; empty if all match or the publisher is gone."""
        if self._unmet and not self._node.count_publishers(self.topic_name):
            self._unmet = ""
        return self._unmet

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._drop_subscription()

    def _publishers(self) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(self.topic_name))

    def _look(self) -> None:
        """Subscribe as the publishers require."""
        publishers = self._publishers()
        types = {info.topic_type for info in publishers} & self._wanted
        best_effort = any(info.qos_profile.reliability == BEST_EFFORT for info in publishers)
        if not types or (self._kind in types and (self._reliability == BEST_EFFORT or not best_effort)):
            return
        self._reliability = BEST_EFFORT if best_effort else RELIABLE
        for kind in (kind for kind in EVENT_TYPES if kind in types and (self._kind not in types or kind == self._kind)):
            try:
                return self._subscribe(kind)
            except CistaError as error:
                self._wanted.discard(kind)
                self.refusal = f"cannot subscribe to {self.topic_name}: {error}"
                self._node.get_logger().error(self.refusal)

    def _subscribe(self, kind: str) -> None:
        message_type = message_class(kind)
        self._drop_subscription()
        self._subscription = self._create(message_type)
        self._kind, self.refusal = kind, ""
        self.restart()
        reliability = "best-effort" if self._qos.reliability == BEST_EFFORT else "reliable"
        self._node.get_logger().info(f"Subscribed to {self.topic_name} ({kind}, {reliability})")

    def _drop_subscription(self) -> None:
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self._last.clear()
        self._unmet, self._mixed = "", False

    def _create(self, message_type: type) -> Subscription:
        callbacks = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible, message_lost=self._on_reported)
        callback: Callable[..., None] = self._on_numbered if HAS_SEQUENCE else self._on_plain
        self._qos = QoSProfile(depth=DEPTH, reliability=self._reliability)
        for _ in range(2):
            try:
                return self._node.create_subscription(
                    message_type,
                    self.topic_name,
                    callback,
                    self._qos,
                    callback_group=self._group,
                    event_callbacks=callbacks,
                    qos_overriding_options=qos_overrides(),
                    raw=True,
                )
            except UnsupportedEventTypeError:
                self._node.get_logger().info("This middleware does not report lost messages.")
                callbacks.message_lost = None
            except (InvalidQosOverridesError, RuntimeError, ParameterException) as error:
                raise QosError(f"{error}; see qos_overrides in docs/reference/parameters.md") from None
        raise QosError("the middleware supports no event callbacks")

    def _on_plain(self, data: bytes) -> None:
        self.joined_late = True
        self._on_message(data)

    def _on_numbered(self, data: bytes, info: dict[str, Any]) -> None:
        number, publisher = info["publication_sequence_number"], str(info.get("publisher_gid"))
        if self.joined_late is None:
            self.joined_late = number != 1
        if number is not None:
            last = self._last.get(publisher, number - 1)
            self._last[publisher] = number
            # Before Kilted publishers cannot be distinguished: once two have met, their gaps mean nothing.
            if "publisher_gid" not in info and (number <= last or self._node.count_publishers(self.topic_name) > 1):
                self._mixed = True
            if number > last + 1 and not self._mixed:
                self._gaps += number - last - 1
                self._report_lost()
        self._on_message(data)

    def _on_reported(self, event: Any) -> None:
        self._reported += event.total_count_change
        self._report_lost()

    def _report_lost(self) -> None:
        # Each source sees losses that the other does not, and both see some.
        lost = max(self._gaps, self._reported) - self._lost
        if lost > 0:
            self._lost += lost
            self._on_lost(lost)

    def _on_incompatible(self, event: Any) -> None:
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY and self._reliability == RELIABLE:
            return  # the next look finds the best-effort publisher
        self._unmet = incompatible_qos(self._node, self.topic_name, self._qos, event)
        self._node.get_logger().error(f"{self._unmet}. See qos_overrides in docs/reference/parameters.md.")
