"""The topic whose stamps bound the windows: camera frames, triggers, any type that begins with a std_msgs/Header."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription

from ..errors import CistaError, DecodeError
from ..sync_stamps import SyncStamps
from ..wire import cdr
from .health import Counts, Warnings

TOPIC = "sync"
LOOK_EVERY_S = 0.2
DEPTH = 100
_TYPE = re.compile(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)")


class SyncTypeError(CistaError):
    """A message type without a stamp that this node can read."""


class SyncTopic:
    """Subscribes to `sync`, while enabled, with the type and the reliability of its publishers, also if they change.

    Args:
        node: the node that subscribes.
        on_stamp: called with each message's header stamp in nanoseconds.
        counts, warnings: where unreadable messages are counted and reported.
        group: callback group of the subscription.
    Attributes:
        stamps: for the windows; their counts go into the diagnostics.
    """

    def __init__(
        self,
        node: Node,
        on_stamp: Callable[[int], None],
        counts: Counts,
        warnings: Warnings,
        group: CallbackGroup,
    ) -> None:
        self._node, self._on_stamp, self._counts, self._warnings = node, on_stamp, counts, warnings
        self.stamps = SyncStamps()
        self._group = group
        self._subscription: Subscription | None = None
        self._subscribed_as: tuple[type, bool] | None = None  # the type, and whether reliably
        self._reported = 0
        self._name = node.resolve_topic_name(TOPIC)
        # Steady: simulated time may stand still.
        self._timer = node.create_timer(LOOK_EVERY_S, self._look, group, Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()

    def enable(self, enabled: bool) -> None:
        """Subscribe once the topic has publishers, or unsubscribe."""
        if enabled:
            self._timer.reset()
            return
        self._timer.cancel()
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self.stamps.clear()

    def values(self) -> dict[str, int]:
        """Return what became of the stamps, by name, for the diagnostics."""
        counts = asdict(self.stamps.counts)
        unsynced = counts.pop("unsynced_windows")
        return {"sync_stamps": counts.pop("stamps"), **{f"sync_{name}": n for name, n in counts.items()}} | {
            "unsynced_windows": unsynced
        }

    def _look(self) -> None:
        counts = self.stamps.counts
        missed = counts.unsynced_windows + counts.late
        if missed > self._reported:
            self._warnings.add(
                "sync",
                f"So far {counts.unsynced_windows} windows ended without a stamp on {self._name}, and {counts.late}"
                " stamps arrived after their events had been used",
            )
        self._reported = missed
        publishers = self._node.get_publishers_info_by_topic(self._name)
        if not publishers:
            return
        try:
            message_type = _stamped_type({info.topic_type for info in publishers})
        except SyncTypeError as error:
            self._warnings.add("sync_type", f"{self._name}: {error}")
            return
        reliable = all(info.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE for info in publishers)
        if self._subscription:
            if self._subscribed_as == (message_type, reliable):
                return
            self._node.destroy_subscription(self._subscription)
        self._subscribed_as = message_type, reliable
        reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        self._subscription = self._node.create_subscription(
            message_type,
            TOPIC,
            self._on_message,
            QoSProfile(depth=DEPTH, reliability=reliability),
            callback_group=self._group,
            raw=True,
        )

    def _on_message(self, data: bytes) -> None:
        try:
            stamp = cdr.decode_stamp(data)
        except DecodeError as error:
            self._counts.malformed_messages += 1
            self._warnings.add("sync", f"Skipped a message on {self._name}: {error}")
            return
        self._on_stamp(stamp)


def _stamped_type(names: set[str]) -> type:
    """Return the message class of a topic that has these types.

    SyncTypeError unless there is one type, installed here, that begins with a header.
    """
    if len(names) > 1:
        raise SyncTypeError(f"has types {' and '.join(sorted(names))}; expected one type")
    (name,) = names
    match = _TYPE.fullmatch(name)
    if not match:
        raise SyncTypeError(f"has type {name}, which is not a valid message type")
    try:
        found: type = getattr(import_module(f"{match[1]}.msg"), match[2])
    except (ImportError, AttributeError):
        raise SyncTypeError(f"has type {name}, whose package is not installed") from None
    fields = found.get_fields_and_field_types()  # type: ignore[attr-defined]
    if next(iter(fields.values()), None) != "std_msgs/Header":
        raise SyncTypeError(f"has type {name}; expected a type that begins with a std_msgs/Header")
    return found
