"""numpy images <-> sensor_msgs/Image, and calibration files -> sensor_msgs/CameraInfo."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import yaml
from ament_index_python.packages import get_package_share_directory
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..errors import CistaError, DecodeError
from ..events import NS
from ..tone_map import to_mono8, to_mono16
from ..wire.ros_types import image_layout

# Encoding name -> from the tone-mapped float image in [0, 1] to its pixels.
ENCODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mono8": to_mono8,
    "mono16": to_mono16,
    "32FC1": lambda image: image.astype(np.float32, copy=False),
}
COMPRESSIONS = ("jpeg", "png")


class CalibrationError(CistaError):
    """A calibration file that is missing or unreadable."""


def time_message(stamp: int) -> Time:
    """Convert int64 nanoseconds to a builtin_interfaces/Time."""
    return Time(sec=stamp // NS, nanosec=stamp % NS)


def to_message(shown: np.ndarray, encoding: str, stamp: int, frame_id: str) -> Image:
    """Encode a float image (H, W) in [0, 1] with one of ENCODERS; `stamp` in nanoseconds."""
    return pixels_message(ENCODERS[encoding](shown), encoding, stamp, frame_id)


def pixels_message(pixels: np.ndarray, encoding: str, stamp: int, frame_id: str) -> Image:
    """Make a message of pixels (H, W) or (H, W, C) of the encoding's dtype; `stamp` in nanoseconds."""
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
    """Compress a float image (H, W) in [0, 1] in the format of image_transport's plugin "compressed".

    Args:
        encoding: one of ENCODERS. A PNG may be mono16; everything else is compressed as mono8.
        kind: one of COMPRESSIONS.
        quality: JPEG quality, 1 to 100.
        stamp: nanoseconds.
    """
    encoding = encoding if (kind, encoding) == ("png", "mono16") else "mono8"
    # PNG level 1: the other levels take several times as long.
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(f".{kind}", ENCODERS[encoding](shown), options)
    if not done:
        raise RuntimeError(f"OpenCV cannot compress a {shown.shape[1]}x{shown.shape[0]} image as {kind}")
    message = CompressedImage(format=f"{encoding}; {kind} compressed ")
    message.header.stamp, message.header.frame_id = time_message(stamp), frame_id
    message.data = _data(data)
    return message


def _data(pixels: np.ndarray) -> array.array:
    # array.array is the only type that rclpy accepts without checking each byte.
    data = array.array("B")
    data.frombytes(pixels.tobytes())
    return data


def to_grey(message: Image) -> np.ndarray:
    """Convert a sensor_msgs/Image to uint8 (H, W) for display. Colour requires ROS 2's cv_bridge.

    Raises:
        DecodeError: unknown encoding, colour that cv_bridge is missing for or cannot convert, no pixels, or data of
            another size than declared.
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
        return np.asarray(CvBridge().imgmsg_to_cv2(message, "mono8"))
    except Exception as error:  # its own, numpy's, OpenCV's
        raise DecodeError(f"an image of encoding {message.encoding}: {error}") from None


def load_camera_info(url: str) -> tuple[CameraInfo, str]:
    """Read a calibration file as written by camera_calibration and camera_info_manager.

    Args:
        url: file://PATH or package://PACKAGE/PATH.
    Returns:
        The camera_info, and the camera's name (may be empty).
    Raises:
        CalibrationError: no such file, or not a calibration.
    """
    path = _url_path(url)
    try:
        content = yaml.safe_load(path.read_text())
        info = CameraInfo(
            height=_size(content, "image_height"),
            width=_size(content, "image_width"),
            distortion_model=content["distortion_model"],
            d=_numbers(content, "distortion_coefficients"),
            k=_numbers(content, "camera_matrix", 9),
            r=_numbers(content, "rectification_matrix", 9),
            p=_numbers(content, "projection_matrix", 12),
        )
        return info, str(content.get("camera_name") or "")
    except KeyError as error:
        raise CalibrationError(f"camera_info_url {url}: {path} has no {error.args[0]!r}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise CalibrationError(f"camera_info_url {url}: cannot read {path}: {reason}") from None


def _url_path(url: str) -> Path:
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return Path(unquote(rest))
    if scheme == "package" and "/" in rest:
        package, _, path = rest.partition("/")
        try:
            return Path(get_package_share_directory(package), unquote(path))
        except (LookupError, ValueError):
            raise CalibrationError(f"camera_info_url {url}: package {package!r} is not installed") from None
    raise CalibrationError(f"camera_info_url {url!r}: expected file:///PATH or package://PACKAGE/PATH")


def _size(content: dict[str, Any], name: str) -> int:
    value = int(content[name])
    if not 0 < value < 1 << 16:
        raise ValueError(f"{name} is {value}; expected 1 to 65535")
    return value


def _numbers(content: dict[str, Any], name: str, length: int | None = None) -> list[float]:
    values = [float(value) for value in content[name]["data"]]
    if length is not None and len(values) != length:
        raise ValueError(f"{name} has {len(values)} values; expected {length}")
    return values
