"""event_camera_msgs/EventPacket in real processes: the node finds the type by itself, the player sends what it read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dvs_msgs.msg import EventArray
from harness import MS, module, stamp_of, stream
from rclpy.qos import QoSProfile
from recordings.makers import write_bag

from cista_ros.recordings import open_recording
from cista_ros.wire import cdr
from cista_ros.wire.event_packet import PacketDecoder, PacketEncoder
from cista_ros.wire.ros_types import EVENT_PACKET, EventMessage

event_camera_msgs = pytest.importorskip("event_camera_msgs.msg", reason="event_camera_msgs is not installed")
TOPIC = "/event_camera/events"


def packets(events, encoding="evt3", height=20, width=24):
    encoder = PacketEncoder(encoding)
    parts = np.array_split(events, 20)
    return [encoder.encode(EventMessage(0, "cam", height, width, part), seq) for seq, part in enumerate(parts)]


def whole_us(events):
    events["t"] = events["t"] % (10**9) // 1000 * 1000
    return events


def start_node(client, weights, *parameters):
    options = [word for p in (f"weights:={weights}", *parameters) for word in ("-p", p)]
    return client.start(*module("reconstruct", "--ros-args", "-r", f"events:={TOPIC}", *options))


def test_the_player_sends_packets_as_they_were_recorded_and_the_node_uses_every_event(
    client, small_weights, shared_file
):
    path = shared_file("recordings/evt3_walk")
    with open_recording(path) as recording:
        sent = [r.message.packet for r in recording.read()]
    got = []
    client.node.create_subscription(event_camera_msgs.EventPacket, TOPIC, got.append, QoSProfile(depth=1000), raw=True)
    node = start_node(client, small_weights[0], "downscale:=4", "period:=0.1", "max_latency:=0.0")
    player = client.start(*module("play", path, "--rate", 4, "--wait-for-nodes", 1, "--wait-for-subscribers", 2))
    client.until(lambda: player.popen.poll() is not None)
    counts = client.counts(lambda c: c["received_events"] == 343_474 and c["pending_events"] == 0)
    assert player.wait() == 0, player.err
    assert counts["used_events"] == 343_474
    assert counts["missing_packets"] == counts["unplaced_events"] == counts["malformed_messages"] == 0
    client.until(lambda: len(client.images) == counts["images"] >= 20)
    assert {(m.height, m.width, m.header.frame_id) for m in client.images} == {(120, 160, "0293")}
    second = 10**9  # ROS time, that of the packets' headers, not the camera's own of 7 to 10 s
    assert sent[0].stamp - second < stamp_of(client.images[0]) < stamp_of(client.images[-1]) < sent[-1].stamp + second
    assert [bytes(data) for data in got] == [cdr.encode(packet) for packet in sent]
    assert node.stop() == 0


def test_what_is_no_packet_is_counted_and_the_node_goes_on_with_the_publishers_of_another_type(client, small_weights):
    node = start_node(client, small_weights[0], "period:=0.02", "event_time:=host")
    publisher = client.node.create_publisher(event_camera_msgs.EventPacket, TOPIC, QoSProfile(depth=1000))
    client.until(publisher.get_subscription_count)
    good = packets(whole_us(stream(n=2000)))
    publisher.publish(cdr.encode(good[0]))
    for bad in (
        replace(good[0], encoding="evt9"),
        replace(good[1], data=good[1].data[:-1]),
        replace(good[1], height=30, seq=2),
    ):
        publisher.publish(cdr.encode(bad))
    publisher.publish(cdr.encode(good[2])[:-20])
    for packet in good[3:]:
        publisher.publish(cdr.encode(packet))
    counts = client.counts(lambda c: c["messages"] == 22)
    assert counts["malformed_messages"] == 3
    assert counts["wrong_size_messages"] == 1
    assert counts["received_events"] == 1800
    assert "unknown encoding 'evt9'" in node.err
    # Another driver takes over the topic.
    client.node.destroy_publisher(publisher)
    publisher = client.node.create_publisher(EventArray, TOPIC, QoSProfile(depth=1000))
    client.until(publisher.get_subscription_count)
    publisher.publish(cdr.encode(EventMessage(0, "cam", 20, 24, stream(n=500))))
    assert client.counts(lambda c: c["messages"] == 23)["received_events"] == 2300
    assert node.stop() == 0


def test_a_part_of_a_recording_of_packets_is_cut_exactly(client, tmp_path):
    events = whole_us(stream(n=2000))
    rows = [(int(p.seq) * 10 * MS, TOPIC, p) for p in packets(events)]
    path = write_bag(tmp_path / "bag", rows, "mcap")
    decoder, got = PacketDecoder(), []

    def on_packet(data):
        got.extend(decoder.decode(cdr.decode(EVENT_PACKET, data)).events)

    client.node.create_subscription(event_camera_msgs.EventPacket, TOPIC, on_packet, QoSProfile(depth=1000), raw=True)
    player = client.start(
        *module(
            "play",
            path,
            "--rate",
            5,
            "--start",
            0.053,
            "--end",
            0.107,
            "--wait-for-nodes",
            0,
            "--wait-for-subscribers",
            1,
        )
    )
    inside = (events["t"] >= events["t"][0] + 53 * MS) & (events["t"] < events["t"][0] + 107 * MS)
    client.until(lambda: player.popen.poll() is not None and len(got) >= np.count_nonzero(inside))
    np.testing.assert_array_equal(got, events[inside])
