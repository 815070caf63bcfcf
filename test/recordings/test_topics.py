"""Choosing topics by type."""

import pytest

from cista_ros.errors import RecordingError
from cista_ros.recordings.topics import find_topics
from cista_ros.wire.ros_types import CAMERA_INFO, EVENT_ARRAY, EVENT_PACKET, IMAGE

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
    assert topics.unclear_frames == "several topics hold images: /a/image, /b/image; name one (frames_topic=...)"


def test_no_frames_and_no_camera_info_are_no_error():
    topics = find_topics({"/dvs/events": EVENT_ARRAY})
    assert (topics.frames, topics.camera_info, topics.unclear_frames) == (None, None, None)


@pytest.mark.parametrize(
    ("types", "names", "expected"),
    [
        (STEREO, {}, "several topics hold events: /left/events, /right/events; name one (events_topic=...)"),
        ({}, {}, "no topic of events"),
        ({"/a": IMAGE}, {}, f"the recording has /a ({IMAGE})"),
        ({**EVENTS, "/b": EVENT_PACKET}, {}, "several topics hold events: /a, /b; name one (events_topic=...)"),
        (EVENTS, {"events_topic": "/b"}, f"no topic /b (events_topic); the recording has /a ({EVENT_ARRAY})"),
        (EVENTS, {"frames_topic": "/b"}, f"no topic /b (frames_topic); the recording has /a ({EVENT_ARRAY})"),
        (DVS, {"events_topic": "/dvs/imu"}, f"topic /dvs/imu (events_topic) is of type {IMU}"),
        (DVS, {"frames_topic": "/dvs/imu"}, f"topic /dvs/imu (frames_topic) is of type {IMU}; expected {IMAGE}"),
    ],
)  # fmt: skip
def test_errors_list_what_there_is(types, names, expected):
    with pytest.raises(RecordingError) as caught:
        find_topics(types, **names)
    assert expected in str(caught.value)
