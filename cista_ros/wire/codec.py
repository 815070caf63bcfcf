"""The two serializations of ROS: `cdr` of ROS 2, `ros1` of ROS 1.

ROS 2's is little-endian plain CDR (XCDR 1). Layout: the OMG's DDSI-RTPS 2.2 §10 (encapsulation) and CORBA 3.1 part 2
§9.3 (alignment, counted from after the four bytes of encapsulation). ROS 1's is packed and little-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bodies import (
    read_camera_info,
    read_event_array,
    read_image,
    read_packet,
    write_camera_info,
    write_event_array,
    write_image,
    write_packet,
)
from .cursor import Builder, Bytes, Cursor, Format
from .event_records import record_dtype
from .messages import CAMERA_INFO, EVENT_ARRAY, EVENT_PACKET, FORMER_EVENT_PACKET, IMAGE, KINDS, Message

_READERS: dict[str, Callable[[Cursor], Any]] = {
    EVENT_ARRAY: read_event_array,
    EVENT_PACKET: read_packet,
    FORMER_EVENT_PACKET: read_packet,
    IMAGE: read_image,
    CAMERA_INFO: read_camera_info,
}
_WRITERS: dict[str, Callable[[Builder, Any], None]] = {
    EVENT_ARRAY: write_event_array,
    EVENT_PACKET: write_packet,
    IMAGE: write_image,
    CAMERA_INFO: write_camera_info,
}
DECODED = frozenset(_READERS)  # the message types that can be decoded


class Codec:
    """Bytes of messages <-> messages, in one serialization."""

    def __init__(self, format: Format) -> None:
        self._format = format

    def decode(self, kind: str, data: Bytes) -> Any:
        """The message in these bytes (bytes-like, or a uint8 array); `kind` is its type, one of DECODED.

        Raises DecodeError if the bytes are no such message.
        """
        cursor = Cursor(data, self._format)
        message = _READERS[kind](cursor)
        cursor.finish()
        return message

    def encode(self, message: Message) -> bytes:
        """Inverse of decode; raises ValueError if something does not fit its field, or is not what it should be."""
        builder = Builder(self._format)
        _WRITERS[KINDS[type(message)]](builder, message)
        return builder.bytes()

    def decode_stamp(self, data: Bytes) -> int:
        """The header stamp in nanoseconds of any message that begins with a std_msgs/Header; the rest is not read."""
        return Cursor(data, self._format).header()[0]


# In CDR an event needs 13 bytes and starts at an even one, its time at a multiple of four. The first lies four-aligned
# and the second 14 bytes on; there time needs two bytes of padding before it, and every further event lies 16 bytes on.
# A view of 16-byte records that begins one byte before the second event ends with the last event's polarity.
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
ros1 = Codec(
    Format(aligned=False, nul_terminated=False, header_seq=True, seconds="I", event_records=(_packed, _packed))
)
