"""The recorder in a real process: what it does with messages that are none, and when it cannot write."""

from __future__ import annotations

import json
import time

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from harness import H, W, cut, module, stream
from sensor_msgs.msg import Image

from cista_ros.events import binned
from cista_ros.util.drawing import draw_events
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import ImageMessage


def start(client, folder):
    recorder = client.start(*module("record", "-o", folder, "--ros-args", "-r", "events:=/dvs/events"))
    images = client.node.create_publisher(Image, "image_raw", 10)
    client.until(lambda: images.get_subscription_count() == 2)  # this client's, too
    client.until(client.events.get_subscription_count)
    return recorder, images


def image(stamp, height=H, width=W):
    return cdr.encode(ImageMessage(stamp, "dvs", "mono8", np.full((height, width), 99, np.uint8)))


def test_events_are_subscribed_to_only_when_the_images_have_a_publisher(client, tmp_path):
    client.start(*module("record", "-o", tmp_path, "--ros-args", "-r", "events:=/dvs/events"))
    infos = client.node.get_subscriptions_info_by_topic
    client.until(lambda: any(info.node_name == "cista_record" for info in infos("/image_raw")))
    until = time.monotonic() + 1
    client.until(lambda: time.monotonic() > until)
    assert not client.events.get_subscription_count()
    client.node.create_publisher(Image, "image_raw", 10)
    client.until(client.events.get_subscription_count)


def test_a_message_that_is_none_is_told_and_counted_and_the_rest_recorded(client, tmp_path):
    recorder, images = start(client, tmp_path)
    messages = cut(stream())
    client.events.publish(b"\0\1\0\0 no message")
    for message in messages:
        client.events.publish(cdr.encode(message))
    # An image may be taken before events that came earlier; with each image at least one of those is taken.
    for i in range(len(messages) + 1):
        images.publish(image(messages[-1].stamp + i))
        client.until(lambda i=i: (tmp_path / "events" / f"{i:08d}.png").exists())
    assert recorder.stop() == 0, recorder.err
    report = json.loads((tmp_path / "record.json").read_text())
    assert (report["messages"], report["malformed_messages"], report["events"]) == (len(messages) + 1, 1, 3000)
    assert "Skipped a message with events" in recorder.err


def test_events_that_no_image_came_for_are_counted_and_told(client, tmp_path):
    recorder, images = start(client, tmp_path)
    client.send(stream())
    client.send(stream(1000), 1000)  # another round of a looped recording: no image of the first is to come
    client.until(lambda: "No image came for 3000 events so far" in recorder.err)
    images.publish(image(int(stream()["t"][-1]) + 10**9))
    client.until(lambda: (tmp_path / "events" / "00000000.png").exists())
    assert recorder.stop() == 0, recorder.err
    report = json.loads((tmp_path / "record.json").read_text())
    assert (report["events"], report["dropped_events"], report["images"][0]["events"]) == (4000, 3000, 1000)


def test_an_image_that_cannot_be_shown_is_told_and_counted_and_the_rest_recorded(client, tmp_path):
    recorder, images = start(client, tmp_path)
    cut_short = image(1)[:-4]
    unknown = Image(encoding="rgb9", height=1, width=1, step=3, data=bytes(3))
    for wrong in (unknown, cut_short, Image(encoding="mono8", height=1), b"\0\1\0\0 no image"):
        images.publish(wrong)
    images.publish(image(2))
    client.until(lambda: (tmp_path / "events" / "00000000.png").exists())
    assert recorder.stop() == 0, recorder.err
    report = json.loads((tmp_path / "record.json").read_text())
    assert (report["malformed_messages"], [i["stamp_ns"] for i in report["images"]]) == (4, [2])
    assert "Skipped an image: unknown image encoding 'rgb9'" in recorder.err


def test_events_are_drawn_at_the_size_of_images_that_are_smaller_than_the_sensor(client, tmp_path):
    recorder, images = start(client, tmp_path)
    events = stream(20)
    events["x"][0] = W  # a damaged message may hold such
    (message,) = cut(events, 1000)
    client.events.publish(cdr.encode(message))
    for i in range(2):  # the first may be taken before the events
        images.publish(image(message.stamp + i, H // 2, W // 2))
        client.until(lambda i=i: (tmp_path / "events" / f"{i:08d}.png").exists())
    assert recorder.stop() == 0, recorder.err
    shown = [entry["events"] for entry in json.loads((tmp_path / "record.json").read_text())["images"]]
    drawn = cv2.imread(str(tmp_path / "events" / f"{shown.index(20):08d}.png"))
    assert np.array_equal(drawn, draw_events(binned(events[1:], 2, H // 2, W // 2), H // 2, W // 2))


def test_diagnostics_that_are_none_are_told_and_counted(client, tmp_path):
    recorder, _ = start(client, tmp_path)
    diagnostics = client.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    # The client's own subscription is not raw.
    client.node.destroy_subscription(next(s for s in client.node.subscriptions if s.topic_name == "/diagnostics"))
    client.until(diagnostics.get_subscription_count)
    diagnostics.publish(b"\0\1\0\0 no diagnostics")
    client.until(lambda: "Skipped diagnostics: " in recorder.err)
    assert recorder.stop() == 0, recorder.err
    assert json.loads((tmp_path / "record.json").read_text())["malformed_messages"] == 1


def test_a_place_that_can_no_longer_be_written_is_named_and_the_report_still_written(client, tmp_path):
    recorder, images = start(client, tmp_path)
    (tmp_path / "frames").rmdir()
    (tmp_path / "frames").write_text("no folder")
    images.publish(image(1))
    client.until(lambda: recorder.popen.poll() is not None)
    assert recorder.wait() == 2
    last = recorder.err.strip().splitlines()[-1]
    assert last.startswith("cista_record: error: ") and "frames/00000000.png" in last
    assert json.loads((tmp_path / "record.json").read_text())["images"] == []
