"""The topics of events and of stamps, subscribed to as their publishers require; types and quality of service.

Messages are taken as raw bytes because rclpy needs tens of milliseconds to build the Python objects of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy, qos_check_compatible
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

# Messages above half a megabyte arrive whole only if reliable, and bursts only if the queue is deep: a reliable queue
# that overflows loses its oldest message, too. This is one second of the fastest drivers.
EVENTS_DEPTH, SYNC_DEPTH = 1000, 100
MAX_DEPTH = 2**31 - 1
LOOK_EVERY_S = 0.1
# Iron and later pass callbacks with two arguments the message's number in its publisher's sequence.
HAS_SEQUENCE = hasattr(Subscription, "CallbackType")
OVERRIDABLE = QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY
RELIABLE, BEST_EFFORT = QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT
# What an unlimited deadline becomes differs by middleware; all are years.
_UNLIMITED_NS = 10**16
_TYPE = re.compile(r"[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*")

Message = TypeVar("Message")
Endpoint = TypeVar("Endpoint")


class QosError(CistaError):
    """QoS parameters that no topic can have."""


class SyncTypeError(CistaError):
    """A message type without a stamp that this node can read."""


def message_class(kind: str) -> type:
    """Return the class of a message type such as dvs_msgs/msg/EventArray.

    Raises:
        MissingPackageError: its package is not installed.
    """
    package, _, name = kind.split("/")
    try:
        found: type = getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
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
        message: Message = deserialize_message(data, message_type)  # Any on Jazzy
        return message
    except Exception as error:  # rclpy does not document which
        raise DecodeError(f"cannot deserialize {message_type.__name__}: {error}") from None


def qos_overrides() -> QoSOverridingOptions:
    """Let parameters override the QoS of a topic: qos_overrides.TOPIC.{publisher,subscription}.POLICY."""
    return QoSOverridingOptions(OVERRIDABLE, callback=_check_depth)


def _check_depth(qos: QoSProfile) -> SetParametersResult:
    valid = 0 <= qos.depth <= MAX_DEPTH
    return SetParametersResult(successful=valid, reason="" if valid else f"depth {qos.depth}; expected 0 to 2^31-1")


def create_publisher(node: Node, message_type: type, topic: str, depth: int) -> Publisher:
    """Create a publisher whose QoS parameters can override, and that warns of subscriptions that it does not match.

    Raises:
        QosError: QoS parameters that no topic can have.
    """
    qos = QoSProfile(depth=depth)  # one for each publisher: rclpy writes the parameters' values into it

    def on_incompatible(event: Any) -> None:
        name = node.resolve_topic_name(topic)
        node.get_logger().warning(_incompatible_qos(node, name, qos, event.last_policy_kind, publishing=True))

    callbacks = PublisherEventCallbacks(incompatible_qos=on_incompatible)
    return _create(partial(node.create_publisher, message_type, topic, qos), callbacks, "incompatible_qos")


def _create(create: Callable[..., Endpoint], callbacks: Any, optional: str) -> Endpoint:
    """Create a publisher or subscription; without its `optional` callback if the middleware does not support that."""
    try:
        try:
            return create(event_callbacks=callbacks, qos_overriding_options=qos_overrides())
        except UnsupportedEventTypeError:
            setattr(callbacks, optional, None)
            return create(event_callbacks=callbacks, qos_overriding_options=qos_overrides())
    except (InvalidQosOverridesError, RuntimeError, ParameterException) as error:
        raise QosError(f"{error}; see qos_overrides in docs/reference/parameters.md") from None


def _incompatible_qos(node: Node, topic: str, qos: QoSProfile, kind: int, publishing: bool = False) -> str:
    """Describe why a publisher and a subscription of a topic do not match.

    Args:
        node: a node with an endpoint of this QoS on the topic: a publisher if `publishing`, else a subscription.
        kind: the policy that the middleware's event names.
    """
    policy = QoSPolicyKind(kind)
    if publishing:
        infos, other, verb, own = node.get_subscriptions_info_by_topic, "subscription", "requests", "offers"
    else:
        infos, other, verb, own = node.get_publishers_info_by_topic, "publisher", "offers", "requests"
    # A node that has just started has no name yet; the middleware gives it one with leading underscores.
    others = ", ".join(
        f"{other} {'' if info.node_name.startswith('_') else repr(info.node_name)} {verb}"
        f" {_policy_text(info.qos_profile, policy)}".replace("  ", " ")
        for info in infos(topic)
        if _mismatch(policy, *((qos, info.qos_profile) if publishing else (info.qos_profile, qos)))
    )
    name = policy.name.lower().replace("_", " ")
    return f"incompatible QoS on {topic} ({name}): {others or other}, this node {own} {_policy_text(qos, policy)}"


def _mismatch(policy: QoSPolicyKind, *publisher_and_subscription: QoSProfile) -> bool:
    # Only this policy: unset ones of a local profile and what the graph reports of them do not compare.
    name = policy.name.lower()
    pair = (QoSProfile(depth=1, **{name: getattr(qos, name)}) for qos in publisher_and_subscription)
    return bool(qos_check_compatible(*pair)[0] == QoSCompatibility.ERROR)


def _policy_text(qos: QoSProfile, policy: QoSPolicyKind) -> str:
    if policy == QoSPolicyKind.DEADLINE:
        limited = 0 < qos.deadline.nanoseconds < _UNLIMITED_NS
        return f"{qos.deadline.nanoseconds / 1e6:g} ms" if limited else "none"
    value = getattr(qos, policy.name.lower(), None)
    name = getattr(value, "name", str(value))
    return "automatic" if name == "SYSTEM_DEFAULT" else name.lower().replace("_", "-")


class _Topic:
    """Subscribes to a topic with the type and the reliability of its publishers, also when those change.

    The subscription is reliable unless a publisher is best-effort.

    Attributes:
        kind: the type that is subscribed to, if any.
    """

    def __init__(self, node: Node, topic: str, group: CallbackGroup | None) -> None:
        self._node, self._group = node, group
        self.topic_name = node.resolve_topic_name(topic)
        self.kind: str | None = None
        self._reliability = RELIABLE
        self._subscription: Subscription | None = None

    def look(self) -> None:
        """Subscribe as the publishers require. To be called every LOOK_EVERY_S. CistaError if that fails."""
        publishers = self._publishers()
        types = self._readable({info.topic_type for info in publishers})
        best_effort = any(info.qos_profile.reliability == BEST_EFFORT for info in publishers)
        if types and (self.kind not in types or (best_effort and self._reliability == RELIABLE)):
            self._reliability = BEST_EFFORT if best_effort else RELIABLE
            self._subscribe(self.kind if self.kind in types else types[0])

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _publishers(self) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(self.topic_name))

    def _readable(self, types: set[str]) -> list[str]:
        """Return those of the publishers' types that can be read, the best first."""
        raise NotImplementedError

    def _subscribe(self, kind: str) -> None:
        """Subscribe with this type and `self._reliability`, in place of the present subscription."""
        raise NotImplementedError


class EventTopic(_Topic):
    """A topic of events.

    The parameters qos_overrides.TOPIC.subscription.{reliability,durability,history,depth} override its QoS.

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
        super().__init__(node, topic, group)
        self._on_message, self._on_lost = on_message, on_lost
        self._counts, self._event_time = counts, event_time
        self._wanted = list(EVENT_TYPES) if events_type == "auto" else [events_type]
        self._qos = QoSProfile(depth=EVENTS_DEPTH)
        self._last: dict[str, int] = {}
        self._mixed = False
        self._gaps = self._reported = self._lost = 0
        self._unmet: int | None = None
        self.refusal = ""
        self.joined_late: bool | None = None
        if events_type != "auto":
            self._subscribe(events_type)

    def decode(self, data: bytes) -> EventMessage:
        """Return the events of a message. DecodeError if they cannot be decoded."""
        return self._stream.decode(data)

    def restart(self) -> None:
        """Begin a new stream: reset the decoder."""
        if self.kind:
            self._stream = EventStream(self.kind, cdr, self._event_time, self._counts)

    def other_types(self) -> str:
        """Return the publishers' types that this is not subscribed to, comma-separated."""
        # Before the first look, all that it may subscribe to.
        taken = {self.kind} if self.kind else set(self._wanted)
        return ", ".join(sorted({info.topic_type for info in self._publishers()} - taken))

    @property
    def unmet(self) -> str:
        """Why a publisher's QoS does not match; empty if all match or the publisher is gone."""
        if self._unmet is None or not self._node.count_publishers(self.topic_name):
            self._unmet = None
            return ""
        return _incompatible_qos(self._node, self.topic_name, self._qos, self._unmet)

    def look(self) -> None:
        """Subscribe as the publishers require. To be called every LOOK_EVERY_S."""
        try:
            super().look()
        except CistaError as error:
            self.refusal = f"cannot subscribe to {self.topic_name}: {error}"
            self._node.get_logger().error(self.refusal)

    def destroy(self) -> None:
        """Unsubscribe."""
        super().destroy()
        self._last.clear()
        self._unmet, self._mixed = None, False

    def _readable(self, types: set[str]) -> list[str]:
        return [kind for kind in self._wanted if kind in types]

    def _subscribe(self, kind: str) -> None:
        callbacks = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible, message_lost=self._on_reported)
        callback: Callable[..., None] = self._on_numbered if HAS_SEQUENCE else self._on_plain
        try:
            message_type = message_class(kind)
            self.destroy()
            self._qos = QoSProfile(depth=EVENTS_DEPTH, reliability=self._reliability)
            arguments = message_type, self.topic_name, callback, self._qos
            create = partial(self._node.create_subscription, *arguments, callback_group=self._group, raw=True)
            self._subscription = _create(create, callbacks, "message_lost")
        except CistaError:
            self._wanted.remove(kind)  # try the others
            raise
        self.kind, self.refusal = kind, ""
        self.restart()
        reliability = "reliable"
        if self._qos.reliability == BEST_EFFORT:  # as asked for, or by qos_overrides
            self._reliability, reliability = BEST_EFFORT, "best-effort"
        unreported = "" if callbacks.message_lost else "; this middleware does not report lost messages"
        self._node.get_logger().info(f"Subscribed to {self.topic_name} ({kind}, {reliability}){unreported}")

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
        self._unmet = event.last_policy_kind
        unmet = _incompatible_qos(self._node, self.topic_name, self._qos, self._unmet)
        self._node.get_logger().error(f"{unmet}. See qos_overrides in docs/reference/parameters.md.")


class SyncTopic(_Topic):
    """The topic whose stamps bound the windows: camera frames, triggers, any type that begins with a std_msgs/Header.

    Args:
        node: the node that subscribes.
        topic: name of the topic.
        on_message: called with the bytes of each message.
        group: callback group of the subscription.
    """

    def __init__(self, node: Node, topic: str, on_message: Callable[[bytes], None], group: CallbackGroup) -> None:
        super().__init__(node, topic, group)
        self._on_message = on_message

    def _readable(self, types: set[str]) -> list[str]:
        if len(types) > 1:
            raise SyncTypeError(f"has types {' and '.join(sorted(types))}; expected one type")
        return list(types)

    def _subscribe(self, kind: str) -> None:
        message_type = _stamped_type(kind)
        self.destroy()
        qos = QoSProfile(depth=SYNC_DEPTH, reliability=self._reliability)
        self._subscription = self._node.create_subscription(
            message_type, self.topic_name, self._on_message, qos, callback_group=self._group, raw=True
        )
        self.kind = kind


def _stamped_type(name: str) -> type:
    """Return the class of a message type; CistaError if it is not installed, or does not begin with a header."""
    if not _TYPE.fullmatch(name):
        raise SyncTypeError(f"has type {name}, which is not a valid message type")
    found = message_class(name)
    fields = found.get_fields_and_field_types()  # type: ignore[attr-defined]
    if next(iter(fields.values()), None) != "std_msgs/Header":
        raise SyncTypeError(f"has type {name}; expected a type that begins with a std_msgs/Header")
    return found
