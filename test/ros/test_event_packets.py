"""event_camera_msgs/EventPacket in real processes: the node finds the type by itself, the player sends what it read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from dvs_msgs.msg import EventArray
from harness import MS, module, pixels, stamp_of, stream
from rclpy.qos import QoSProfile
from recordings.makers import rig, write_bag
from sensor_msgs.msg import Image, TimeReference

import cista_ros
from cista_ros.events import concatenate
from cista_ros.node.topics import message_class
from cista_ros.recordings import open_recording
from cista_ros.tone_map import to_mono8
from cista_ros.wire import cdr
from cista_ros.wire.event_packet import EventStream, PacketDecoder, PacketEncoder
from cista_ros.wire.ros_types import EVENT_ARRAY, EVENT_PACKET, EventMessage

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


@pytest.mark.parametrize("with_frames", [True, False])
def test_images_of_a_rig_have_the_stamps_of_its_frames_or_else_of_its_triggers(
    client, small_weights, tmp_path, with_frames
):
    rows, truth = rig(1, missed_pulses=(9,))
    rows = [(time, topic.replace("dvs", "event_camera"), message) for time, topic, message in rows]
    rows = [row for row in rows if row[1] == TOPIC or with_frames]
    path = write_bag(tmp_path / "rig", rows, "mcap")
    options = {"weights": small_weights[0], "windows": "trigger", "event_time": "host", "device": "cpu"}
    expected = list(cista_ros.reconstruct(path, **options))
    parameters = "windows:=trigger", "sync_timeout:=5.0", "idle_timeout:=0.0", "max_latency:=0.0", "lazy:=false"
    node = start_node(client, small_weights[0], *parameters)
    publishers = {TOPIC: client.node.create_publisher(event_camera_msgs.EventPacket, TOPIC, QoSProfile(depth=1000))}
    if with_frames:
        publishers["/event_camera/image_raw"] = client.node.create_publisher(Image, "/sync", QoSProfile(depth=100))
    client.until(lambda: all(publisher.get_subscription_count() for publisher in publishers.values()))
    for _, topic, message in rows:
        publishers[topic].publish(cdr.encode(message))
    client.until(lambda: len(client.images) == len(expected))
    assert [stamp_of(m) for m in client.images] == [frame.stamp for frame in expected]
    assert not with_frames or [frame.stamp for frame in expected] == list(truth.values())
    shown = zip(client.images, expected, strict=True)
    assert all(np.array_equal(pixels(message), to_mono8(frame.shown)) for message, frame in shown)
    counts = client.counts(lambda counts: counts["sync_used"] == 24)
    assert (counts["triggers"], counts["sync_stamps"], counts["unsynced_windows"]) == (48, 24, 0)
    assert node.stop() == 0


@pytest.mark.parametrize("events_as", ["keep", "dvs_msgs", "evt3"])
def test_the_player_publishes_the_triggers_and_the_wanted_type_of_events(client, tmp_path, events_as):
    rows, truth = rig(1)
    rows = [(time, topic.replace("dvs", "event_camera"), message) for time, topic, message in rows]
    path = write_bag(tmp_path / "rig", rows, "mcap")
    with open_recording(path) as source:
        events = concatenate([r.message.events for r in source.read(frames=False)])
    triggers, messages = [], []
    kind = EVENT_ARRAY if events_as == "dvs_msgs" else EVENT_PACKET
    deep = QoSProfile(depth=1000)
    client.node.create_subscription(TimeReference, "/cista_play/triggers", triggers.append, deep)
    client.node.create_subscription(message_class(kind), TOPIC, messages.append, deep, raw=True)
    options = "--wait-for-nodes", 0, "--wait-for-subscribers", 1, "--events", events_as, "--json"
    player = client.start(*module("play", path, *options))
    client.until(lambda: player.popen.poll() is not None and len(triggers) == 50)
    assert json.loads(player.out)["triggers"] == 50
    assert [(stamp_of(m), m.source) for m in triggers[::2]] == [(rise, "input 0 rising") for rise in truth]
    assert {m.source for m in triggers[1::2]} == {"input 0 falling"}
    stream = EventStream(kind, cdr)
    decoded = [stream.decode(bytes(data)) for data in messages]
    assert np.array_equal(concatenate([m.events for m in decoded]), events)
    assert sum(len(m.triggers) for m in decoded) == (0 if events_as == "dvs_msgs" else 50)
