"""Choosing topics by type."""

import pytest

from cista_ros.errors import RecordingError
from cista_ros.recordings.topics import find_topics
from cista_ros.wire.ros_types import CAMERA_INFO, COMPRESSED_IMAGE, EVENT_ARRAY, EVENT_PACKET, IMAGE

IMU = "sensor_msgs/msg/Imu"
EVENTS = {"/a": EVENT_ARRAY}
DVS = {
    "/dvs/events": EVENT_ARRAY,
    "/dvs/image_raw": IMAGE,
    "/dvs/camera_info": CAMERA_INFO,
    "/dvs/imu": "sensor_msgs/msg/Imu",
}
STEREO = {
    f"/{side}/{name}": kind
    for side in ("left", "right")
    for name, kind in (("events", EVENT_ARRAY), ("image_raw", IMAGE), ("camera_info", CAMERA_INFO))
}


def test_the_only_topics_of_their_types_are_taken_whatever_their_names():
    topics = find_topics({"/a": EVENT_ARRAY, "/b/c": IMAGE, "/d": CAMERA_INFO, "/e": "std_msgs/msg/String"})
    assert (topics.events, topics.frames, topics.camera_info) == ("/a", "/b/c", "/d")


@pytest.mark.parametrize("kind", [EVENT_PACKET, "event_array_msgs/msg/EventArray"])
def test_packets_are_events_too(kind):
    assert find_topics({"/a": kind, "/b": IMAGE}).events == "/a"
    assert find_topics({**DVS, "/a": kind}, events_topic="/a").events == "/a"


def test_the_events_topic_brings_its_siblings():
    topics = find_topics(STEREO, events_topic="/right/events")
    assert (topics.events, topics.frames, topics.camera_info) == (
        "/right/events",
        "/right/image_raw",
        "/right/camera_info",
    )


def test_named_frames_bring_their_own_camera_info():
    topics = find_topics(STEREO, events_topic="/right/events", frames_topic="/left/image_raw")
    assert (topics.frames, topics.camera_info) == ("/left/image_raw", "/left/camera_info")


def test_the_usual_name_is_preferred_among_siblings():
    topics = find_topics({**DVS, "/dvs/accumulated": IMAGE, "/other/image_raw": IMAGE})
    assert topics.frames == "/dvs/image_raw"


def test_the_only_sibling_is_preferred():
    assert find_topics({"/dvs/events": EVENT_ARRAY, "/dvs/frame": IMAGE, "/other": IMAGE}).frames == "/dvs/frame"


def test_unclear_frames_are_no_error_yet_but_say_why():
    topics = find_topics({"/events": EVENT_ARRAY, "/b/image": IMAGE, "/a/image": IMAGE})
    assert topics.frames is None
    assert topics.unclear_frames == "several topics have images: /a/image, /b/image; choose one with --frames-topic"


def test_no_frames_and_no_camera_info_are_no_error():
    topics = find_topics({"/dvs/events": EVENT_ARRAY})
    assert (topics.frames, topics.camera_info, topics.unclear_frames) == (None, None, "")


@pytest.mark.parametrize(
    ("types", "names", "expected"),
    [
        (STEREO, {}, "several topics have events: /left/events, /right/events; choose one with --events-topic"),
        ({}, {}, "no topic has events"),
        ({"/a": IMAGE}, {}, f"the recording has /a ({IMAGE})"),
        ({**EVENTS, "/b": EVENT_PACKET}, {}, "several topics have events: /a, /b; choose one with --events-topic"),
        (EVENTS, {"events_topic": "/b"}, f"no topic /b (--events-topic); the recording has /a ({EVENT_ARRAY})"),
        (EVENTS, {"frames_topic": "/b"}, f"no topic /b (--frames-topic); the recording has /a ({EVENT_ARRAY})"),
        (DVS, {"events_topic": "/dvs/imu"}, f"topic /dvs/imu (--events-topic) has type {IMU}"),
        (DVS, {"frames_topic": "/dvs/imu"}, f"topic /dvs/imu (--frames-topic) has type {IMU}; expected {IMAGE}"),
    ],
)  # fmt: skip
def test_errors_list_what_there_is(types, names, expected):
    with pytest.raises(RecordingError) as caught:
        find_topics(types, **names)
    assert expected in str(caught.value)


def test_frames_and_camera_info_of_another_event_camera_are_never_used():
    """As in MVSEC's outdoor recordings, where only the left camera has images."""
    types = {name: kind for name, kind in STEREO.items() if name not in ("/right/image_raw", "/right/camera_info")}
    topics = find_topics(types, events_topic="/right/events")
    assert (topics.frames, topics.camera_info, topics.unclear_frames) == (None, None, "")
    with_info = find_topics({**types, "/right/camera_info": CAMERA_INFO}, events_topic="/right/events")
    assert (with_info.frames, with_info.camera_info) == (None, "/right/camera_info")


def test_frames_of_another_namespace_are_noted():
    topics = find_topics({"/event_camera/events": EVENT_PACKET, "/cam0/image_raw": IMAGE})
    assert topics.frames == "/cam0/image_raw" and "another namespace" in topics.note
    assert not find_topics(DVS).note


def test_compressed_images_are_frames_unless_there_are_raw_ones():
    compressed = {"/dvs/events": EVENT_ARRAY, "/dvs/image_raw/compressed": COMPRESSED_IMAGE}
    assert find_topics(compressed).frames == "/dvs/image_raw/compressed"
    assert find_topics({**DVS, **compressed}).frames == "/dvs/image_raw"
    assert find_topics({**compressed, "/dvs/camera_info": CAMERA_INFO}).camera_info == "/dvs/camera_info"


@pytest.mark.parametrize("package", ["prophesee_event_msgs", "dv_ros_msgs", "dv_ros2_msgs"])
def test_event_arrays_of_other_packages_are_events(package):
    assert find_topics({"/a": f"{package}/msg/EventArray", "/b": IMAGE}).events == "/a"
