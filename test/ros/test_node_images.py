"""The node's images: those of the offline core, with the right stamps, frames, encodings and sizes."""

from __future__ import annotations

import numpy as np
import pytest
from harness import MS, H, W, cut, offline, pixels, stamp_of, stream
from sensor_msgs.msg import CameraInfo

from cista_ros.tone_map import to_mono8, to_mono16
from cista_ros.windows import CountWindows
from cista_ros.wire import cdr


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
    client.until(lambda: len(client.images) == len(expected))
    assert all(np.array_equal(pixels(m), to_mono8(p.shown)) for m, p in zip(client.images, expected, strict=True))


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
    client.until(lambda: len(client.images) == len(expected))
    assert all(np.array_equal(pixels(m), to_mono8(p.shown)) for m, p in zip(client.images, expected, strict=True))


def test_a_looped_recording_gives_the_same_images_again(node, small_weights):
    client, _ = node
    before = client.known()["time_jumps"]
    expected = [to_mono8(picture.shown) for picture in offline(small_weights[1], stream())]
    for _ in range(3):
        client.send(stream())
    client.until(lambda: len(client.images) == 3 * len(expected))
    assert all(np.array_equal(pixels(m), image) for m, image in zip(client.images, 3 * expected, strict=True))
    assert client.counts()["time_jumps"] - before == 2


def test_reset_begins_anew_and_takes_another_size(node, small_weights):
    client, _ = node
    expected = [to_mono8(picture.shown) for picture in offline(small_weights[1], stream())]
    later = stream(t0=int(stream()["t"][-1]) + 40 * MS)
    for events in (stream(), later):
        client.send(events)
        client.until(lambda: len(client.images) == len(expected))
        assert all(np.array_equal(pixels(m), image) for m, image in zip(client.images, expected, strict=True))
        client.images.clear()
        client.reset()
    wide = stream(height=32, width=50)
    client.send(wide, height=32, width=50)
    expected = [to_mono8(picture.shown) for picture in offline(small_weights[1], wide, 32, 50)]
    client.until(lambda: len(client.images) == len(expected))
    assert all(np.array_equal(pixels(m), image) for m, image in zip(client.images, expected, strict=True))


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
