"""Quality of service that does not match: said with both sides' settings."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError

__all__ = [
    "PublisherEventCallbacks",
    "SubscriptionEventCallbacks",
    "UnsupportedEventTypeError",
    "unmet_publisher",
    "unmet_subscriber",
]

# What a deadline of no limit becomes differs by middleware; all are years.
_ENDLESS_NS = 10**16


def unmet_publisher(node: Node, topic: str, ours: QoSProfile, event: Any) -> str:
    """Why a publisher does not reach our subscription, by the event that says so."""
    theirs = _others(node.get_publishers_info_by_topic(topic), "offers")
    return f"no messages come from a publisher of {topic}, for {_policy(event)}: {theirs}; we ask for {_text(ours)}"


def unmet_subscriber(node: Node, topic: str, ours: QoSProfile, event: Any) -> str:
    """Why our publisher does not reach a subscription, by the event that says so."""
    theirs = _others(node.get_subscriptions_info_by_topic(topic), "asks for")
    return f"a subscriber of {topic} gets no messages, for {_policy(event)}: {theirs}; we offer {_text(ours)}"


def _others(infos: list[Any], verb: str) -> str:
    # A node that has just come has no name yet; the middleware writes one with underscores instead.
    names = ("a node" if info.node_name.startswith("_") else info.node_name for info in infos)
    return "; ".join(f"{name} {verb} {_text(info.qos_profile)}" for name, info in zip(names, infos, strict=True))


def _policy(event: Any) -> str:
    return QoSPolicyKind(event.last_policy_kind).name.lower().replace("_", "-")


def _text(qos: QoSProfile) -> str:
    """The policies that must match, in words."""
    limited = 0 < qos.deadline.nanoseconds < _ENDLESS_NS
    deadline = f"{qos.deadline.nanoseconds / 1e6:g} ms" if limited else "none"
    liveliness = "automatic" if qos.liveliness.name == "SYSTEM_DEFAULT" else qos.liveliness.name
    policies = f"{qos.reliability.name} {qos.durability.name}, deadline {deadline}, liveliness {liveliness}"
    return policies.lower().replace("_", "-")
