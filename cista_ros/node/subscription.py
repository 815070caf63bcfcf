"""A subscription to a stream of large messages, taken as raw bytes, that meets publishers of either reliability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from ..errors import CistaError
from .qos import SubscriptionEventCallbacks, UnsupportedEventTypeError, unmet_publisher

# Messages above half a megabyte arrive whole only if reliable, and bursts only if the queue is deep: a reliable queue
# that overflows loses its oldest message, too. This is one second of the fastest drivers.
DEPTH = 1000
OVERRIDABLE = QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY
# Iron and later tell a callback of two arguments where in its publisher's sequence a message stands.
TELLS_SEQUENCE = hasattr(Subscription, "CallbackType")


class SubscriptionError(CistaError):
    """A subscription that cannot be as it is asked for."""


class RawSubscription:
    """Subscribes a topic reliably, or best-effort if a publisher of it offers no more.

    QoS may be overridden by the parameters qos_overrides.TOPIC.subscription.{reliability,durability,history,depth}.

    Args:
        node: whose subscription it is.
        message_type, topic: what to subscribe.
        on_message: called with the bytes of each message.
        on_lost: called with the number of messages that were lost, by the gaps in their publishers' sequence numbers
            (before Iron nobody tells these) or by what the middleware reports (not of a queue that overflows).

    Raises:
        SubscriptionError: no subscription can have the QoS of these parameters.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[int], None],
    ) -> None:
        self._node, self._type, self._topic = node, message_type, topic
        self._on_message, self._on_lost = on_message, on_lost
        self._last: dict[str, int] = {}
        self._gaps = self._reported = self._lost = 0
        self._qos = QoSProfile(depth=DEPTH, reliability=QoSReliabilityPolicy.RELIABLE)
        self._subscription = self._subscribe(QoSOverridingOptions(OVERRIDABLE))
        self._retry: Any = None

    def change_type(self, message_type: type) -> None:
        """Take messages of another type from now on."""
        self.destroy()
        self._type = message_type
        self._last.clear()
        self._subscription = self._subscribe(None)

    def destroy(self) -> None:
        """Take no more messages."""
        if self._retry:
            self._node.destroy_timer(self._retry)
            self._retry = None
        self._node.destroy_subscription(self._subscription)

    @property
    def topic_name(self) -> str:
        """The topic's resolved name."""
        return self._subscription.topic_name

    @property
    def unmet(self) -> str:
        """Why a publisher cannot reach us, with both sides' QoS; empty as long as all can, and once none is left."""
        if self._unmet and not self._node.count_publishers(self.topic_name):
            self._unmet = ""
        return self._unmet

    def take_waiting(self) -> None:
        """Hand on the messages that have come: for who keeps the executor from doing so."""
        for _ in range(DEPTH):
            with self._subscription.handle:
                taken = self._subscription.handle.take_message(self._type, True)
            if taken is None:
                return
            if TELLS_SEQUENCE:
                self._on_numbered(*taken)
            else:
                self._on_message(taken[0])

    def _subscribe(self, overrides: QoSOverridingOptions | None) -> Subscription:
        self._unmet = ""  # a new subscription is told anew
        callbacks = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible, message_lost=self._on_reported)
        for _ in range(2):
            try:
                return self._node.create_subscription(
                    self._type,
                    self._topic,
                    self._on_numbered if TELLS_SEQUENCE else self._on_message,
                    self._qos,
                    event_callbacks=callbacks,
                    qos_overriding_options=overrides,
                    raw=True,
                )
            except UnsupportedEventTypeError:
                self._node.get_logger().info("This middleware does not report lost messages.")
                callbacks.message_lost = None
            except (RuntimeError, ParameterException) as error:
                raise SubscriptionError(f"{error}; see qos_overrides in docs/parameters.md") from None
        raise SubscriptionError("the middleware takes no event callbacks")

    def _on_numbered(self, data: bytes, info: dict[str, Any]) -> None:
        number, publisher = info["publication_sequence_number"], str(info.get("publisher_gid"))
        if number is not None:
            missing = number - self._last.get(publisher, number) - 1
            self._last[publisher] = number
            # Before Kilted, publishers cannot be told apart.
            if missing > 0 and ("publisher_gid" in info or self._node.count_publishers(self.topic_name) == 1):
                self._gaps += missing
                self._tell_lost()
        self._on_message(data)

    def _on_reported(self, event: Any) -> None:
        self._reported += event.total_count_change
        self._tell_lost()

    def _tell_lost(self) -> None:
        # Either sees losses that the other does not, and both see some.
        lost = max(self._gaps, self._reported) - self._lost
        if lost > 0:
            self._lost += lost
            self._on_lost(lost)

    def _on_incompatible(self, event: Any) -> None:
        wanted_reliable = self._qos.reliability == QoSReliabilityPolicy.RELIABLE
        if event.last_policy_kind != QoSPolicyKind.RELIABILITY or not wanted_reliable:
            self._unmet = unmet_publisher(self._node, self.topic_name, self._qos, event)
            self._node.get_logger().error(f"{self._unmet}. See qos_overrides in docs/parameters.md.")
            return
        self._node.get_logger().warning(
            f"A publisher on {self.topic_name} is best-effort: subscribing best-effort too. Large messages may be lost."
        )
        self._qos.reliability = QoSReliabilityPolicy.BEST_EFFORT
        # A subscription must not be destroyed inside its own callback. Steady: simulated time may stand still.
        self._retry = self._node.create_timer(0.0, self._resubscribe, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _resubscribe(self) -> None:
        self.destroy()
        self._subscription = self._subscribe(None)
