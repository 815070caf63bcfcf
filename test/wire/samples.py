"""Messages for the tests of the codecs: hypothesis strategies, and the same messages as rosbags' own typed objects.

rosbags' typed serialization is an independent implementation of both formats; its types come from our .msg files.
"""

from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from cista_ros.events import EVENT_DTYPE
from cista_ros.wire.ros_types import (
    CameraInfoMessage,
    CompressedImageMessage,
    EventMessage,
    ImageMessage,
    PacketMessage,
    image_layout,
)

INTERFACES = Path(__file__).parents[2] / "msg"
NS = 10**9


@cache
def typestore(ros1=False):
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    for file in INTERFACES.glob("*/msg/*.msg"):
        store.register(get_types_from_msg(file.read_text(), f"{file.parents[1].name}/msg/{file.stem}"))
    return store


# Stamps that both formats hold: ROS 2 has int32 seconds, ROS 1 uint32.
stamps = st.integers(0, (2**31 - 1) * NS + NS - 1)
negative_stamps = st.integers(-(2**31) * NS, -1)
frame_ids = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=9)
uint32 = st.integers(1, 2**32 - 1)


@st.composite
def event_messages(draw, stamps=stamps):
    count = draw(st.sampled_from((0, 1, 2, 3, 17)))
    events = np.zeros(count, EVENT_DTYPE)
    uint16 = st.lists(st.integers(0, 2**16 - 1), min_size=count, max_size=count)
    events["x"], events["y"] = draw(uint16), draw(uint16)
    events["t"] = draw(st.lists(stamps, min_size=count, max_size=count))
    events["p"] = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return EventMessage(draw(stamps), draw(frame_ids), draw(uint32), draw(uint32), events)


@st.composite
def packet_messages(draw):
    uint64 = st.integers(0, 2**64 - 1)
    data = np.frombuffer(draw(st.binary(max_size=9)), np.uint8)
    encoding = draw(st.sampled_from(("evt3", "mono", "", "é")))
    size = draw(uint32), draw(uint32)
    return PacketMessage(draw(stamps), draw(frame_ids), *size, draw(uint64), draw(uint64), encoding, data)


@st.composite
def image_messages(draw):
    encoding = draw(st.sampled_from(("mono8", "mono16", "8UC1", "16UC1", "rgb8", "bgr8", "rgba8", "bgra16", "32FC1")))
    dtype, channels = image_layout(encoding)
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 5))) + ((channels,) if channels > 1 else ())
    image = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 60_000, shape).astype(dtype)
    return ImageMessage(draw(stamps), draw(frame_ids), encoding, image)


@st.composite
def compressed_image_messages(draw):
    data = np.frombuffer(draw(st.binary(max_size=9)), np.uint8)
    return CompressedImageMessage(draw(stamps), draw(frame_ids), draw(st.sampled_from(("png", ""))), data)


@st.composite
def camera_info_messages(draw):
    def matrix(length):
        numbers = st.floats(allow_nan=False, width=64)
        return np.array(draw(st.lists(numbers, min_size=length, max_size=length)), np.float64)

    sizes = [draw(uint32) for _ in range(8)]
    d = matrix(draw(st.integers(0, 6)))
    model = draw(st.sampled_from(("", "plumb_bob", "equidistant")))
    return CameraInfoMessage(
        draw(stamps), draw(frame_ids), sizes[0], sizes[1], model, d, matrix(9), matrix(9), matrix(12),
        binning=(sizes[2], sizes[3]), roi=(*sizes[4:8], draw(st.booleans())),
    )  # fmt: skip


def to_rosbags(message, ros1=False):
    """(object, type name) of rosbags' typed API for a message."""
    types = typestore(ros1).types
    time = types["builtin_interfaces/msg/Time"]

    def header(seq=0):
        fields = {"stamp": time(*divmod(message.stamp, NS)), "frame_id": message.frame_id}
        return types["std_msgs/msg/Header"](**({"seq": seq} if ros1 else {}), **fields)

    if isinstance(message, EventMessage):
        name, event = "dvs_msgs/msg/EventArray", types["dvs_msgs/msg/Event"]
        events = [event(int(e["x"]), int(e["y"]), time(*divmod(int(e["t"]), NS)), bool(e["p"])) for e in message.events]
        return types[name](header(), message.height, message.width, events), name
    if isinstance(message, PacketMessage):
        name = "event_camera_msgs/msg/EventPacket"
        numbers = message.height, message.width, message.seq, message.time_base
        return types[name](header(), *numbers, message.encoding, False, message.data), name
    if isinstance(message, ImageMessage):
        name, image = "sensor_msgs/msg/Image", message.image
        step, data = image.strides[0], np.frombuffer(image.tobytes(), np.uint8)
        return types[name](header(), *image.shape[:2], message.encoding, 0, step, data), name
    if isinstance(message, CompressedImageMessage):
        name = "sensor_msgs/msg/CompressedImage"
        return types[name](header(), message.format, message.data), name
    name = "sensor_msgs/msg/CameraInfo"
    roi = types["sensor_msgs/msg/RegionOfInterest"](*message.roi)
    matrices = message.d, message.k, message.r, message.p
    fields = message.height, message.width, message.distortion_model, *matrices, *message.binning, roi
    return types[name](header(), *fields), name


def serialized_by_rosbags(message, ros1=False):
    store = typestore(ros1)
    return bytes((store.serialize_ros1 if ros1 else store.serialize_cdr)(*to_rosbags(message, ros1)))


def assert_same(one, other):
    """Two messages are equal in every field, arrays also in shape and dtype."""
    assert type(one) is type(other)
    for name in (field.name for field in fields(one)):
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape, name
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            assert a == b, name
