"""numpy images to sensor_msgs/Image and back."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from cista_ros.errors import DecodeError
from cista_ros.node.images import (
    CalibrationError,
    load_camera_info,
    time_message,
    to_compressed,
    to_grey,
    to_message,
)
from cista_ros.tone_map import to_mono8, to_mono16
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import IMAGE

SHOWN = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "32FC1"])
def test_a_message_says_what_it_holds(encoding):
    message = to_message(SHOWN, encoding, 5_000_000_007, "dvs")
    assert (message.height, message.width, message.encoding) == (3, 5, encoding)
    assert message.step * 3 == len(message.data)
    assert message.is_bigendian == (sys.byteorder == "big")
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (5, 7, "dvs")
    assert np.allclose(to_grey(message), SHOWN * 255, atol=1)


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "32FC1"])
def test_rclpy_serialises_it_as_our_codec_reads_it(encoding):
    from rclpy.serialization import serialize_message

    message = cdr.decode(IMAGE, serialize_message(to_message(SHOWN, encoding, -1, "dvs")))
    assert (message.stamp, message.frame_id, message.encoding) == (-1, "dvs", encoding)
    top = {"mono8": 255, "mono16": 65535, "32FC1": 1}[encoding]
    expected = SHOWN * top if encoding == "32FC1" else np.rint(SHOWN * top)
    assert np.array_equal(message.image, expected.astype(message.image.dtype))


@pytest.mark.parametrize(
    ("encoding", "kind", "pixels", "format"),
    [
        ("mono8", "png", to_mono8, "mono8; png compressed "),
        ("mono16", "png", to_mono16, "mono16; png compressed "),
        ("32FC1", "png", to_mono8, "mono8; png compressed "),
        ("mono16", "jpeg", to_mono8, "mono8; jpeg compressed "),
    ],
)
def test_compressed_images_are_what_they_say(encoding, kind, pixels, format):
    shown = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64)
    message = to_compressed(shown, encoding, kind, 90, 5_000_000_007, "dvs")
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (5, 7, "dvs")
    assert message.format == format
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = pixels(shown)
    assert (decoded.dtype, decoded.shape) == (expected.dtype, expected.shape)
    assert np.abs(decoded.astype(int) - expected).max() <= (0 if kind == "png" else 4)


def test_a_jpeg_of_less_quality_is_smaller():
    noise = np.random.default_rng(0).random((48, 64), np.float32)
    sizes = [len(to_compressed(noise, "mono8", "jpeg", quality, 0, "").data) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes) and 3 * sizes[0] < sizes[2]


def test_rows_may_be_padded():
    message = to_message(SHOWN, "mono16", 0, "")
    rows = np.frombuffer(message.data, np.uint8).reshape(3, 10)
    message.step = 16
    message.data = np.pad(rows, ((0, 0), (0, 6)), constant_values=99).tobytes()
    assert np.array_equal(to_grey(message), (np.rint(SHOWN * 65535).astype(int) >> 8))


def test_big_endian_pixels_are_read_as_such():
    pixels = np.array([[0x1234, 0xFF00]], ">u2")
    message = Image(height=1, width=2, encoding="mono16", is_bigendian=1, step=4, data=pixels.tobytes())
    assert to_grey(message).tolist() == [[0x12, 0xFF]]


def test_floats_that_are_no_grey_become_the_nearest():
    pixels = np.array([[np.nan, -1, 0.5, 7]], np.float32)
    message = Image(height=1, width=4, encoding="32FC1", step=16, data=pixels.tobytes())
    assert to_grey(message).tolist() == [[0, 0, 128, 255]]


@pytest.mark.parametrize("change", [{"height": 4}, {"step": 4}, {"encoding": "mono16"}, {"data": b""}])
def test_data_of_another_size_than_declared_is_an_error(change):
    message = to_message(SHOWN, "mono8", 0, "")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(DecodeError, match=r"bytes of data; expected \d rows of \d bytes"):
        to_grey(message)


def test_an_unknown_encoding_is_an_error():
    with pytest.raises(DecodeError, match="unknown image encoding 'jpeg'"):
        to_grey(Image(encoding="jpeg"))


def test_times_before_1970_have_negative_seconds():
    time = time_message(-1)
    assert (time.sec, time.nanosec) == (-1, 999_999_999)


def test_an_image_that_cv_bridge_cannot_convert_is_refused_with_its_reason(monkeypatch):
    class Refusing:
        def imgmsg_to_cv2(self, message, encoding):
            raise TypeError(f"no conversion from {message.encoding} to {encoding}")

    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=Refusing))
    with pytest.raises(DecodeError, match="an image of encoding 32FC2: no conversion from 32FC2 to mono8"):
        to_grey(Image(encoding="32FC2", height=1, width=1))


@pytest.mark.parametrize("encoding", ["mono8", "rgb8"])
def test_an_image_without_pixels_is_refused(encoding):
    with pytest.raises(DecodeError, match="an image of 0x1 pixels"):
        to_grey(Image(encoding=encoding, height=1))


CALIBRATION = """
image_width: 240
image_height: 180
camera_name: davis
camera_matrix: {rows: 3, cols: 3, data: [200, 0, 120.5, 0, 201, 90, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [190, 0, 120, 0, 0, 191, 90, 0, 0, 0, 1, 0]}
"""


def test_a_calibration_file_of_ros_becomes_a_camera_info(tmp_path):
    (tmp_path / "my camera.yaml").write_text(CALIBRATION)
    info, name = load_camera_info(f"file://{tmp_path}/my%20camera.yaml")
    assert (info.width, info.height, info.distortion_model, name) == (240, 180, "plumb_bob", "davis")
    assert (list(info.k[:3]), list(info.d), info.p[5]) == ([200, 0, 120.5], [-0.3, 0.1, 0, 0, 0], 191)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("", "cannot read"),
        ("image_width: 240", "no 'image_height'"),
        (CALIBRATION.replace("120.5, ", ""), "camera_matrix has 8 values; expected 9"),
        (CALIBRATION.replace("240", "wide"), "cannot read"),
        (CALIBRATION.replace("240", "-1"), "image_width is -1"),
        ("a: [", "cannot read"),
    ],
    ids=["missing", "empty", "incomplete", "short", "words", "negative", "yaml"],
)
def test_a_calibration_that_cannot_be_read_is_an_error_that_names_the_file(tmp_path, content, reason):
    path = tmp_path / "camera.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CalibrationError, match=reason) as caught:
        load_camera_info(f"file://{path}")
    assert str(path) in str(caught.value)


def test_a_calibration_in_a_package_is_found_in_its_share_folder():
    with pytest.raises(CalibrationError, match="package 'no_such_package' is not installed"):
        load_camera_info("package://no_such_package/a.yaml")
    with pytest.raises(CalibrationError, match=r"share/cista_ros/config/no.yaml"):
        load_camera_info("package://cista_ros/config/no.yaml")
    with pytest.raises(CalibrationError, match="expected file:///PATH or package://PACKAGE/PATH"):
        load_camera_info("camera.yaml")
