"""ROS 1's serialization of events, images and camera infos: packed little-endian fields, an event in 13 bytes."""

from __future__ import annotations

from ..errors import DecodeError
from .bodies import read_camera_info, read_image, read_size, write_camera_info, write_image
from .cursor import Builder, Bytes, Cursor, Format
from .event_records import pack_events, record_dtype, unpack_events
from .messages import CameraInfoMessage, EventMessage, ImageMessage

FORMAT = Format(aligned=False, nul_terminated=False, header_seq=True, seconds="I")
_RECORD = record_dtype((0, 2, 4, 8, 12), 13, "<u4")


def decode_event_array(data: Bytes) -> EventMessage:
    """Decode a dvs_msgs/EventArray from the bytes of a ROS 1 message (bytes-like, or a uint8 array).

    Raises DecodeError if the bytes are not such a message, declare a sensor without pixels, or hold a time stamp with
    1e9 nanoseconds or more. Coordinates and the order of events are not checked here.
    """
    cursor = Cursor(data, FORMAT)
    stamp, frame_id = cursor.header()
    height, width = read_size(cursor, "sensor")
    count = cursor.scalar("I", "the number of events")
    if count > (at_most := cursor.left // _RECORD.itemsize):
        raise DecodeError(f"declares {count} events; the {cursor.left} bytes that follow hold at most {at_most}")
    records = cursor.array(_RECORD, count, "events")
    cursor.finish()
    return EventMessage(stamp, frame_id, height, width, unpack_events(records))


def encode_event_array(message: EventMessage) -> bytes:
    """Inverse of decode_event_array; raises ValueError if a time stamp does not fit uint32 seconds."""
    builder = Builder(FORMAT)
    builder.header(message.stamp, message.frame_id)
    for value in (message.height, message.width, len(message.events)):
        builder.scalar("I", value)
    pack_events(message.events, _RECORD, builder.raw)
    return builder.bytes()


def decode_image(data: Bytes) -> ImageMessage:
    """Decode a sensor_msgs/Image; raises DecodeError if the bytes are not one, or its encoding is not known."""
    cursor = Cursor(data, FORMAT)
    message = read_image(cursor)
    cursor.finish()
    return message


def encode_image(message: ImageMessage) -> bytes:
    """Inverse of decode_image; raises ValueError if the array is not what its encoding says."""
    builder = Builder(FORMAT)
    write_image(builder, message)
    return builder.bytes()


def decode_camera_info(data: Bytes) -> CameraInfoMessage:
    """Decode a sensor_msgs/CameraInfo; raises DecodeError if the bytes are not one."""
    cursor = Cursor(data, FORMAT)
    message = read_camera_info(cursor)
    cursor.finish()
    return message


def encode_camera_info(message: CameraInfoMessage) -> bytes:
    """Inverse of decode_camera_info; raises ValueError if a matrix has the wrong number of elements."""
    builder = Builder(FORMAT)
    write_camera_info(builder, message)
    return builder.bytes()


def decode_stamp(data: Bytes) -> int:
    """The header stamp in nanoseconds of any message that begins with a std_msgs/Header; the rest is not looked at."""
    return Cursor(data, FORMAT).header()[0]
