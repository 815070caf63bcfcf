"""What the node publishes beside image_raw, each only while somebody subscribes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from harness import MS, H, W, pixels, stamp_of, stream
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from cista_ros.event_filter import EventFilter
from cista_ros.networks import make_network, save_network
from cista_ros.reconstructor import Reconstructor
from cista_ros.util.drawing import draw_activity, draw_events
from cista_ros.window_maker import WindowMaker
from cista_ros.windows import PeriodWindows


@pytest.fixture
def listen(node):
    """Subscribe a topic; returns the list that its messages go to."""
    client, _ = node
    subscriptions = []

    def subscribe(kind, topic):
        seen = []
        subscriptions.append(client.node.create_subscription(kind, topic, seen.append, 100))
        # Who answers a new client knows our subscriptions, which are older.
        client.set(period=0.02)
        return seen

    yield subscribe
    for subscription in subscriptions:
        client.node.destroy_subscription(subscription)


def test_compressed_images_are_those_of_image_raw(node, listen):
    client, _ = node
    client.set(compression="png")
    compressed = listen(CompressedImage, "/image_raw/compressed")
    client.send(stream())
    client.until(lambda: len(client.images) == len(compressed) == 10)
    for image, message in zip(client.images, compressed, strict=True):
        assert message.header == image.header
        decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(decoded, pixels(image))
    client.set(compression="jpeg", jpeg_quality=50)
    client.reset()
    client.send(stream())
    client.until(lambda: len(compressed) == 20)
    assert compressed[-1].format == "mono8; jpeg compressed "
    assert bytes(compressed[-1].data[:2]) == b"\xff\xd8"


def test_events_and_code_are_shown_as_the_core_draws_them(node, listen, small_weights):
    client, _ = node
    drawn, codes = listen(Image, "/events_image"), listen(Image, "/code_image")
    events = stream()
    client.send(events)
    client.until(lambda: len(drawn) == len(codes) == 10)
    windows = WindowMaker(EventFilter(H, W), lambda: PeriodWindows(20 * MS))
    reconstructor = Reconstructor(small_weights[1], H, W, "cpu", runtime="auto")
    for window, seen, code in zip(windows.push(events) + windows.flush(), drawn, codes, strict=True):
        assert {stamp_of(seen), stamp_of(code)} == {window.stamp}
        assert (seen.height, seen.width, seen.encoding, seen.step) == (H, W, "bgr8", 3 * W)
        expected = draw_events(window.events, H, W)
        assert np.array_equal(np.frombuffer(seen.data, np.uint8).reshape(H, W, 3), expected)
        reconstructor.reconstruct(window.events)
        assert (code.height, code.width, code.encoding) == (H // 2, W // 2, "mono8")
        assert np.array_equal(pixels(code), draw_activity(reconstructor.code_activity()))
    assert pixels(codes[-1]).std() > 10


def test_somebody_who_wants_only_the_compressed_images_gets_them_on_demand(client, small_weights):
    compressed = []
    client.node.destroy_subscription(next(s for s in client.node.subscriptions if s.topic_name == "/image_raw"))
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02", "max_latency:=0.0")
    assert process.popen.poll() is None
    subscription = client.node.create_subscription(CompressedImage, "/image_raw/compressed", compressed.append, 100)
    client.set(lazy=True)
    client.until(client.events.get_subscription_count)
    client.send(stream())
    client.until(lambda: len(compressed) == 10)
    client.node.destroy_subscription(subscription)
    client.until(lambda: not client.node.count_subscribers("/dvs/events"))


def test_a_network_without_a_code_says_so(client, tmp_path):
    network = make_network("firenet")
    save_network(network, tmp_path / "firenet.safetensors")
    client.node.create_subscription(Image, "/code_image", lambda message: None, 10)
    process = client.start_node(f"weights:={tmp_path / 'firenet.safetensors'}", "period:=0.02")
    client.send(stream())
    client.until(lambda: len(client.images) >= 5)
    client.until(lambda: "firenet.safetensors is a network without a sparse code" in process.err)
    assert "No images on /code_image: " in process.err
    assert client.counts()["failed_windows"] == 0


def test_no_camera_info_is_published_where_the_cameras_own_goes(client, small_weights):
    # As where the node has the camera's namespace, and events and camera_info are remapped to the camera's.
    process = client.start_node(
        *(f"weights:={small_weights[0]}", "period:=0.02", "max_latency:=0.0", "downscale:=2"),
        arguments=("-r", "camera_info:=/dvs/camera_info"),
    )
    seen = []
    client.node.create_subscription(CameraInfo, "/dvs/camera_info", seen.append, 100)
    client.camera_info.publish(CameraInfo(height=40, width=48))
    client.until(lambda: seen)
    for _ in range(3):
        client.send(stream(height=40, width=48), height=40, width=48)
    client.until(lambda: len(client.images) == 30)
    assert [(i.binning_x, i.binning_y) for i in seen] == [(0, 0)]
    assert client.node.count_publishers("/dvs/camera_info") == 1
    assert client.counts()["failed_windows"] == 0
    line = "No camera_info is published with the images: /dvs/camera_info is the camera's own topic."
    assert process.err.count(line) == 1
