"""What is special to ROS 1: packed fields and a sequence number in the header."""

from samples import assert_same, typestore

from cista_ros.events import make_events
from cista_ros.wire import ros1
from cista_ros.wire.ros_types import EVENT_ARRAY, EventMessage


def test_reads_the_documented_bytes():
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
