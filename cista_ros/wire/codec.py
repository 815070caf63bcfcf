"""Messages in the two serializations of ROS: `cdr` of ROS 2 and `ros1` of ROS 1.

ROS 2 uses little-endian plain CDR (XCDR 1). Sources: OMG DDSI-RTPS 2.2 section 10 (encapsulation) and CORBA 3.1 part 2
section 9.3 (alignment, counted from the end of the four encapsulation bytes). ROS 1 is packed and little-endian.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DecodeError
from .event_array import pack_events, record_dtype, unpack_events
from .ros_types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    EVENT_ARRAY,
    EVENT_PACKET,
    EVENT_TYPES,
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
from .serialization import Builder, Bytes, Cursor, Format


def _check_size(height: int, width: int, thing: str = "sensor", empty: bool = False) -> None:
    """Raise DecodeError if the `thing` of this size has no pixels; EmptyMessageError if it also has no events."""
    if not height or not width:
        error = EmptyMessageError if empty else DecodeError
        raise error(f"declares a {width}x{height} {thing}; expected a width and a height of at least 1")


def _read_event_array(cursor: Cursor) -> EventMessage:
    """Read a dvs_msgs/EventArray. Coordinates and the order of events are not checked.

    Raises:
        DecodeError: among others if the sensor has no pixels, or a time has 1e9 nanoseconds or more.
    """
    stamp, frame_id = cursor.header()
    size = cursor.scalar("I", "height"), cursor.scalar("I", "width")
    count = cursor.scalar("I", "the number of events")
    _check_size(*size, empty=not count)
    first, others = cursor.format.event_records
    at_most = 0 if cursor.left < first.itemsize else 1 + (cursor.left - first.itemsize) // others.itemsize
    if count > at_most:
        raise DecodeError(f"declares {count} events; the {cursor.left} bytes that follow hold at most {at_most}")
    parts = cursor.array(first, min(count, 1), "events"), cursor.array(others, max(count - 1, 0), "events")
    return EventMessage(stamp, frame_id, *size, unpack_events(*parts))


def _write_event_array(builder: Builder, message: EventMessage) -> None:
    """Inverse of _read_event_array; raises ValueError if a time stamp does not fit 32-bit seconds."""
    builder.header(message.stamp, message.frame_id)
    builder.scalars("III", message.height, message.width, len(message.events))
    first, others = builder.format.event_records
    pack_events(message.events[:1], first, builder.raw)
    pack_events(message.events[1:], others, builder.raw)


def _read_packet(cursor: Cursor) -> PacketMessage:
    """Read an event_camera_msgs/EventPacket; its data is a view of the message."""
    stamp, frame_id = cursor.header()
    size = cursor.scalar("I", "height"), cursor.scalar("I", "width")
    seq, time_base = cursor.scalar("Q", "seq"), cursor.scalar("Q", "time_base")
    encoding = cursor.string("encoding")
    if cursor.scalar("B", "is_bigendian"):
        raise DecodeError("the packet is big-endian; only little-endian packets are supported")
    data = cursor.array(np.uint8, cursor.scalar("I", "the length of events"), "events")
    _check_size(*size, empty=not len(data))
    return PacketMessage(stamp, frame_id, *size, seq, time_base, encoding, data)


def _write_packet(builder: Builder, message: PacketMessage) -> None:
    builder.header(message.stamp, message.frame_id)
    builder.scalars("IIQQ", message.height, message.width, message.seq, message.time_base)
    builder.string(message.encoding)
    builder.scalars("BI", False, len(message.data))
    builder.raw(message.data)


def _read_image(cursor: Cursor) -> ImageMessage:
    """Read a sensor_msgs/Image; raises DecodeError also if its encoding is unknown."""
    stamp, frame_id = cursor.header()
    height, width = cursor.scalar("I", "height"), cursor.scalar("I", "width")
    _check_size(height, width, "image")
    encoding = cursor.string("encoding")
    dtype, channels = image_layout(encoding)
    big_endian = bool(cursor.scalar("B", "is_bigendian"))
    step = cursor.scalar("I", "step")
    row = width * channels * dtype.itemsize
    size = cursor.scalar("I", "the length of data")
    if step < row:
        raise DecodeError(f"step is {step}; a row of {width} {encoding} pixels needs {row} bytes")
    if size != step * height:
        raise DecodeError(f"data has {size} bytes; {height} rows of {step} bytes have {step * height}")
    data = cursor.array(np.uint8, size, "data")
    image = data.reshape(height, step)[:, :row]
    if dtype.itemsize == 1:
        image = image.view(dtype)
    else:
        wire_dtype = dtype.newbyteorder(">" if big_endian else "<")
        image = np.ascontiguousarray(image).view(wire_dtype).astype(dtype, copy=False)
    return ImageMessage(stamp, frame_id, encoding, image.reshape(height, width, channels) if channels > 1 else image)


def _write_image(builder: Builder, message: ImageMessage) -> None:
    """Inverse of _read_image; raises ValueError if the array is not what its encoding says."""
    image = message.image
    dtype, channels = image_layout(message.encoding)
    shape = image.shape[:2] + ((channels,) if channels > 1 else ())
    if image.dtype != dtype or image.shape != shape or len(shape) < 2:
        expected = f"{dtype} (H, W, {channels})" if channels > 1 else f"{dtype} (H, W)"
        raise ValueError(f"a {message.encoding} image is {expected}, not {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    builder.header(message.stamp, message.frame_id)
    builder.scalars("II", height, width)
    builder.string(message.encoding)
    builder.scalars("BII", sys.byteorder == "big", width * channels * dtype.itemsize, image.nbytes)
    builder.raw(image)


def _read_compressed_image(cursor: Cursor) -> CompressedImageMessage:
    """Read a sensor_msgs/CompressedImage, without decompressing it; its data is a view of the message."""
    stamp, frame_id = cursor.header()
    format = cursor.string("format")
    data = cursor.array(np.uint8, cursor.scalar("I", "the length of data"), "data")
    return CompressedImageMessage(stamp, frame_id, format, data)


def _write_compressed_image(builder: Builder, message: CompressedImageMessage) -> None:
    builder.header(message.stamp, message.frame_id)
    builder.string(message.format)
    builder.scalars("I", len(message.data))
    builder.raw(message.data)


def _read_camera_info(cursor: Cursor) -> CameraInfoMessage:
    """Read a sensor_msgs/CameraInfo."""
    stamp, frame_id = cursor.header()
    height, width = cursor.scalar("I", "height"), cursor.scalar("I", "width")
    model = cursor.string("distortion_model")
    count = cursor.scalar("I", "the length of d")
    lengths = {"d": count, "k": 9, "r": 9, "p": 12}
    d, k, r, p = (cursor.array("<f8", length, name).astype(np.float64) for name, length in lengths.items())
    binning = cursor.scalar("I", "binning"), cursor.scalar("I", "binning")
    x, y, roi_height, roi_width = (cursor.scalar("I", "roi") for _ in range(4))
    roi = x, y, roi_height, roi_width, bool(cursor.scalar("B", "roi.do_rectify"))
    return CameraInfoMessage(stamp, frame_id, height, width, model, d, k, r, p, binning, roi)


def _write_camera_info(builder: Builder, message: CameraInfoMessage) -> None:
    """Inverse of _read_camera_info; raises ValueError if k, r or p has the wrong length."""
    for name, length in (("k", 9), ("r", 9), ("p", 12)):
        if np.size(getattr(message, name)) != length:
            raise ValueError(f"{name} has {np.size(getattr(message, name))} elements; expected {length}")
    builder.header(message.stamp, message.frame_id)
    builder.scalars("II", message.height, message.width)
    builder.string(message.distortion_model)
    builder.scalars("I", np.size(message.d))
    for matrix in (message.d, message.k, message.r, message.p):
        builder.doubles(matrix)
    builder.scalars("IIIIIIB", *message.binning, *message.roi)


_READERS: dict[str, Callable[[Cursor], Any]] = {
    EVENT_ARRAY: _read_event_array,
    EVENT_PACKET: _read_packet,
    IMAGE: _read_image,
    COMPRESSED_IMAGE: _read_compressed_image,
    CAMERA_INFO: _read_camera_info,
}
_READERS |= {name: _READERS[kind] for name, kind in EVENT_TYPES.items()}
_WRITERS: dict[str, Callable[[Builder, Any], None]] = {
    EVENT_ARRAY: _write_event_array,
    EVENT_PACKET: _write_packet,
    IMAGE: _write_image,
    COMPRESSED_IMAGE: _write_compressed_image,
    CAMERA_INFO: _write_camera_info,
}
DECODED = frozenset(_READERS)  # names of the message types that can be decoded


class Codec:
    """Encodes and decodes messages in one serialization."""

    def __init__(self, format: Format) -> None:
        self._format = format

    def decode(self, kind: str, data: Bytes) -> Any:
        """Return the message in these bytes; `kind` is its type, one of DECODED.

        Raises:
            EmptyMessageError: a message of events has none, and a sensor of 0x0 pixels.
            DecodeError: the bytes are no such message.
        """
        cursor = Cursor(data, self._format)
        message = _READERS[kind](cursor)
        cursor.finish()
        return message

    def encode(self, message: Message) -> bytes:
        """Inverse of decode; raises ValueError if a value does not fit its field or has the wrong shape."""
        builder = Builder(self._format)
        _WRITERS[KINDS[type(message)]](builder, message)
        return builder.bytes()

    def decode_stamp(self, data: Bytes) -> int:
        """Return the header stamp (ns) of a message that begins with a std_msgs/Header; the rest is not read."""
        return Cursor(data, self._format).header()[0]


# In CDR an event takes 13 bytes; it starts at an even byte and its time at a multiple of four. The first event is
# 4-aligned. The second starts 14 bytes on, so its time needs two bytes of padding, and all further events are 16 bytes
# apart. A view of 16-byte records that begins one byte before the second event ends with the polarity of the last one.
cdr = Codec(
    Format(
        aligned=True,
        nul_terminated=True,
        header_seq=False,
        seconds="i",
        event_records=(record_dtype((0, 2, 4, 8, 12), 13, "<i4"), record_dtype((1, 3, 7, 11, 15), 16, "<i4")),
        encapsulation=b"\0\1\0\0",
        padding=3,  # some middlewares round a message up to a multiple of four bytes
    )
)
_packed = record_dtype((0, 2, 4, 8, 12), 13, "<u4")
# ROS 1 does not ask for UTF-8, so that bytes are kept.
ros1 = Codec(
    Format(
        aligned=False,
        nul_terminated=False,
        header_seq=True,
        seconds="I",
        event_records=(_packed, _packed),
        decode_errors="surrogateescape",
        encode_errors="surrogateescape",
    )
)
