"""The order of fields in the messages that we read and write, which ROS 1 and ROS 2 share."""

from __future__ import annotations

import sys

import numpy as np

from ..errors import DecodeError
from .cursor import Builder, Cursor
from .event_records import pack_events, unpack_events
from .messages import CameraInfoMessage, EventMessage, ImageMessage, PacketMessage, image_layout


def read_size(cursor: Cursor, thing: str) -> tuple[int, int]:
    """(height, width); raises DecodeError, naming the `thing` that declares it, if either is 0."""
    height, width = cursor.scalar("I", "height"), cursor.scalar("I", "width")
    if not height or not width:
        raise DecodeError(f"declares a {width}x{height} {thing}; expected a width and a height of at least 1")
    return height, width


def read_event_array(cursor: Cursor) -> EventMessage:
    """A dvs_msgs/EventArray.

    Raises DecodeError also if it declares a sensor without pixels, or holds a time with 1e9 nanoseconds or more.
    Coordinates and the order of events are not checked here.
    """
    stamp, frame_id = cursor.header()
    height, width = read_size(cursor, "sensor")
    count = cursor.scalar("I", "the number of events")
    first, others = cursor.format.event_records
    at_most = 0 if cursor.left < first.itemsize else 1 + (cursor.left - first.itemsize) // others.itemsize
    if count > at_most:
        raise DecodeError(f"declares {count} events; the {cursor.left} bytes that follow hold at most {at_most}")
    parts = cursor.array(first, min(count, 1), "events"), cursor.array(others, max(count - 1, 0), "events")
    return EventMessage(stamp, frame_id, height, width, unpack_events(*parts))


def write_event_array(builder: Builder, message: EventMessage) -> None:
    """Inverse of read_event_array; raises ValueError if a time stamp does not fit the format's 32-bit seconds."""
    builder.header(message.stamp, message.frame_id)
    for value in (message.height, message.width, len(message.events)):
        builder.scalar("I", value)
    first, others = builder.format.event_records
    pack_events(message.events[:1], first, builder.raw)
    pack_events(message.events[1:], others, builder.raw)


def read_packet(cursor: Cursor) -> PacketMessage:
    """An event_camera_msgs/EventPacket, or what it was called before; its data is a view of the message."""
    stamp, frame_id = cursor.header()
    height, width = read_size(cursor, "sensor")
    seq, time_base = cursor.scalar("Q", "seq"), cursor.scalar("Q", "time_base")
    encoding = cursor.string("encoding")
    if cursor.scalar("B", "is_bigendian"):
        raise DecodeError("the packet is big-endian; only little-endian packets are read")
    data = cursor.array(np.uint8, cursor.scalar("I", "the length of events"), "events")
    return PacketMessage(stamp, frame_id, height, width, seq, time_base, encoding, data)


def write_packet(builder: Builder, message: PacketMessage) -> None:
    """Inverse of read_packet."""
    builder.header(message.stamp, message.frame_id)
    builder.scalar("I", message.height)
    builder.scalar("I", message.width)
    builder.scalar("Q", message.seq)
    builder.scalar("Q", message.time_base)
    builder.string(message.encoding)
    builder.scalar("B", False)
    builder.scalar("I", len(message.data))
    builder.raw(message.data)


def read_image(cursor: Cursor) -> ImageMessage:
    """A sensor_msgs/Image; raises DecodeError also if its encoding is not known."""
    stamp, frame_id = cursor.header()
    height, width = read_size(cursor, "image")
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


def write_image(builder: Builder, message: ImageMessage) -> None:
    """Inverse of read_image; raises ValueError if the array is not what its encoding says."""
    image = message.image
    dtype, channels = image_layout(message.encoding)
    shape = image.shape[:2] + ((channels,) if channels > 1 else ())
    if image.dtype != dtype or image.shape != shape or len(shape) < 2:
        expected = f"{dtype} (H, W, {channels})" if channels > 1 else f"{dtype} (H, W)"
        raise ValueError(f"a {message.encoding} image is {expected}, not {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    builder.header(message.stamp, message.frame_id)
    builder.scalar("I", height)
    builder.scalar("I", width)
    builder.string(message.encoding)
    builder.scalar("B", sys.byteorder == "big")
    builder.scalar("I", width * channels * dtype.itemsize)
    builder.scalar("I", image.nbytes)
    builder.raw(image)


def read_camera_info(cursor: Cursor) -> CameraInfoMessage:
    """A sensor_msgs/CameraInfo."""
    stamp, frame_id = cursor.header()
    height, width = cursor.scalar("I", "height"), cursor.scalar("I", "width")
    model = cursor.string("distortion_model")
    count = cursor.scalar("I", "the length of d")
    lengths = {"d": count, "k": 9, "r": 9, "p": 12}
    d, k, r, p = (cursor.array("<f8", length, name).astype(np.float64) for name, length in lengths.items())
    binning = cursor.scalar("I", "binning"), cursor.scalar("I", "binning")
    corner_and_size = [cursor.scalar("I", "roi") for _ in range(4)]
    roi = (*corner_and_size, bool(cursor.scalar("B", "roi.do_rectify")))
    return CameraInfoMessage(stamp, frame_id, height, width, model, d, k, r, p, binning, roi)


def write_camera_info(builder: Builder, message: CameraInfoMessage) -> None:
    """Inverse of read_camera_info; raises ValueError if k, r or p has another length than its matrix."""
    for name, length in (("k", 9), ("r", 9), ("p", 12)):
        if np.size(getattr(message, name)) != length:
            raise ValueError(f"{name} has {np.size(getattr(message, name))} elements; expected {length}")
    builder.header(message.stamp, message.frame_id)
    builder.scalar("I", message.height)
    builder.scalar("I", message.width)
    builder.string(message.distortion_model)
    builder.scalar("I", np.size(message.d))
    for matrix in (message.d, message.k, message.r, message.p):
        builder.doubles(matrix)
    for value in (*message.binning, *message.roi[:4]):
        builder.scalar("I", value)
    builder.scalar("B", message.roi[4])
