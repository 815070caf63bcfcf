"""Both codecs, `wire.cdr` and `wire.ros1`: what they share."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import (
    assert_same,
    camera_info_messages,
    compressed_image_messages,
    event_messages,
    image_messages,
    negative_stamps,
    packet_messages,
    serialized_by_rosbags,
    stamps,
    typestore,
)

from cista_ros.errors import DecodeError
from cista_ros.events import make_events
from cista_ros.wire import cdr, ros1
from cista_ros.wire.ros_types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    EVENT_ARRAY,
    EVENT_PACKET,
    IMAGE,
    CameraInfoMessage,
    EmptyMessageError,
    EventMessage,
    ImageMessage,
    PacketMessage,
    image_layout,
)

CODECS = pytest.mark.parametrize("codec", [cdr, ros1], ids=["cdr", "ros1"])
MESSAGES = {
    EVENT_ARRAY: event_messages(),
    EVENT_PACKET: packet_messages(),
    IMAGE: image_messages(),
    COMPRESSED_IMAGE: compressed_image_messages(),
    CAMERA_INFO: camera_info_messages(),
}
KINDS = pytest.mark.parametrize("kind", MESSAGES)


def message_of(*times, x=0, stamp=0, frame_id="dvs"):
    return EventMessage(stamp, frame_id, 180, 240, make_events([x] * len(times), 0, times, True))


@CODECS
@KINDS
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_encodes_the_bytes_of_rosbags_and_decodes_them(codec, kind, data):
    message = data.draw(MESSAGES[kind])
    raw = serialized_by_rosbags(message, ros1=codec is ros1)
    assert codec.encode(message) == raw
    assert_same(codec.decode(kind, raw), message)
    assert codec.decode_stamp(raw) == message.stamp


@given(event_messages(stamps | negative_stamps))
@settings(deadline=None)
def test_times_before_1970_survive_ros_2(message):
    assert_same(cdr.decode(EVENT_ARRAY, serialized_by_rosbags(message)), message)
    assert_same(cdr.decode(EVENT_ARRAY, cdr.encode(message)), message)


@CODECS
@KINDS
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_rejects_every_truncation(codec, kind, data):
    raw = codec.encode(data.draw(MESSAGES[kind]))
    with pytest.raises(DecodeError):
        codec.decode(kind, raw[: data.draw(st.integers(0, len(raw) - 1))])


@CODECS
@KINDS
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_changed_byte_gives_an_error_or_a_valid_message(codec, kind, data):
    raw = bytearray(codec.encode(data.draw(MESSAGES[kind])))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        message = codec.decode(kind, raw)
    except DecodeError:
        return
    assert_same(codec.decode(kind, codec.encode(message)), message)


@CODECS
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda raw: np.frombuffer(raw, np.uint8)])
def test_reads_any_buffer(codec, wrap):
    message = message_of(1, 2, 3)
    assert_same(codec.decode(EVENT_ARRAY, wrap(codec.encode(message))), message)


@CODECS
def test_many_events_survive(codec):
    rng = np.random.default_rng(1)
    n = 30_001
    t = 1_468_939_993 * 10**9 + np.sort(rng.integers(0, 10**9, n))
    events = make_events(rng.integers(0, 240, n), rng.integers(0, 180, n), t, rng.random(n) < 0.5)
    message = EventMessage(int(t[0]), "dvs", 180, 240, events)
    assert_same(codec.decode(EVENT_ARRAY, codec.encode(message)), message)


@CODECS
def test_rejects_a_huge_count_before_allocating(codec):
    raw = bytearray(codec.encode(message_of(1, 2)))
    body = raw.index((2).to_bytes(4, "little"), 20)
    raw[body : body + 4] = b"\xff" * 4
    expected = r"declares 4294967295 events; the \d\d bytes that follow hold at most 2"
    with pytest.raises(DecodeError, match=expected):
        codec.decode(EVENT_ARRAY, raw)


@CODECS
@pytest.mark.parametrize(("height", "width"), [(0, 0), (0, 240), (180, 0)])
def test_a_sensor_without_pixels_is_refused_and_an_empty_message_can_be_skipped(codec, height, width):
    array = EventMessage(0, "", height, width, make_events([], [], [], []))
    packet = PacketMessage(0, "", height, width, 1, 0, "evt3", np.empty(0, np.uint8))
    for kind, message in ((EVENT_ARRAY, array), (EVENT_PACKET, packet)):
        with pytest.raises(EmptyMessageError, match=f"declares a {width}x{height} sensor"):
            codec.decode(kind, codec.encode(message))
    for kind, message in (
        (EVENT_ARRAY, replace(array, events=make_events([1], [1], [1], [True]))),
        (EVENT_PACKET, replace(packet, data=np.zeros(2, np.uint8))),
    ):
        with pytest.raises(DecodeError, match=f"declares a {width}x{height} sensor") as caught:
            codec.decode(kind, codec.encode(message))
        assert not isinstance(caught.value, EmptyMessageError)


@CODECS
@pytest.mark.parametrize("package", ["prophesee_event_msgs", "dv_ros_msgs", "dv_ros2_msgs"])
def test_other_names_of_the_same_layout_are_decoded(codec, package):
    message = message_of(1, 2, 3)
    assert_same(codec.decode(f"{package}/msg/EventArray", codec.encode(message)), message)


@CODECS
def test_rejects_invalid_times_and_counts_them(codec):
    raw = bytearray(codec.encode(message_of(5, 999_999_999, 999_999_998, 7)))
    for nsec in (999_999_999, 999_999_998):
        at = raw.index(nsec.to_bytes(4, "little"))
        raw[at : at + 4] = (10**9).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="2 of 4 events have 1000000000 nanoseconds or more in their time stamp"):
        codec.decode(EVENT_ARRAY, raw)


@CODECS
def test_rejects_an_invalid_header_stamp(codec):
    raw = bytearray(codec.encode(message_of(stamp=999_999_999)))
    at = raw.index((999_999_999).to_bytes(4, "little"))
    raw[at : at + 4] = b"\xff" * 4
    with pytest.raises(DecodeError, match=r"header\.stamp has 4294967295 nanoseconds; expected fewer than 1000000000"):
        codec.decode(EVENT_ARRAY, raw)


@CODECS
def test_a_frame_id_that_is_not_utf8_does_not_lose_the_events(codec):
    """Some ROS 1 bags assign a number to the string. ROS 1 keeps the bytes; ROS 2 strings are always UTF-8."""
    raw = codec.encode(message_of(1, 2, frame_id="abcd")).replace(b"abcd", b"ab\xff\xa0")
    message = codec.decode(EVENT_ARRAY, raw)
    assert len(message.events) == 2 and message.frame_id.startswith("ab")
    assert (codec.encode(message) == raw) == (codec is ros1)
    other = cdr.encode(message)
    assert cdr.decode(EVENT_ARRAY, other).frame_id.encode().startswith(b"ab")


@CODECS
def test_bytes_after_the_message_are_refused_except_ros_2_padding(codec):
    raw = codec.encode(message_of(1))
    padding = 3 if codec is cdr else 0
    codec.decode(EVENT_ARRAY, raw + bytes(padding))
    with pytest.raises(
        DecodeError, match=f"{padding + 1} bytes follow the end of the message; expected at most {padding}"
    ):
        codec.decode(EVENT_ARRAY, raw + bytes(padding + 1))


@CODECS
@pytest.mark.parametrize("t", [-(2**31) * 10**9 - 1, 2**32 * 10**9])
def test_a_time_that_the_format_cannot_hold_is_not_written(codec, t):
    with pytest.raises(ValueError, match="event times must lie between"):
        codec.encode(message_of(t))
    with pytest.raises(ValueError, match="does not fit"):
        codec.encode(message_of(stamp=t))


@CODECS
def test_rows_may_be_padded_and_big_endian(codec):
    image = np.arange(6, dtype=np.uint16).reshape(2, 3) * 1000
    raw = bytearray(codec.encode(ImageMessage(0, "", "mono16", image)))
    padded = b"".join(row.astype(">u2").tobytes() + b"\xee\xee" for row in image)
    head = raw[: -(image.nbytes + 9)]  # is_bigendian, (alignment,) step and the length of data are written again
    if codec is cdr:
        head = raw[: raw.index(b"mono16\0") + 7]
        head += b"\1" + bytes(-(len(head) + 1 - 4) % 4)
    else:
        head += b"\1"
    raw = head + (8).to_bytes(4, "little") + len(padded).to_bytes(4, "little") + padded
    np.testing.assert_array_equal(codec.decode(IMAGE, raw).image, image)


@CODECS
def test_an_image_is_a_view_of_the_message(codec):
    raw = codec.encode(ImageMessage(0, "", "mono8", np.zeros((4, 5), np.uint8)))
    image = codec.decode(IMAGE, raw).image
    assert np.shares_memory(image, np.frombuffer(raw, np.uint8)) and not image.flags.writeable


@CODECS
def test_image_sizes_that_disagree_are_refused(codec):
    raw = codec.encode(ImageMessage(0, "", "mono8", np.zeros((4, 5), np.uint8)))
    size = raw.rindex((20).to_bytes(4, "little"))

    def with_numbers(step, length):
        return raw[: size - 4] + step.to_bytes(4, "little") + length.to_bytes(4, "little") + raw[size + 4 :]

    with pytest.raises(DecodeError, match="step is 4; a row of 5 mono8 pixels needs 5 bytes"):
        codec.decode(IMAGE, with_numbers(4, 16))
    with pytest.raises(DecodeError, match="data has 19 bytes; 4 rows of 5 bytes have 20"):
        codec.decode(IMAGE, with_numbers(5, 19))
    with pytest.raises(DecodeError, match="data needs 4000000000 bytes at byte"):
        codec.decode(IMAGE, with_numbers(1_000_000_000, 4_000_000_000))


@CODECS
def test_an_image_without_pixels_is_refused(codec):
    raw = codec.encode(ImageMessage(0, "", "mono8", np.zeros((0, 5), np.uint8)))
    with pytest.raises(DecodeError, match="declares a 5x0 image"):
        codec.decode(IMAGE, raw)


@CODECS
def test_an_image_that_does_not_match_its_encoding_is_not_written(codec):
    for encoding, image in (
        ("mono8", np.zeros((4, 5))),
        ("rgb8", np.zeros((4, 5), np.uint8)),
        ("mono8", np.zeros(4, "u1")),
    ):
        with pytest.raises(ValueError, match=f"a {encoding} image is uint8"):
            codec.encode(ImageMessage(0, "", encoding, image))


@CODECS
def test_a_camera_matrix_of_the_wrong_length_is_not_written(codec):
    message = CameraInfoMessage(0, "", 180, 240, "plumb_bob", np.zeros(5), np.zeros(8), np.zeros(9), np.zeros(12))
    with pytest.raises(ValueError, match="k has 8 elements; expected 9"):
        codec.encode(message)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [("mono8", "u1", 1), ("mono16", "u2", 1), ("bayer_rggb8", "u1", 1), ("rgba16", "u2", 4), ("8UC1", "u1", 1),
     ("8UC3", "u1", 3), ("16SC2", "i2", 2), ("32FC1", "f4", 1), ("64FC10", "f8", 10), ("32SC", "i4", 1)],
)  # fmt: skip
def test_encodings_name_a_dtype_and_channels(encoding, dtype, channels):
    assert image_layout(encoding) == (np.dtype(dtype), channels)


@pytest.mark.parametrize("encoding", ["", "yuv422", "16FC1", "8UC0", "mono32", "mono8 "])
def test_an_unknown_encoding_is_refused_by_name(encoding):
    with pytest.raises(DecodeError, match=f"unknown image encoding '{encoding}'"):
        image_layout(encoding)


@CODECS
def test_signed_bytes_stay_signed(codec):
    image = np.arange(-60, 60, dtype=np.int8).reshape(4, 10, 3)
    message = ImageMessage(0, "", "8SC3", image)
    assert_same(codec.decode(IMAGE, codec.encode(message)), message)


def test_ros1_reads_the_documented_bytes():
    """A message written out by hand from the layout in facts.md section 3."""
    raw = (
        b"\0\0\0\0" + b"\x05\0\0\0" + b"\x06\0\0\0" + b"\1\0\0\0a" + b"\xb4\0\0\0" + b"\xf0\0\0\0" + b"\2\0\0\0"
        + b"\x01\0\x02\0" + b"\7\0\0\0" + b"\x08\0\0\0" + b"\1"
        + b"\x03\0\x04\0" + b"\xff\xff\xff\xff" + b"\x09\0\0\0" + b"\0"
    )  # fmt: skip
    events = make_events([1, 3], [2, 4], [7_000_000_008, 4_294_967_295_000_000_009], [True, False])
    message = EventMessage(5_000_000_006, "a", 180, 240, events)
    assert_same(ros1.decode(EVENT_ARRAY, raw), message)
    assert ros1.encode(message) == raw
    assert_same(ros1.decode(EVENT_ARRAY, b"\x63" + raw[1:]), message)  # header.seq is read over


def test_our_interface_package_is_the_type_that_ros_1_bags_hold():
    _, md5 = typestore(ros1=True).generate_msgdef("dvs_msgs/msg/EventArray")
    assert md5 == "5e8beee5a6c107e504c2e78903c224b8"
