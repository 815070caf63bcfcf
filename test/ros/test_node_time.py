"""Time that jumps, in the events and on /clock: the network forgets when it must, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from harness import MS, cut, offline, pixels, stamp_of, stream
from rosgraph_msgs.msg import Clock

from cista_ros.node.images import time_message
from cista_ros.tone_map import to_mono8
from cista_ros.wire import cdr

S = 1000 * MS


def shown(pictures):
    return [to_mono8(picture.shown) for picture in pictures]


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
    expected = shown(offline(small_weights[1], stream()))
    client.until(lambda: len(client.images) == len(expected))
    after = client.counts(lambda c: c["messages"] - before["messages"] == 21 and c["pending_events"] == 0)
    assert after["time_jumps"] == before["time_jumps"] and after["gaps"] == before["gaps"]
    assert after["stray_events"] - before["stray_events"] == 1
    assert all(np.array_equal(pixels(m), image) for m, image in zip(client.images, expected, strict=True))
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
    assert client.set(idle_timeout=1.0, max_latency=0.0)[0].successful
    expected = shown(offline(small_weights[1], stream()))
    for now in (5000 * S, 20 * S, 9000 * S):
        client.until(clock.get_subscription_count)
        clock.publish(Clock(clock=time_message(now)))
        client.send(stream())
        client.until(lambda: len(client.images) == len(expected))
        assert all(np.array_equal(pixels(m), image) for m, image in zip(client.images, expected, strict=True))
        client.images.clear()
        client.stamps.clear()
        client.until(lambda: client.stamps and client.stamps[-1] == now)  # noqa: B023
    assert process.stop() == 0
