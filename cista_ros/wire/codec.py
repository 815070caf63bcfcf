"""Messages in the two serializations of ROS: `cdr` of ROS 2 and `ros1` of ROS 1."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DecodeError
from .ros_types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    EVENT_ARRAY,
    EVENT_PACKET,
    EVENT_TYPES,
    FIELDS,
    IMAGE,
    KINDS,
    CameraInfoMessage,
    CompressedImageMessage,
    EmptyMessageError,
    EventMessage,
    ImageMessage,
    Message,
    PacketMessage,
    image_layout,
)
from .serialization import Builder, Bytes, Cursor

DECODED = frozenset({*FIELDS, *EVENT_TYPES})  # names of the message types that can be decoded


def _check_size(height: int, width: int, thing: str = "sensor", empty: bool = False) -> None:
    """Raise DecodeError if the `thing` of this size has no pixels; EmptyMessageError if it also has no events."""
    if not height or not width:
        error = EmptyMessageError if empty else DecodeError
        raise error(f"declares a {width}x{height} {thing}; expected a width and a height of at least 1")


def _event_array(stamp: int, frame_id: str, height: int, width: int, events: np.ndarray) -> EventMessage:
    _check_size(height, width, empty=not len(events))
    return EventMessage(stamp, frame_id, height, width, events)


def _packet(
    stamp: int, frame_id: str, height: int, width: int, seq: int, time_base: int, encoding: str, big: int, data: Any
) -> PacketMessage:
    if big:
        raise DecodeError("the packet is big-endian; only little-endian packets are supported")
    _check_size(height, width, empty=not len(data))
    return PacketMessage(stamp, frame_id, height, width, seq, time_base, encoding, data)


def _image(
    stamp: int, frame_id: str, height: int, width: int, encoding: str, is_bigendian: int, step: int, data: np.ndarray
) -> ImageMessage:
    _check_size(height, width, "image")
    dtype, channels = image_layout(encoding)
    row = width * channels * dtype.itemsize
    if step < row:
        raise DecodeError(f"step is {step}; a row of {width} {encoding} pixels needs {row} bytes")
    if len(data) != step * height:
        raise DecodeError(f"data has {len(data)} bytes; {height} rows of {step} bytes have {step * height}")
    image = data.reshape(height, step)[:, :row]
    if dtype.itemsize == 1:
        image = image.view(dtype)
    else:
        wire_dtype = dtype.newbyteorder(">" if is_bigendian else "<")
        image = np.ascontiguousarray(image).view(wire_dtype).astype(dtype, copy=False)
    return ImageMessage(stamp, frame_id, encoding, image.reshape(height, width, channels) if channels > 1 else image)


def _image_fields(message: ImageMessage) -> tuple[Any, ...]:
    image = message.image
    dtype, channels = image_layout(message.encoding)
    shape = image.shape[:2] + ((channels,) if channels > 1 else ())
    if image.dtype != dtype or image.shape != shape or len(shape) < 2:
        expected = f"{dtype} (H, W, {channels})" if channels > 1 else f"{dtype} (H, W)"
        raise ValueError(f"a {message.encoding} image is {expected}, not {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    step, data = width * channels * dtype.itemsize, np.ascontiguousarray(image).reshape(-1).view(np.uint8)
    return height, width, message.encoding, sys.byteorder == "big", step, data


def _camera_info(stamp: int, frame_id: str, height: int, width: int, model: str, *fields: Any) -> CameraInfoMessage:
    matrices, binning, (*roi, do_rectify) = fields[:4], fields[4:6], fields[6:]
    d, k, r, p = (matrix.astype(np.float64) for matrix in matrices)
    return CameraInfoMessage(stamp, frame_id, height, width, model, d, k, r, p, binning, (*roi, bool(do_rectify)))


# For each type, how to make a message of its header and FIELDS, and its FIELDS of a message.
_CONVERSIONS: dict[str, tuple[Callable[..., Message], Callable[[Any], tuple[Any, ...]]]] = {
    EVENT_ARRAY: (_event_array, lambda m: (m.height, m.width, m.events)),
    EVENT_PACKET: (_packet, lambda m: (m.height, m.width, m.seq, m.time_base, m.encoding, False, m.data)),
    IMAGE: (_image, _image_fields),
    COMPRESSED_IMAGE: (CompressedImageMessage, lambda m: (m.format, m.data)),
    CAMERA_INFO: (
        _camera_info,
        lambda m: (m.height, m.width, m.distortion_model, m.d, m.k, m.r, m.p, *m.binning, *m.roi),
    ),
}


class Codec:
    """Encodes and decodes messages in one serialization."""

    def __init__(self, ros1: bool) -> None:
        self._ros1 = ros1

    def decode(self, kind: str, data: Bytes) -> Any:
        """Return the message in these bytes; `kind` is its type, one of DECODED.

        The data of packets and images are views of the bytes where possible. Coordinates and the order of events are
        not checked.

        Raises:
            EmptyMessageError: a message of events has none, and a sensor of 0x0 pixels.
            DecodeError: the bytes are no such message.
        """
        kind = EVENT_TYPES.get(kind, kind)
        cursor = Cursor(data, self._ros1)
        header = cursor.header()
        message = _CONVERSIONS[kind][0](*header, *(cursor.field(of, name) for of, name in FIELDS[kind]))
        cursor.finish()
        return message

    def encode(self, message: Message) -> bytes:
        """Inverse of decode; raises ValueError if a value does not fit its field or has the wrong shape."""
        kind = KINDS[type(message)]
        builder = Builder(self._ros1)
        builder.header(message.stamp, message.frame_id)
        for (of, name), value in zip(FIELDS[kind], _CONVERSIONS[kind][1](message), strict=True):
            builder.field(of, name, value)
        return builder.bytes()

    def decode_stamp(self, data: Bytes) -> int:
        """Return the header stamp (ns) of a message that begins with a std_msgs/Header; the rest is not read."""
        return Cursor(data, self._ros1).header()[0]


cdr, ros1 = Codec(ros1=False), Codec(ros1=True)
