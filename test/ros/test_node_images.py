"""The node's images: those of the offline core; and what it publishes beside them while somebody subscribes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from harness import MS, TOPICS, H, W, cut, module, offline, pixels, stamp_of, stream
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from cista_ros.event_filter import EventFilter
from cista_ros.networks import make_network, save_network
from cista_ros.reconstructor import Reconstructor
from cista_ros.tone_map import to_mono8, to_mono16
from cista_ros.util.drawing import draw_activity, draw_events
from cista_ros.window_maker import WindowMaker
from cista_ros.windows import CountWindows, PeriodWindows
from cista_ros.wire import cdr

STAND_IN = str(Path(__file__).parents[1] / "cuda_standin.py")


def test_images_stamps_frame_and_size_are_those_of_the_offline_core(node, small_weights):
    client, _ = node
    events = stream()
    expected = offline(small_weights[1], events)
    client.send(events, frame_id="left_camera")
    client.until(lambda: len(client.images) == len(expected))
    assert [stamp_of(m) for m in client.images] == [picture.stamp for picture in expected]
    assert expected[0].stamp == events["t"][events["t"] < events["t"][0] + 20 * MS][-1], "a window's last event"
    assert {m.header.frame_id for m in client.images} == {"left_camera"}
    assert {(m.height, m.width, m.encoding, m.step) for m in client.images} == {(H, W, "mono8", W)}
    for message, picture in zip(client.images, expected, strict=True):
        assert np.array_equal(pixels(message), to_mono8(picture.shown))


@pytest.mark.parametrize("every_ms", [1, 7, 50])
def test_images_do_not_depend_on_how_the_driver_cuts_messages(node, small_weights, every_ms):
    client, _ = node
    expected = offline(small_weights[1], stream())
    client.send(stream(), every_ms)
    client.expect(expected)


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "32FC1"])
def test_encodings_bear_the_tone_mapped_floats(node, small_weights, encoding):
    client, _ = node
    client.set(encoding=encoding, tone_map="stretch")
    expected = [picture.shown for picture in offline(small_weights[1], stream(), tone_map="stretch")]
    client.send(stream())
    client.until(lambda: len(client.images) == len(expected))
    convert = {"mono8": to_mono8, "mono16": to_mono16, "32FC1": lambda image: image}[encoding]
    for message, shown in zip(client.images, expected, strict=True):
        assert message.encoding == encoding
        assert message.step == W * pixels(message).itemsize
        assert np.array_equal(pixels(message), convert(shown))


def test_windows_by_count(node, small_weights):
    client, _ = node
    client.set(windows="count", count=700)
    expected = offline(small_weights[1], stream(), windower=lambda: CountWindows(700))
    client.send(stream())
    client.until(lambda: len(client.images) == len(expected) == 5)
    assert [stamp_of(m) for m in client.images] == [int(stream()["t"][i]) for i in (699, 1399, 2099, 2799, 2999)]
    assert all(np.array_equal(pixels(m), to_mono8(p.shown)) for m, p in zip(client.images, expected, strict=True))


def test_crowded_windows_are_split_as_offline(node, small_weights):
    client, _ = node
    client.set(max_events=60)
    expected = offline(small_weights[1], stream(), max_events=60)
    assert max(picture.steps for picture in expected) > 1
    client.send(stream())
    client.expect(expected)


def test_a_looped_recording_gives_the_same_images_again(node, small_weights):
    client, _ = node
    before = client.known()["time_jumps"]
    expected = offline(small_weights[1], stream())
    for _ in range(3):
        client.send(stream())
    client.expect(3 * expected)
    assert client.counts()["time_jumps"] - before == 2


def test_reset_begins_anew_and_takes_another_size(node, small_weights):
    client, _ = node
    expected = offline(small_weights[1], stream())
    later = stream(t0=int(stream()["t"][-1]) + 40 * MS)
    for events in (stream(), later):
        client.send(events)
        client.expect(expected)
        client.images.clear()
        client.reset()
    wide = stream(height=32, width=50)
    client.send(wide, height=32, width=50)
    expected = offline(small_weights[1], wide, 32, 50)
    client.expect(expected)


def test_silence_flushes_the_open_window(node, small_weights):
    client, _ = node
    client.set(period=10.0)
    client.send(stream())
    client.until(lambda: len(client.images) == 1)
    assert stamp_of(client.images[0]) == stream()["t"][-1]
    client.counts(lambda counts: counts["pending_events"] == 0)


def test_without_a_time_out_the_open_window_stays_open(node, small_weights):
    client, _ = node
    client.set(period=10.0, idle_timeout=0.0)
    events = stream()
    client.send(events)
    client.counts(lambda counts: counts["pending_events"] == len(events))
    client.counts(lambda counts: counts["pending_events"] == len(events))
    assert not client.images


def test_camera_info_comes_beside_each_image_with_its_header(node):
    client, _ = node
    sent = CameraInfo(height=H, width=W, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.2])
    sent.k[0] = sent.k[4] = 123.0
    sent.header.frame_id = "somewhere else"
    client.camera_info.publish(sent)
    first, rest = cut(stream())[0], cut(stream())[1:]
    # Two topics have no order: the camera info is there once an image comes with one.
    client.events.publish(cdr.encode(first))
    client.until(lambda: client.images)
    client.until(lambda: client.infos)
    client.images.clear()
    client.infos.clear()
    for message in rest:
        client.events.publish(cdr.encode(message))
    client.until(lambda: len(client.infos) == 10)
    assert [info.header for info in client.infos] == [image.header for image in client.images]
    assert client.infos[0].header.frame_id == "dvs"
    for info in client.infos:
        info.header = sent.header
    assert all(info == sent for info in client.infos)


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
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.02")
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
        *(f"weights:={small_weights[0]}", "period:=0.02", "downscale:=2"),
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="a real GPU does not equal the CPU to the bit")
def test_images_on_a_stand_in_for_a_gpu_equal_those_of_the_cpu_also_after_changes_while_running(client, small_weights):
    weights, network = small_weights
    parameters = f"weights:={weights}", "device:=cuda", "period:=0.02", "idle_timeout:=0.3", "max_latency:=0.0"
    options = [word for assignment in parameters for word in ("-p", assignment)]
    command = module("reconstruct", "--ros-args", *TOPICS, *options)
    process = client.start(STAND_IN, *command[1:])
    client.until_ready(process)
    events = stream()
    expected = offline(network, events, runtime="eager")
    for precision in ("fp32", "bf16", "fp32"):
        assert client.set(precision=precision)[0].successful
        client.reset()
        client.send(events)
        client.until(lambda: len(client.images) == len(expected))
        for message, frame in zip(client.images, expected, strict=True):
            assert precision == "bf16" or np.array_equal(pixels(message), to_mono8(frame.shown))
        client.images.clear()
    counts = client.counts(lambda counts: counts.get("pending_events") == 0)
    assert counts["device"] == "cuda" and counts["failed_windows"] == 0
    assert float(counts["device_memory_mb"]) > 0 and float(counts["device_memory_total_mb"]) == 8192
    assert "runtime cuda-graph fp32" in process.err + process.out
    assert process.stop() == 0 and "Traceback" not in process.err
