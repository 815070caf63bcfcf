"""Windows in the node as in the core: by what is seen, by the stamps of another topic, and when time jumps."""

from __future__ import annotations

import numpy as np
import pytest
from harness import MS, T0, H, W, cut, offline, pixels, stamp_of, stream
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, TimeReference
from std_msgs.msg import String

from cista_ros.node.images import time_message
from cista_ros.tone_map import to_mono8
from cista_ros.windows import AdaptiveWindows, StampWindows
from cista_ros.wire import cdr

S = 1000 * MS


def frame(stamp: int) -> Image:
    message = Image(height=2, width=3, encoding="mono8", step=3, data=bytes(6))
    message.header.stamp = time_message(stamp)
    return message


@pytest.fixture
def frames(node):
    """A best-effort publisher of camera frames, as drivers have them."""
    client, _ = node
    qos = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    publisher = client.node.create_publisher(Image, "/sync", qos)
    yield publisher
    client.node.destroy_publisher(publisher)


def same(messages, expected) -> bool:
    return [stamp_of(m) for m in messages] == [p.stamp for p in expected] and all(
        np.array_equal(pixels(m), to_mono8(p.shown)) for m, p in zip(messages, expected, strict=True)
    )


@pytest.mark.parametrize("every_ms", [7, 50])
def test_adaptive_windows_are_those_of_the_core(node, small_weights, every_ms):
    client, _ = node
    client.set(windows="adaptive", events_per_pixel=0.9, shortest=0.02, longest=0.05)
    expected = offline(small_weights[1], stream(), windower=lambda: AdaptiveWindows(H, W, 0.9, 20 * MS, 50 * MS))
    assert len(expected) >= 6
    client.send(stream(), every_ms)
    client.until(lambda: len(client.images) == len(expected))
    assert same(client.images, expected)


@pytest.mark.parametrize("late_ms", [0, 60])
def test_images_come_at_the_stamps_of_the_sync_topic_in_time_or_late(node, frames, small_weights, late_ms):
    client, _ = node
    client.set(windows="sync")
    client.until(frames.get_subscription_count)
    before = client.counts()
    events, stamps = stream(), [T0 + i * 33 * MS for i in range(1, 7)]
    expected = offline(small_weights[1], events, windower=lambda: StampWindows([*stamps, int(events["t"][-1])]))
    due = [(stamp + late_ms * MS, frames, frame(stamp)) for stamp in stamps]
    due += [(m.stamp, client.events, cdr.encode(m)) for m in cut(events, 5)]
    # Two topics have no order on the way; so must the images have none of it.
    for _, publisher, message in sorted(due, key=lambda item: item[0]):
        publisher.publish(message)
    client.until(lambda: len(client.images) == len(expected))
    assert same(client.images, expected)
    counts = client.counts(lambda counts: counts["sync_stamps"] == before["sync_stamps"] + 6)
    assert [counts[name] - before[name] for name in ("sync_used", "sync_late", "unsynced_windows")] == [6, 0, 1]


def test_without_stamps_events_wait_only_so_long_and_it_is_told(node, frames):
    client, process = node
    client.set(windows="sync", sync_timeout=0.05, idle_timeout=0.0)
    before, events = client.counts()["unsynced_windows"], stream()
    client.send(events)
    client.until(lambda: len(client.images) == 3)
    ends, first = [], None
    for t in events["t"]:
        if first is None or t >= first + 50 * MS:
            ends, first = [*ends, t], t
        ends[-1] = t
    assert [stamp_of(m) for m in client.images] == ends[:3]
    assert client.counts(lambda counts: counts["unsynced_windows"] > before)["unsynced_windows"] == before + 3
    client.until(lambda: "windows ended without a stamp on /sync" in process.err)


def test_a_sync_topic_without_a_header_is_told(node):
    client, process = node
    publisher = client.node.create_publisher(String, "/sync", 10)
    client.set(windows="sync")
    text = "/sync: has type std_msgs/msg/String; expected a type that begins with a std_msgs/Header"
    client.until(lambda: text in process.err)
    client.node.destroy_publisher(publisher)


def test_a_sync_topic_that_comes_back_with_another_type_and_qos_is_met(node):
    client, _ = node
    client.set(windows="sync")
    publisher = client.node.create_publisher(Image, "/sync", 10)
    client.until(publisher.get_subscription_count)
    client.node.destroy_publisher(publisher)
    best_effort = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    publisher = client.node.create_publisher(TimeReference, "/sync", best_effort)
    before = client.counts()["sync_stamps"]

    def taken(counts):
        publisher.publish(TimeReference(header=frame(T0).header))
        return counts["sync_stamps"] > before

    client.counts(taken)
    client.node.destroy_publisher(publisher)


@pytest.mark.parametrize("wrong", [-3600 * S, 60 * MS, 3600 * S])
def test_an_event_or_a_message_of_another_time_changes_no_image(node, small_weights, wrong):
    client, _ = node
    messages = cut(stream())
    before = client.known()
    one = stream()[1000:1001]
    one["t"] += wrong
    alone = cut(one)[0]
    for i, message in enumerate(messages):
        client.events.publish(cdr.encode(message))
        if i == 8:
            client.events.publish(cdr.encode(alone))
    expected = offline(small_weights[1], stream())
    client.expect(expected)
    after = client.counts(lambda c: c["messages"] - before["messages"] == 21 and c["pending_events"] == 0)
    assert after["time_jumps"] == before["time_jumps"] and after["gaps"] == before["gaps"]
    assert after["stray_events"] - before["stray_events"] == 1
    assert "whose time is far from that of the messages before and after" in after["last_error"]


@pytest.mark.parametrize(("gap", "forgets"), [(3 * S, False), (8 * S, True)])
def test_a_long_gap_makes_the_network_forget_and_a_short_one_does_not(node, small_weights, gap, forgets):
    client, _ = node
    before = client.known()["gaps"]
    for t0 in (stream()["t"][0], stream()["t"][-1] + gap):
        client.send(stream(t0=int(t0)))
    client.until(lambda: len(client.images) == 20)
    first, second = client.images[:10], client.images[10:]
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(first, second, strict=True)) == forgets
    stamps = [stamp_of(m) for m in client.images]
    assert stamps == sorted(set(stamps)), "stamps increase, even where the network forgets"
    assert client.counts()["gaps"] - before == forgets


def test_simulated_time_may_stand_still_jump_and_run_backwards(client, small_weights):
    clock = client.node.create_publisher(Clock, "/clock", 10)
    process = client.start_node(f"weights:={small_weights[0]}", "use_sim_time:=true", "period:=0.02")
    assert client.set(idle_timeout=1.0)[0].successful
    expected = offline(small_weights[1], stream())
    for now in (5000 * S, 20 * S, 9000 * S):
        client.until(clock.get_subscription_count)
        clock.publish(Clock(clock=time_message(now)))
        client.send(stream())
        client.expect(expected)
        client.images.clear()
        client.stamps.clear()
        client.until(lambda: client.stamps and client.stamps[-1] == now)  # noqa: B023
    assert process.stop() == 0
