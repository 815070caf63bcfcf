"""numpy images <-> sensor_msgs/Image."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from ..errors import DecodeError
from ..tone_map import to_mono8, to_mono16
from ..wire.ros_types import image_layout

# Encoding name -> from the tone-mapped float image in [0, 1] to its pixels.
ENCODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mono8": to_mono8,
    "mono16": to_mono16,
    "32FC1": lambda image: image.astype(np.float32, copy=False),
}
COMPRESSIONS = ("jpeg", "png")


def time_message(stamp: int) -> Time:
    """int64 nanoseconds -> builtin_interfaces/Time."""
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def to_message(shown: np.ndarray, encoding: str, stamp: int, frame_id: str) -> Image:
    """Float image (H, W) in [0, 1] -> sensor_msgs/Image in one of ENCODERS, stamp in nanoseconds."""
    return pixels_message(ENCODERS[encoding](shown), encoding, stamp, frame_id)


def pixels_message(pixels: np.ndarray, encoding: str, stamp: int, frame_id: str) -> Image:
    """Pixels (H, W) or (H, W, C), of the encoding's dtype -> sensor_msgs/Image, stamp in nanoseconds."""
    pixels = np.ascontiguousarray(pixels)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.header.stamp, message.header.frame_id = time_message(stamp), frame_id
    message.is_bigendian = int(sys.byteorder == "big")
    message.step = pixels.strides[0]
    message.data = _data(pixels)
    return message


def to_compressed(
    shown: np.ndarray, encoding: str, kind: str, quality: int, stamp: int, frame_id: str
) -> CompressedImage:
    """Float image (H, W) in [0, 1] -> sensor_msgs/CompressedImage, as image_transport's plugin "compressed" has it.

    Args:
        encoding: one of ENCODERS. Only a PNG can be mono16; all else is compressed as mono8.
        kind: one of COMPRESSIONS.
        quality: of a JPEG, 1 to 100.
        stamp: in nanoseconds.
    """
    encoding = encoding if (kind, encoding) == ("png", "mono16") else "mono8"
    # Of a PNG's nine levels the first: the others take several times as long.
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(f".{kind}", ENCODERS[encoding](shown), options)
    if not done:
        raise RuntimeError(f"OpenCV could not compress an image of {shown.shape[1]}x{shown.shape[0]} as {kind}")
    message = CompressedImage(format=f"{encoding}; {kind} compressed ")
    message.header.stamp, message.header.frame_id = time_message(stamp), frame_id
    message.data = _data(data)
    return message


def _data(pixels: np.ndarray) -> array.array:
    # array.array is the one type that rclpy takes over without checking each byte.
    data = array.array("B")
    data.frombytes(pixels.tobytes())
    return data


def to_grey(message: Image) -> np.ndarray:
    """sensor_msgs/Image -> uint8 (H, W), for looking at. Colours need cv_bridge (of ROS 2) to be installed.

    Raises:
        DecodeError: an encoding that is not known, colour without cv_bridge or that it cannot convert, no pixels,
            or data of another size than declared.
    """
    dtype, channels = image_layout(message.encoding)
    if not (message.height and message.width):
        raise DecodeError(f"an image of {message.width}x{message.height} pixels")
    if channels != 1:
        return _grey_by_cv_bridge(message)
    if message.is_bigendian:
        dtype = dtype.newbyteorder(">")
    if len(message.data) != message.height * message.step or message.step < message.width * dtype.itemsize:
        raise DecodeError(
            f"an image with {len(message.data)} bytes of data; expected {message.height} rows of {message.step} bytes,"
            f" each of {message.width} {message.encoding} pixels"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = np.ascontiguousarray(rows[:, : message.width * dtype.itemsize]).view(dtype)
    if dtype.kind == "f":
        return to_mono8(np.clip(np.nan_to_num(pixels), 0, 1))
    return (pixels >> (8 * (dtype.itemsize - 1))).astype(np.uint8)


def _grey_by_cv_bridge(message: Image) -> np.ndarray:
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise DecodeError(
            f"an image of encoding {message.encoding}: install ROS 2's cv_bridge to convert it to grey"
        ) from None
    try:
        return CvBridge().imgmsg_to_cv2(message, "mono8")
    except Exception as error:  # its own, numpy's, OpenCV's
        raise DecodeError(f"an image of encoding {message.encoding}: {error}") from None
