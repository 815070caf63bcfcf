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


MONO = {name: kind for name, kind in STEREO.items() if name not in ("/right/image_raw", "/right/camera_info")}
COMPRESSED = {"/dvs/events": EVENT_ARRAY, "/dvs/image_raw/compressed": COMPRESSED_IMAGE}


@pytest.mark.parametrize(
    ("types", "names", "events", "frames", "camera_info"),
    [
        # The only topics of their types, whatever their names.
        ({"/a": EVENT_ARRAY, "/b/c": IMAGE, "/d": CAMERA_INFO, "/e": "std_msgs/msg/String"}, {}, "/a", "/b/c", "/d"),
        ({"/a": EVENT_PACKET, "/b": IMAGE}, {}, "/a", "/b", None),
        ({**DVS, "/a": "event_array_msgs/msg/EventArray"}, {"events_topic": "/a"}, "/a", None, None),
        *(({"/a": f"{package}/msg/EventArray", "/b": IMAGE}, {}, "/a", "/b", None)
          for package in ("prophesee_event_msgs", "dv_ros_msgs", "dv_ros2_msgs")),
        # Siblings of the events, and among them the one of the usual name.
        (STEREO, {"events_topic": "/right/events"}, "/right/events", "/right/image_raw", "/right/camera_info"),
        ({**DVS, "/dvs/accumulated": IMAGE, "/other/image_raw": IMAGE}, {},
         "/dvs/events", "/dvs/image_raw", "/dvs/camera_info"),
        ({"/dvs/events": EVENT_ARRAY, "/dvs/frame": IMAGE, "/other": IMAGE}, {}, "/dvs/events", "/dvs/frame", None),
        ({"/dvs/events": EVENT_ARRAY}, {}, "/dvs/events", None, None),
        # Frames that are named have their own camera info.
        (STEREO, {"events_topic": "/right/events", "frames_topic": "/left/image_raw"},
         "/right/events", "/left/image_raw", "/left/camera_info"),
        # Nothing of another event camera: in MVSEC's outdoor recordings only the left camera has images.
        (MONO, {"events_topic": "/right/events"}, "/right/events", None, None),
        ({**MONO, "/right/camera_info": CAMERA_INFO}, {"events_topic": "/right/events"},
         "/right/events", None, "/right/camera_info"),
        # Compressed images, unless there are raw ones.
        ({**COMPRESSED, "/dvs/camera_info": CAMERA_INFO}, {},
         "/dvs/events", "/dvs/image_raw/compressed", "/dvs/camera_info"),
        ({**DVS, **COMPRESSED}, {}, "/dvs/events", "/dvs/image_raw", "/dvs/camera_info"),
    ],
)  # fmt: skip
def test_chooses_topics_by_type_and_namespace(types, names, events, frames, camera_info):
    topics = find_topics(types, **names)
    assert (topics.events, topics.frames, topics.camera_info) == (events, frames, camera_info)
    assert not topics.unclear_frames


def test_says_why_it_is_unclear_which_topic_has_the_frames():
    topics = find_topics({"/events": EVENT_ARRAY, "/b/image": IMAGE, "/a/image": IMAGE})
    assert topics.frames is None
    assert topics.unclear_frames == "several topics have images: /a/image, /b/image; choose one with --frames-topic"


def test_notes_frames_of_another_namespace():
    topics = find_topics({"/event_camera/events": EVENT_PACKET, "/cam0/image_raw": IMAGE})
    assert topics.frames == "/cam0/image_raw" and "another namespace" in topics.note
    assert not find_topics(DVS).note


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
