"""Messages of ROS 2 (CDR) and ROS 1: arbitrary bytes, and valid messages with a few places changed.

A decoded message must survive encoding, and an encoded one decoding.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from source import Source, patched

from cista_ros.errors import DecodeError
from cista_ros.events import EVENT_DTYPE, NS
from cista_ros.wire import cdr, ros1
from cista_ros.wire.codec import DECODED
from cista_ros.wire.ros_types import (
    COMPRESSED_IMAGE,
    EVENT_ARRAY,
    EVENT_PACKET,
    EVENT_TYPES,
    CameraInfoMessage,
    CompressedImageMessage,
    EventMessage,
    ImageMessage,
    Message,
    PacketMessage,
    image_layout,
)

MODULES = (
    "cista_ros.wire.codec",
    "cista_ros.wire.serialization",
    "cista_ros.wire.event_array",
    "cista_ros.wire.ros_types",
)
KINDS = sorted(DECODED)
ENCODINGS = ("mono8", "mono16", "bgr8", "rgba16", "bayer_rggb8", "32FC1", "64FC2", "8SC3")
SEEDS = [bytes([flags, kind]) + b"\x05" * 3 + bytes(range(1, 90)) for flags in range(4) for kind in range(len(KINDS))]


def check(data: bytes) -> None:
    """Decode; only DecodeError may be raised."""
    source = Source(data)
    flags, kind = source.number(), source.pick(KINDS)
    codec = ros1 if flags & 1 else cdr
    if flags & 2:
        raw = source.rest()
    else:
        message = build(kind, source)
        raw = codec.encode(message)
        assert_same(codec.decode(kind, raw), message)
        raw = patched(raw, source)
    try:
        stamp = codec.decode_stamp(raw)
    except DecodeError:
        stamp = None
    try:
        decoded = codec.decode(kind, raw)
    except DecodeError as error:
        assert "\n" not in str(error)
        return
    assert decoded.stamp == stamp
    held = sum(value.nbytes for field in fields(decoded) if is_array(value := getattr(decoded, field.name)))
    assert held <= 2 * len(raw) + 64, f"{held} bytes out of {len(raw)}"
    assert_same(codec.decode(kind, codec.encode(decoded)), decoded)


def build(kind: str, source: Source) -> Message:
    """Return a valid message of this type."""
    stamp = source.number(4) % 2**31 * NS + source.number(4) % NS
    frame_id = source.take(source.below(9)).decode(errors="ignore").replace("\0", "")
    height, width = 1 + source.number(source.pick((1, 2))), 1 + source.number(1)
    if EVENT_TYPES.get(kind) == EVENT_ARRAY:
        events = np.zeros(source.below(9), EVENT_DTYPE)
        for i in range(len(events)):
            t = source.number(4) % 2**31 * NS + source.number(4) % NS
            events[i] = t, source.number(2), source.number(2), source.number() & 1
        return EventMessage(stamp, frame_id, height, width, events)
    if EVENT_TYPES.get(kind) == EVENT_PACKET:
        data = np.frombuffer(source.take(source.below(40)), np.uint8)
        head = stamp, frame_id, height, width
        return PacketMessage(*head, source.number(8), source.number(8), source.pick(("evt3", "mono", "")), data)
    if kind == "sensor_msgs/msg/Image":
        encoding = source.pick(ENCODINGS)
        dtype, channels = image_layout(encoding)
        shape = 1 + height % 5, 1 + width % 5, channels
        image = np.resize(np.frombuffer(source.take(20) or b"\0", np.uint8), shape).astype(dtype)
        return ImageMessage(stamp, frame_id, encoding, image if channels > 1 else image[..., 0])
    if kind == COMPRESSED_IMAGE:
        data = np.frombuffer(source.take(source.below(40)), np.uint8)
        return CompressedImageMessage(stamp, frame_id, source.pick(("png", "jpeg", "")), data)
    numbers = np.arange(30.0) + source.number()
    d, k, r, p = numbers[: source.below(7)], numbers[:9], numbers[9:18], numbers[18:30]
    binning, roi = (source.number(), source.number()), (source.number(4), 0, height, width, bool(source.number() & 1))
    return CameraInfoMessage(stamp, frame_id, height, width, "plumb_bob", d, k, r, p, binning, roi)


def is_array(value: object) -> bool:
    """Return whether a value is an array."""
    return isinstance(value, np.ndarray)


def assert_same(one: Message, other: Message) -> None:
    """Assert that two messages are equal in every field; NaN equals itself."""
    assert type(one) is type(other)
    for name in (field.name for field in fields(one)):
        a, b = getattr(one, name), getattr(other, name)
        if is_array(a):
            assert a.dtype == b.dtype and a.shape == b.shape, name
            equal = np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            assert equal, f"{name}: {a} is not {b}"
        else:
            assert a == b, f"{name}: {a} is not {b}"
