"""Quality of service: the node meets the publishers that there are, and its QoS can be overridden."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import ROOT, Client, cut, stream
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier

from cista_ros.node.process import free_domain
from cista_ros.wire import cdr

BEST_EFFORT = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)
OVERRIDE = "qos_overrides./dvs/events.subscription."
CAMERA = str(Path(__file__).with_name("camera.py"))
FAST_DDS_PROFILE = str(ROOT / "config" / "fastdds_large_messages.xml")
# Fast DDS 3 (Kilted) reads the first variable, Fast DDS 2 the second.
WITH_PROFILE = {name: FAST_DDS_PROFILE for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")}


def subscription(client):
    (info,) = client.node.get_subscriptions_info_by_topic("/dvs/events")
    return info.qos_profile


def test_a_best_effort_camera_is_met_with_a_warning(small_weights):
    client = Client(free_domain(), qos=BEST_EFFORT)
    try:
        process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02")
        client.until(lambda: "Subscribed to /dvs/events (dvs_msgs/msg/EventArray, best-effort)" in process.err)
        assert "[WARN]" not in process.err, "its QoS is known before the subscription"
        client.until(lambda: client.node.count_subscribers("/dvs/events") == 1)
        client.until(lambda: client.events.get_subscription_count() == 1)
        assert subscription(client).reliability == QoSReliabilityPolicy.BEST_EFFORT

        # A best-effort subscriber may not have noticed its publisher yet.
        def first_image():
            client.send(stream()[:300])
            return client.images

        client.until(first_image)
        assert process.stop() == 0
    finally:
        client.close()


def test_messages_of_more_than_a_megabyte_arrive_whole_from_a_reliable_camera(node):
    client, _ = node
    # So many events on so few pixels would be thousands of network steps.
    assert client.set(max_events=1_000_000)[0].successful
    before = client.known()
    messages = [cdr.encode(message) for message in cut(stream(800_000, 0.1))]
    assert len(messages) == 10
    assert min(map(len, messages)) > 1_200_000
    for message in messages:
        client.events.publish(message)
    counts = client.counts(lambda c: c["messages"] - before["messages"] == 10 and c["pending_events"] == 0)
    assert counts["used_events"] - before["used_events"] == 800_000
    for lost in ("lost_messages", "dropped_events"):
        assert counts[lost] == before[lost]
    assert client.set(max_events=0)[0].successful


def test_a_queue_overridden_to_be_short_drops_messages_and_counts_them(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02", f"{OVERRIDE}depth:=2")
    # Losses before the first message that arrives cannot be detected.
    first = client.send(stream()[:10])
    client.counts(lambda counts: counts["messages"] == first)
    n = first + client.send(stream(20_000), 0.1)
    # Once all is quiet, one more tells the node what it missed.
    client.counts(lambda counts: counts["pending_events"] == 0 and counts["messages"] > first)
    client.send(stream()[:10])
    counts = client.counts(lambda c: c["messages"] + c["lost_messages"] == n + 1)
    assert counts["lost_messages"] > 0
    assert "messages on /dvs/events were lost in transit" in process.err
    assert process.stop() == 0


def test_a_second_camera_that_starts_later_and_leaves_is_no_loss(node):
    client, _ = node
    before = client.known()
    client.send(stream())
    other = Client(client.domain)
    try:
        other.until(other.events.get_subscription_count)
        later = stream(t0=int(stream()["t"][-1]) + 1)
        for message in cut(later):
            for camera in (client, other):
                camera.events.publish(cdr.encode(message))
        counts = client.counts(lambda c: c["messages"] - before["messages"] == 60)
        assert counts["lost_messages"] == before["lost_messages"]
    finally:
        other.close()
    client.send(stream(t0=int(later["t"][-1]) + 1))
    counts = client.counts(lambda c: c["messages"] - before["messages"] == 80)
    assert counts["lost_messages"] == before["lost_messages"]


@pytest.mark.parametrize("depth, reason", [("-1", "depth -1"), ("2147483648", "depth 2147483648"), ("deep", "INTEGER")])
def test_an_override_that_cannot_be_is_told_and_does_not_end_the_node(client, small_weights, depth, reason):
    process = client.start_node(f"weights:={small_weights[0]}", f"{OVERRIDE}depth:={depth}", active=False)
    client.until(lambda: client.statuses and client.statuses[-1].level == b"\2")
    said = client.statuses[-1].message
    assert said.startswith("cannot subscribe to /dvs/events: ") and reason in said
    assert said.endswith("; see qos_overrides in docs/reference/parameters.md")
    assert "[ERROR]" in process.err and said in process.err
    assert process.stop() == 0


@pytest.mark.skipif("fastrtps" not in get_rmw_implementation_identifier(), reason="needs the middleware Fast DDS")
def test_large_best_effort_messages_arrive_with_the_profile(client, small_weights):
    override = f"{OVERRIDE}reliability:=best_effort"
    process = client.start_node(f"weights:={small_weights[0]}", override, "idle_timeout:=0.3", **WITH_PROFILE)
    assert subscription(client).reliability == QoSReliabilityPolicy.BEST_EFFORT
    camera = client.start(CAMERA, "30", "75000", "30", "BEST_EFFORT", **WITH_PROFILE)
    client.until(lambda: camera.popen.poll() is not None)
    # Best-effort messages sent before the node has found the camera are gone, and belong to no gap.
    counts = client.counts(lambda c: c["messages"] >= 25 and c["pending_events"] == 0)
    assert counts["lost_messages"] == 0
    assert process.err.count("Subscribed to") == 1  # the override is already what the camera requires
    for said in (process.err, camera.err):
        assert "XMLPARSER" not in said, said
    assert process.stop() == 0
