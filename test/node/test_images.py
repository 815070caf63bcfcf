"""Images as messages, compressed and as grey, and calibration files."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from cista_ros.errors import DecodeError
from cista_ros.node.images import ENCODERS, CalibrationError, load_camera_info, time_message, to_compressed
from cista_ros.tone_map import to_mono8, to_mono16
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import ImageMessage

SHOWN = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)


def image(encoding, pixels):
    return ImageMessage(0, "", encoding, np.asarray(pixels))


@pytest.mark.parametrize("encoding", ENCODERS)
def test_rclpy_reads_an_image_as_our_codec_writes_it(encoding):
    from rclpy.serialization import deserialize_message

    sent = ImageMessage(-999_999_993, "dvs", encoding, ENCODERS[encoding](SHOWN))
    message = deserialize_message(cdr.encode(sent), Image)
    assert (message.height, message.width, message.encoding) == (3, 5, encoding)
    assert message.step * 3 == len(message.data)
    assert message.is_bigendian == (sys.byteorder == "big")
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (-1, 7, "dvs")
    pixels = np.frombuffer(message.data, sent.image.dtype).reshape(3, 5)
    top = {"mono8": 255, "mono16": 65535, "32FC1": 1}[encoding]
    assert np.array_equal(pixels, (SHOWN * top if encoding == "32FC1" else np.rint(SHOWN * top)).astype(pixels.dtype))
    assert np.allclose(sent.grey8(), SHOWN * 255, atol=1)


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
    assert (message.stamp, message.frame_id, message.format) == (5_000_000_007, "dvs", format)
    decoded = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)
    expected = pixels(shown)
    assert (decoded.dtype, decoded.shape) == (expected.dtype, expected.shape)
    assert np.abs(decoded.astype(int) - expected).max() <= (0 if kind == "png" else 4)


def test_a_jpeg_of_less_quality_is_smaller():
    noise = np.random.default_rng(0).random((48, 64), np.float32)
    sizes = [len(to_compressed(noise, "mono8", "jpeg", quality, 0, "").data) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes) and 3 * sizes[0] < sizes[2]


def test_grey_is_the_highest_byte_the_nearest_float_or_the_colours_brightness():
    assert image("mono16", np.array([[0x1234, 0xFF00]], np.uint16)).grey8().tolist() == [[0x12, 0xFF]]
    assert image("32FC1", np.array([[np.nan, -1, 0.5, 7]], np.float32)).grey8().tolist() == [[0, 0, 128, 255]]
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert image("rgb8", red).grey8().tolist() == image("bgr8", red[..., ::-1]).grey8().tolist() == [[76]]
    with pytest.raises(DecodeError, match="cannot convert an image of encoding 32FC2 to grey"):
        image("32FC2", np.zeros((1, 1, 2), np.float32)).grey8()


def test_times_before_1970_have_negative_seconds():
    time = time_message(-1)
    assert (time.sec, time.nanosec) == (-1, 999_999_999)


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


def test_a_calibration_in_a_package_is_found_in_its_share_folder(monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", sys.prefix)
    with pytest.raises(CalibrationError, match="package 'no_such_package' is not installed"):
        load_camera_info("package://no_such_package/a.yaml")
    with pytest.raises(CalibrationError, match=r"share/cista_ros/config/no.yaml"):
        load_camera_info("package://cista_ros/config/no.yaml")
    with pytest.raises(CalibrationError, match="expected file:///PATH or package://PACKAGE/PATH"):
        load_camera_info("camera.yaml")
