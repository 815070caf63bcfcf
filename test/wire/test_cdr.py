"""What is special to ROS 2: the encapsulation, NUL-terminated strings, and agreement with rclpy itself."""

import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from samples import assert_same, camera_info_messages, event_messages, image_messages, negative_stamps, stamps

from cista_ros.errors import DecodeError
from cista_ros.events import make_events
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import CAMERA_INFO, EVENT_ARRAY, IMAGE, EventMessage, ImageMessage

RAW = cdr.encode(EventMessage(0, "dvs", 180, 240, make_events([1, 2], 3, [4, 5], True)))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "0 bytes are too few for a ROS 2 message"),
        (b"\0\1\0", "3 bytes are too few for a ROS 2 message"),
        (b"\0\0" + RAW[2:], "the message is big-endian CDR"),
        (b"\0\x07" + RAW[2:], "the encapsulation is 0007; expected 0001"),
        (RAW[:12] + b"\0\0\0\0" + RAW[16:], "header.frame_id has length 0; expected at least the terminating NUL"),
        (RAW.replace(b"dvs\0", b"dvs!"), "header.frame_id does not end in NUL"),
        (RAW[:12] + b"\xff" * 4 + RAW[16:],
         "the message ends too early: header.frame_id needs 4294967295 bytes at byte 16 of 61"),
    ],
)  # fmt: skip
def test_refuses_what_is_not_little_endian_plain_cdr(raw, expected):
    with pytest.raises(DecodeError, match=expected):
        cdr.decode(EVENT_ARRAY, raw)


def test_reads_the_documented_bytes():
    """A message written out by hand from the layout in facts.md section 3."""
    raw = (
        b"\0\1\0\0" + b"\x05\0\0\0" + b"\x06\0\0\0" + b"\2\0\0\0a\0" + b"\0\0"
        + b"\xb4\0\0\0" + b"\xf0\0\0\0" + b"\3\0\0\0"
        + b"\x01\0\x02\0" + b"\7\0\0\0" + b"\x08\0\0\0" + b"\1" + b"\0"
        + b"\x03\0\x04\0" + b"\0\0" + b"\7\0\0\0" + b"\x09\0\0\0" + b"\0" + b"\0"
        + b"\x05\0\x06\0" + b"\0\0" + b"\xff\xff\xff\xff" + b"\x0a\0\0\0" + b"\1"
    )  # fmt: skip
    events = make_events([1, 3, 5], [2, 4, 6], [7_000_000_008, 7_000_000_009, -999_999_990], [True, False, True])
    message = EventMessage(5_000_000_006, "a", 180, 240, events)
    assert_same(cdr.decode(EVENT_ARRAY, raw), message)
    assert cdr.encode(message) == raw


@pytest.fixture(scope="module")
def ros():
    """rclpy's (serialize, deserialize) and the message modules; the whole ROS prefix may lie in the environment."""
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
    dvs = pytest.importorskip("dvs_msgs.msg", reason="dvs_msgs is not installed")
    sensor = pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed")
    return serialization, dvs, sensor


def with_header(ros_message, message):
    ros_message.header.stamp.sec, ros_message.header.stamp.nanosec = divmod(message.stamp, 10**9)
    ros_message.header.frame_id = message.frame_id
    return ros_message


def test_agrees_with_rclpy_on_events(ros):
    serialization, dvs, _ = ros

    @given(event_messages(stamps | negative_stamps))
    @settings(max_examples=100, deadline=None)
    def check(message):
        theirs = with_header(dvs.EventArray(height=message.height, width=message.width), message)
        for event in message.events:
            item = dvs.Event(x=int(event["x"]), y=int(event["y"]), polarity=bool(event["p"]))
            item.ts.sec, item.ts.nanosec = divmod(int(event["t"]), 10**9)
            theirs.events.append(item)
        assert_same(cdr.decode(EVENT_ARRAY, serialization.serialize_message(theirs)), message)
        assert serialization.deserialize_message(cdr.encode(message), dvs.EventArray) == theirs

    check()


def test_agrees_with_rclpy_on_images(ros):
    serialization, _, sensor = ros

    @given(image_messages())
    @settings(deadline=None)
    def check(message):
        image = message.image
        theirs = sensor.Image(height=image.shape[0], width=image.shape[1], encoding=message.encoding)
        theirs.step, theirs.data = image.strides[0], image.tobytes()
        with_header(theirs, message)
        assert_same(cdr.decode(IMAGE, serialization.serialize_message(theirs)), message)
        assert serialization.deserialize_message(cdr.encode(message), sensor.Image) == theirs

    check()


def test_agrees_with_rclpy_on_camera_info(ros):
    serialization, _, sensor = ros

    @given(camera_info_messages())
    @settings(deadline=None)
    def check(message):
        roi = dict(zip(("x_offset", "y_offset", "height", "width", "do_rectify"), message.roi, strict=True))
        theirs = with_header(
            sensor.CameraInfo(
                height=message.height, width=message.width, distortion_model=message.distortion_model,
                d=message.d.tolist(), k=message.k, r=message.r, p=message.p,
                binning_x=message.binning[0], binning_y=message.binning[1], roi=sensor.RegionOfInterest(**roi),
            ),
            message,
        )  # fmt: skip
        assert_same(cdr.decode(CAMERA_INFO, serialization.serialize_message(theirs)), message)
        back = serialization.deserialize_message(cdr.encode(message), sensor.CameraInfo)
        assert_same(cdr.decode(CAMERA_INFO, serialization.serialize_message(back)), message)

    check()


def test_a_colour_image_keeps_its_channels_last():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert cdr.decode(IMAGE, cdr.encode(ImageMessage(0, "", "bgr8", image))).image.tolist() == image.tolist()
