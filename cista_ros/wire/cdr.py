"""ROS 2's serialization of events, images and camera infos: little-endian plain CDR (XCDR 1).

Layout: the OMG's DDSI-RTPS 2.2 §10 (encapsulation) and CORBA 3.1 part 2 §9.3 (alignment, counted from after the four
bytes of encapsulation).
"""

from __future__ import annotations

from ..errors import DecodeError
from .bodies import read_camera_info, read_image, read_size, write_camera_info, write_image
from .cursor import Builder, Bytes, Cursor, Format
from .event_records import pack_events, record_dtype, unpack_events
from .messages import CameraInfoMessage, EventMessage, ImageMessage

FORMAT = Format(aligned=True, nul_terminated=True, header_seq=False, seconds="i")
_ENCAPSULATION = b"\0\1\0\0"
_PADDING = 3  # some middlewares round a message up to a multiple of four bytes

# An event needs 13 bytes and starts at an even one, its time at a multiple of four. The first lies four-aligned and the
# second 14 bytes on; there time needs two bytes of padding before it, and every further event lies 16 bytes on. A view
# of 16-byte records that begins one byte before the second event ends with the last event's polarity.
_FIRST = record_dtype((0, 2, 4, 8, 12), 13, "<i4")
_OTHERS = record_dtype((1, 3, 7, 11, 15), 16, "<i4")


def decode_event_array(data: Bytes) -> EventMessage:
    """Decode a dvs_msgs/msg/EventArray from the bytes of a ROS 2 message (bytes-like, or a uint8 array).

    Raises DecodeError if the bytes are not such a message, declare a sensor without pixels, or hold a time stamp with
    1e9 nanoseconds or more. Coordinates and the order of events are not checked here.
    """
    cursor = _cursor(data)
    stamp, frame_id = cursor.header()
    height, width = read_size(cursor, "sensor")
    count = cursor.scalar("I", "the number of events")
    at_most = 0 if cursor.left < _FIRST.itemsize else 1 + (cursor.left - _FIRST.itemsize) // _OTHERS.itemsize
    if count > at_most:
        raise DecodeError(f"declares {count} events; the {cursor.left} bytes that follow hold at most {at_most}")
    first = cursor.array(_FIRST, min(count, 1), "events")
    others = cursor.array(_OTHERS, max(count - 1, 0), "events")
    cursor.finish(_PADDING)
    return EventMessage(stamp, frame_id, height, width, unpack_events(first, others))


def encode_event_array(message: EventMessage) -> bytes:
    """Inverse of decode_event_array; raises ValueError if a time stamp does not fit int32 seconds."""
    builder = _builder()
    builder.header(message.stamp, message.frame_id)
    for value in (message.height, message.width, len(message.events)):
        builder.scalar("I", value)
    pack_events(message.events[:1], _FIRST, builder.raw)
    pack_events(message.events[1:], _OTHERS, builder.raw)
    return builder.bytes()


def decode_image(data: Bytes) -> ImageMessage:
    """Decode a sensor_msgs/msg/Image; raises DecodeError if the bytes are not one, or its encoding is not known."""
    cursor = _cursor(data)
    message = read_image(cursor)
    cursor.finish(_PADDING)
    return message


def encode_image(message: ImageMessage) -> bytes:
    """Inverse of decode_image; raises ValueError if the array is not what its encoding says."""
    builder = _builder()
    write_image(builder, message)
    return builder.bytes()


def decode_camera_info(data: Bytes) -> CameraInfoMessage:
    """Decode a sensor_msgs/msg/CameraInfo; raises DecodeError if the bytes are not one."""
    cursor = _cursor(data)
    message = read_camera_info(cursor)
    cursor.finish(_PADDING)
    return message


def encode_camera_info(message: CameraInfoMessage) -> bytes:
    """Inverse of decode_camera_info; raises ValueError if a matrix has the wrong number of elements."""
    builder = _builder()
    write_camera_info(builder, message)
    return builder.bytes()


def decode_stamp(data: Bytes) -> int:
    """The header stamp in nanoseconds of any message that begins with a std_msgs/Header; the rest is not looked at."""
    return _cursor(data).header()[0]


def _cursor(data: Bytes) -> Cursor:
    kind = bytes(memoryview(data).cast("B")[:4])
    if len(kind) < 4:
        raise DecodeError(f"{len(kind)} bytes are too few for a ROS 2 message")
    if kind[:2] == b"\0\0":
        raise DecodeError("the message is big-endian CDR; only little-endian CDR is read")
    if kind[:2] != _ENCAPSULATION[:2]:
        raise DecodeError(f"the encapsulation is {kind[:2].hex()}; expected 0001, little-endian plain CDR")
    return Cursor(data, FORMAT, origin=4)


def _builder() -> Builder:
    return Builder(FORMAT, prefix=_ENCAPSULATION)
