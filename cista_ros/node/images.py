"""Float images -> pixels and compressed files, calibration files -> camera_info."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import yaml
from ament_index_python.packages import get_package_share_directory
from builtin_interfaces.msg import Time

from ..errors import CistaError
from ..events import NS
from ..tone_map import to_mono8, to_mono16
from ..wire.ros_types import CameraInfoMessage, CompressedImageMessage

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


def to_compressed(
    shown: np.ndarray, encoding: str, kind: str, quality: int, stamp: int, frame_id: str
) -> CompressedImageMessage:
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
    return CompressedImageMessage(stamp, frame_id, f"{encoding}; {kind} compressed ", np.asarray(data, np.uint8))


def load_camera_info(url: str) -> tuple[CameraInfoMessage, str]:
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
        size = _size(content, "image_height"), _size(content, "image_width")
        distortion = str(content["distortion_model"]), _numbers(content, "distortion_coefficients")
        k, r = _numbers(content, "camera_matrix", 9), _numbers(content, "rectification_matrix", 9)
        info = CameraInfoMessage(0, "", *size, *distortion, k, r, _numbers(content, "projection_matrix", 12))
        return info, str(content.get("camera_name") or "")
    except KeyError as error:
        raise CalibrationError(f"camera_info_url {url}: {path} has no {error.args[0]!r}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, TypeError) as error:
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


def _numbers(content: dict[str, Any], name: str, length: int | None = None) -> np.ndarray:
    values = np.array([float(value) for value in content[name]["data"]])
    if length is not None and len(values) != length:
        raise ValueError(f"{name} has {len(values)} values; expected {length}")
    return values
