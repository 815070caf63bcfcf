"""The life cycle of the node: configure, activate, deactivate, clean up."""

from __future__ import annotations

import numpy as np
from harness import MS, offline, pixels, save_random, stream
from lifecycle_msgs.srv import GetState
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from cista_ros.node.reconstruct_node import WARM_UP_WINDOWS
from cista_ros.tone_map import to_mono8

NAME = "/cista_reconstruct"
CYCLE = ("configure", "activate", "deactivate", "cleanup")
FAST = ("period:=0.02", "idle_timeout:=1.0")


def start(client, *parameters):
    process = client.start_node(*parameters, active=False)
    client.until(lambda: client.node.count_services(f"{NAME}/change_state"))
    return process


def state(client):
    return client.call(GetState, f"{NAME}/get_state", GetState.Request()).current_state.label


def through(client, *labels):
    for label in labels:
        assert client.transition(label), label


def expect(client, expected):
    client.expect(expected)
    client.images.clear()


def cycle(client, expected):
    """Once through the life cycle, with images in between, which must be those expected."""
    through(client, "configure", "activate")
    client.until(client.events.get_subscription_count)
    client.send(stream())
    expect(client, expected)
    through(client, "deactivate", "cleanup")


def test_it_starts_by_itself_and_can_be_stopped_and_started(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}", *FAST)
    expected = offline(small_weights[1], stream())
    assert state(client) == "active"
    client.send(stream())
    expect(client, expected)
    through(client, "deactivate")
    client.until(lambda: not client.node.count_subscribers("/dvs/events"))
    assert client.counts(lambda c: c["state"] == "inactive")["pending_events"] == 0
    client.send(stream())
    through(client, "activate")
    client.until(client.events.get_subscription_count)
    client.send(stream())
    expect(client, expected)
    counts = client.counts(lambda c: c["state"] == "active")
    assert counts["received_events"] == counts["used_events"] == 2 * len(stream())
    assert process.stop() == 0


def test_without_autostart_it_waits_to_be_told(client, small_weights):
    process = start(client, "autostart:=false", "weights:=/no/such/file")
    assert state(client) == "unconfigured"
    assert not client.node.count_publishers("/image_raw")
    assert not client.transition("configure")
    client.until(lambda: "Configuring failed: weights '/no/such/file': neither a file nor" in process.err)
    assert state(client) == "unconfigured"
    assert client.set(weights=str(small_weights[0]), period=0.02, idle_timeout=1.0)[0].successful
    through(client, "configure")
    client.until(lambda: client.node.count_publishers("/image_raw") == 1)
    assert client.node.count_subscribers("/dvs/events") == 0
    through(client, "activate")
    client.until(client.events.get_subscription_count)
    client.send(stream())
    client.expect(offline(small_weights[1], stream()))
    through(client, "shutdown")
    assert state(client) == "finalized"
    assert process.stop() == 0


def test_what_waits_when_it_is_deactivated_is_dropped_and_counted(client, full_weights):
    process = client.start_node(f"weights:={full_weights}", "period:=0.002")
    n = client.send(stream(6000, height=180, width=240), height=180, width=240)
    client.until(lambda: client.images)
    client.counts(lambda c: c["messages"] == n)
    through(client, "deactivate")
    counts = client.counts(lambda c: c["state"] == "inactive")
    client.until(lambda: len(client.images) == counts["images"])
    assert counts["discarded_events"] > 0
    assert counts["used_events"] + counts["discarded_events"] == counts["received_events"] == 6000
    assert counts["pending_events"] == 0
    assert process.stop() == 0


def test_it_goes_round_without_growing(client, small_weights):
    process = start(client, "autostart:=false", f"weights:={small_weights[0]}", *FAST)
    expected = offline(small_weights[1], stream())
    cycle(client, expected)
    threads, memory = process.threads(), process.resident_mb()
    for _ in range(5):
        cycle(client, expected)
    assert process.threads() <= threads
    assert process.resident_mb() < memory + 10
    assert process.stop() == 0
    assert "Traceback" not in process.err


def test_a_lazy_node_subscribes_only_while_images_have_subscribers(client, small_weights):
    client.node.destroy_subscription(client.image_subscription)
    process = start(client, f"weights:={small_weights[0]}", *FAST, "lazy:=true")
    client.until(lambda: client.statuses and client.statuses[-1].message == "idle: the images have no subscribers")
    assert client.statuses[-1].level == b"\0"
    assert client.node.count_subscribers("/dvs/events") == 0
    expected = offline(small_weights[1], stream())
    # When it returns to a camera that has gone on, the network's state must settle first.
    for images in (expected, expected[WARM_UP_WINDOWS:]):
        wanted = client.node.create_subscription(Image, "image_raw", client.images.append, QoSProfile(depth=1000))
        client.until(client.events.get_subscription_count)
        client.send(stream())
        expect(client, images)
        client.node.destroy_subscription(wanted)
        client.until(lambda: not client.node.count_subscribers("/dvs/events"))
    assert process.stop() == 0


def test_a_type_whose_package_is_missing_is_told_when_somebody_wants_images_and_does_not_end_the_node(
    client, small_weights
):
    client.node.destroy_subscription(client.image_subscription)
    missing = "events_type:=event_array_msgs/msg/EventArray"
    process = start(client, f"weights:={small_weights[0]}", *FAST, "lazy:=true", missing)
    client.until(lambda: client.statuses and client.statuses[-1].message == "idle: the images have no subscribers")
    client.node.create_subscription(Image, "image_raw", client.images.append, QoSProfile(depth=1000))
    client.until(lambda: client.statuses and client.statuses[-1].level == b"\2")
    said = "cannot subscribe to /dvs/events: event_array_msgs/msg/EventArray: the package event_array_msgs is not"
    assert client.statuses[-1].message.startswith(said)
    assert process.err.count(said[1:]) == 1
    assert client.set(events_type="auto")[0].successful
    client.until(client.events.get_subscription_count)
    client.send(stream())
    client.expect(offline(small_weights[1], stream()))
    assert process.stop() == 0


def test_weights_set_again_are_read_again_if_their_file_has_changed(client, tmp_path):
    path, first = save_random(tmp_path / "mine.safetensors", channels=8, iterations=2)
    process = client.start_node(f"weights:={path}", "tone_map:=robust", *FAST)  # random networks have little contrast
    client.send(stream())
    expect(client, offline(first, stream(), tone_map="robust"))
    _, second = save_random(path, channels=12, iterations=1)
    client.send(stream())
    expect(client, offline(first, stream(), tone_map="robust"))
    assert client.set(weights=str(path))[0].successful
    client.send(stream())
    expect(client, offline(second, stream(), tone_map="robust"))
    # Unchanged, so the stream continues without a reset of the network.
    later = stream(t0=int(stream()["t"][-1]) + 15 * MS)
    assert client.set(weights=str(path))[0].successful
    client.send(later)
    client.until(lambda: len(client.images) >= 10)
    fresh = [to_mono8(picture.shown) for picture in offline(second, later, tone_map="robust")]
    assert not np.array_equal(pixels(client.images[0]), fresh[0])
    assert process.stop() == 0
