"""What the node tells of itself: levels, rates, latencies, numbers to plot; and what it refuses without harm."""

from __future__ import annotations

import re
import resource
from dataclasses import replace

import numpy as np
import pytest
from harness import cut, offline, stream
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray

from cista_ros.wire import cdr

OK, WARN, ERROR = b"\0", b"\1", b"\2"


def latest(client, level, pattern):
    """Wait for a status of this level whose message has this pattern, and return its values."""
    client.statuses.clear()
    client.until(lambda: client.statuses and client.statuses[-1].level == level)
    assert re.search(pattern, client.statuses[-1].message), client.statuses[-1].message
    return {item.key: item.value for item in client.statuses[-1].values}


def rates_of(message):
    names = message.layout.dim[0].label.split(",")
    assert message.layout.dim[0].size == len(names) == len(message.data)
    return dict(zip(names, message.data, strict=True))


def test_rates_latencies_and_memory_are_reported_and_plotted(node):
    client, _ = node
    numbers = []
    plot = client.node.create_subscription(Float64MultiArray, "/cista_reconstruct/statistics", numbers.append, 10)
    client.until(lambda: client.node.count_publishers("/cista_reconstruct/statistics"))
    client.until(lambda: numbers)
    client.statuses.clear()
    client.send(stream())
    client.until(lambda: len(client.images) == 10)

    def reports():
        return [{item.key: item.value for item in status.values} for status in client.statuses]

    client.until(lambda: any(float(report["image_rate"]) > 0 for report in reports()))
    busy = max(reports(), key=lambda report: float(report["image_rate"]))
    client.until(lambda: any(rates_of(message)["image_rate"] > 0 for message in numbers))
    client.node.destroy_subscription(plot)
    assert 0 < float(busy["latency_ms_p50"]) <= float(busy["latency_ms_p95"]) <= float(busy["latency_ms_max"]) < 30_000
    assert 50 < float(busy["process_memory_mb"]) < 5000
    assert float(busy["clock_offset_s"]) == 0  # our camera stamps a message with its last event
    plotted = max(map(rates_of, numbers), key=lambda values: values["image_rate"])
    for name in ("event_rate", "image_rate", "latency_ms_p50", "latency_ms_max", "dropped_events"):
        assert plotted[name] == pytest.approx(float(busy[name]), abs=0.01)
    assert any(np.isnan(rates_of(message)["latency_ms_p50"]) for message in numbers)


def test_a_host_clock_far_from_the_sensors_is_told_and_does_no_harm(node, small_weights):
    client, _ = node
    events = stream(t0=5_000_000_000)  # a sensor that counts from when it was switched on
    for message in cut(events):
        later = replace(message, stamp=message.stamp + 1_700_000_000 * 10**9)
        client.events.publish(cdr.encode(later))
    expected = offline(small_weights[1], events)
    client.expect(expected)
    assert client.counts(lambda c: c["clock_offset_s"] == 1_700_000_000)


def test_a_size_for_which_memory_does_not_suffice_is_an_error_until_settings_change(client, full_weights):
    height, width = 1400, 1600
    process = client.start_node(f"weights:={full_weights}", "downscale:=64", "idle_timeout:=0.2", "runtime:=eager")
    events = stream(2000, 0.04, height, width)
    client.send(events, height=height, width=width)
    client.until(lambda: client.images)
    resource.prlimit(process.popen.pid, resource.RLIMIT_AS, (_virtual_bytes(process) + (200 << 20),) * 2)
    (result,) = client.set(downscale=1)
    assert not result.successful
    assert re.search(r"1600x1400 pixels.*allocate \d+ bytes.*downscale", result.reason), result.reason
    client.images.clear()
    client.send(stream(2000, 0.04, height, width, t0=int(events["t"][-1])), height=height, width=width)
    client.until(lambda: client.images)
    assert (client.images[0].height, client.images[0].width) == (21, 25)
    assert client.transition("deactivate") and client.transition("cleanup")
    assert client.set(downscale=1)[0].successful  # nothing is tried before the size is known
    assert client.transition("configure") and client.transition("activate")
    client.until(client.events.get_subscription_count)
    client.send(stream(2000, 0.04, height, width), height=height, width=width)
    values = latest(client, ERROR, "cannot reconstruct 1600x1400 pixels on cpu")
    assert int(values["not_ready_events"]) == 2000 or int(values["pending_events"]) > 0
    assert int(values["wrong_size_messages"]) == int(values["failed_windows"]) == 0
    assert client.set(downscale=64)[0].successful
    client.images.clear()
    client.send(stream(2000, 0.04, height, width), height=height, width=width)
    client.until(lambda: client.images)
    assert process.stop() == 0


def _virtual_bytes(process) -> int:
    with open(f"/proc/{process.popen.pid}/statm") as file:
        return int(file.read().split()[0]) * 4096


def test_a_subscriber_of_images_whose_qos_cannot_be_met_is_told_with_both_sides(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}")
    lasting = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(Image, "image_raw", client.images.append, lasting)
    client.until(lambda: "durability" in process.err)
    line = next(line for line in process.err.splitlines() if "durability" in line)
    # The name of a node that has just started may not be known yet.
    said = r"incompatible QoS on /image_raw \(durability\): subscription( 'test_client')? requests transient-local"
    assert re.search(said, line)
    assert line.endswith("this node offers volatile")
    assert process.stop() == 0


def test_a_camera_whose_qos_cannot_be_met_is_an_error_with_both_sides(client, small_weights):
    override = "qos_overrides./dvs/events.subscription.durability:=transient_local"
    process = client.start_node(f"weights:={small_weights[0]}", override, active=False)
    client.until(lambda: "See qos_overrides" in process.err)
    text = "publisher 'test_client' offers volatile, this node requests transient-local"
    assert "incompatible QoS on /dvs/events (durability): publisher" in process.err  # its name may come later
    latest(client, ERROR, text)
    client.node.destroy_publisher(client.events)
    latest(client, WARN, "no events on /dvs/events")
    assert process.stop() == 0
