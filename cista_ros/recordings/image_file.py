"""Camera images from PNG and JPEG files, of a bounded size.

OpenCV reads many more formats and allocates what the first bytes of a file ask for. Files that come with a recording
are not trusted with either.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from ..errors import DecodeError
from ..wire.ros_types import CompressedImageMessage, ImageMessage

MAX_PIXELS = 1 << 25  # 33 megapixels
MAX_BYTES = 1 << 27  # of a file
_PNG = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers of JPEG: all but DHT (C4), JPG (C8) and DAC (CC). Stand-alone markers have no length.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def decode_image(data: bytes) -> np.ndarray:
    """Return the image (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, channels in OpenCV's order (BGR, BGRA).

    Raises:
        DecodeError: the bytes are no complete PNG or JPEG, or have more than MAX_PIXELS pixels.
    """
    size = _size(data)
    if size is None:
        raise DecodeError("cannot be read as an image: it is neither PNG nor JPEG")
    width, height = size
    if width * height > MAX_PIXELS:
        raise DecodeError(f"declares {width}x{height} pixels; expected at most {MAX_PIXELS} in all")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise DecodeError("cannot be read as an image")
    return np.asarray(image)


def encoding_of(image: np.ndarray) -> str:
    """Return the sensor_msgs encoding of an image as OpenCV decodes it."""
    name = {1: "mono", 3: "bgr", 4: "bgra"}[1 if image.ndim == 2 else image.shape[2]]
    return f"{name}{image.dtype.itemsize * 8}"


def decode_image_message(message: CompressedImageMessage) -> ImageMessage:
    """Decompress a message; raises DecodeError as decode_image."""
    image = decode_image(message.data.tobytes())
    return ImageMessage(message.stamp, message.frame_id, encoding_of(image), image)


def _size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) by the header; None without a header."""
    if data.startswith(_PNG):
        return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" and len(data) >= 24 else None
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
