"""The topic whose stamps bound the windows: camera frames, triggers, anything that begins with a std_msgs/Header."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription

from ..errors import CistaError, DecodeError
from ..windows import SyncStamps
from ..wire import cdr
from .counts import Counts
from .diagnostics import Troubles

TOPIC = "sync"
LOOK_EVERY_S = 0.2
DEPTH = 100
_TYPE = re.compile(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)")


class SyncTypeError(CistaError):
    """A message type whose stamp cannot be taken."""


class SyncTopic:
    """While wanted, subscribes `sync` with the type and the reliability that its publishers have, also if they change.

    Args:
        on_stamp: called with each message's header stamp in nanoseconds.
        counts, troubles: where messages that cannot be read are counted and told.
    Attributes:
        stamps: for the windows; their counts go into the diagnostics.
    """

    def __init__(self, node: Node, on_stamp: Callable[[int], None], counts: Counts, troubles: Troubles) -> None:
        self._node, self._on_stamp, self._counts, self._troubles = node, on_stamp, counts, troubles
        self.stamps = SyncStamps()
        self._subscription: Subscription | None = None
        self._met: tuple[type, bool] | None = None  # the type subscribed to, and whether reliably
        self._told = 0
        self._name = node.resolve_topic_name(TOPIC)
        # Steady: simulated time may stand still.
        self._timer = node.create_timer(LOOK_EVERY_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()

    def want(self, wanted: bool) -> None:
        """Subscribe, or no more."""
        if wanted:
            self._timer.reset()
            return
        self._timer.cancel()
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self.stamps.clear()

    def values(self) -> dict[str, int]:
        """What became of the stamps, by name, for the diagnostics."""
        counts = asdict(self.stamps.counts)
        unsynced = counts.pop("unsynced_windows")
        return {"sync_stamps": counts.pop("stamps"), **{f"sync_{name}": n for name, n in counts.items()}} | {
            "unsynced_windows": unsynced
        }

    def _look(self) -> None:
        counts = self.stamps.counts
        missed = counts.unsynced_windows + counts.late
        if missed > self._told:
            self._troubles.add(
                "sync",
                f"{counts.unsynced_windows} windows ended without a stamp on {self._name} so far, {counts.late} stamps"
                " came when their events had been used",
            )
        self._told = missed
        publishers = self._node.get_publishers_info_by_topic(self._name)
        if not publishers:
            return
        try:
            message_type = _stamped_type({info.topic_type for info in publishers})
        except SyncTypeError as error:
            self._troubles.add("sync_type", f"{self._name}: {error}")
            return
        reliable = all(info.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE for info in publishers)
        if self._subscription:
            if self._met == (message_type, reliable):
                return
            self._node.destroy_subscription(self._subscription)
        self._met = message_type, reliable
        reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=DEPTH, reliability=reliability)
        self._subscription = self._node.create_subscription(message_type, TOPIC, self._on_message, qos, raw=True)

    def _on_message(self, data: bytes) -> None:
        try:
            stamp = cdr.decode_stamp(data)
        except DecodeError as error:
            self._counts.malformed_messages += 1
            self._troubles.add("sync", f"Skipped a message on {self._name}: {error}")
            return
        self._on_stamp(stamp)


def _stamped_type(names: set[str]) -> type:
    """The message class of a topic by its types' names; SyncTypeError unless it is one, known here, with a header."""
    if len(names) > 1:
        raise SyncTypeError(f"bears {' and '.join(sorted(names))}; expected one type")
    (name,) = names
    match = _TYPE.fullmatch(name)
    if not match:
        raise SyncTypeError(f"bears {name}, which is no message type")
    try:
        found = getattr(import_module(f"{match[1]}.msg"), match[2])
    except (ImportError, AttributeError):
        raise SyncTypeError(f"bears {name}, of a package that is not here") from None
    fields = found.get_fields_and_field_types()
    if next(iter(fields.values()), None) != "std_msgs/Header":
        raise SyncTypeError(f"bears {name}; expected a type that begins with a std_msgs/Header")
    return found
