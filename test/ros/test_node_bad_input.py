"""Bad input is counted in /diagnostics and logged, and the node continues."""

from __future__ import annotations

import numpy as np
import pytest
from harness import MS, W, cut, module, offline, pixels, stamp_of, stream
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image

from cista_ros.tone_map import to_mono8
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import EventMessage

FIRST = cut(stream())[0]
GOOD = cdr.encode(FIRST)
N = len(FIRST.events)
COUNT_AT = 4 + 8 + 4 + len("dvs\0") + 8  # encapsulation, stamp, frame_id, height and width


def sized(height: int, width: int, events=FIRST.events[:0]) -> bytes:
    return cdr.encode(EventMessage(0, "dvs", height, width, events))


MALFORMED = {
    "truncated": (GOOD[:-5], f"declares {N} events; the {16 * N - 8} bytes that follow hold at most {N - 1}"),
    "four bytes": (GOOD[:4], "the message ends too early: header.stamp needs 4 bytes at byte 4 of 4"),
    "big-endian": (b"\0\0\0\0" + GOOD[4:], "big-endian CDR"),
    "huge": (GOOD[:COUNT_AT] + b"\xff\xff\xff\xff" + GOOD[COUNT_AT + 4 :], "declares 4294967295 events; the"),
    "trailing": (GOOD + bytes(100), " bytes follow the end of the message"),
    "no height": (sized(0, 24, FIRST.events), "declares a 24x0 sensor"),
    "no width": (sized(20, 0, FIRST.events), "declares a 0x20 sensor"),
}
WRONG_SIZE = {
    "another size": (sized(20, 25), " on /dvs/events: its sensor has 25x20 pixels; expected 24x20"),
    "impossible size": (sized(60_000, 60_000), "60000x60000 pixels"),
}


def spoil(client, bad: bytes) -> tuple[dict, dict]:
    """Counts before and after a stream into which a bad message was put."""
    before = client.known()
    for i, message in enumerate(cut(stream())):
        client.events.publish(cdr.encode(message))
        if i == 7:
            client.events.publish(bad)
    after = client.counts(lambda c: c["messages"] == before["messages"] + 21 and c["pending_events"] == 0)
    return before, after


@pytest.mark.parametrize("bad", [*MALFORMED, *WRONG_SIZE])
def test_a_message_that_cannot_be_used_is_counted_and_skipped(node, small_weights, bad):
    client, _ = node
    counter = "malformed_messages" if bad in MALFORMED else "wrong_size_messages"
    data, reason = {**MALFORMED, **WRONG_SIZE}[bad]
    before, after = spoil(client, data)
    assert after[counter] == before[counter] + 1
    assert after["used_events"] == before["used_events"] + len(stream())
    assert after["dropped_events"] == before["dropped_events"]
    assert "on /dvs/events" in after["last_error"] and reason in after["last_error"]
    expected = offline(small_weights[1], stream())
    client.expect(expected)


def test_a_first_message_of_an_impossible_size_does_not_decide_the_size(node):
    client, _ = node
    before = client.known()["wrong_size_messages"]
    client.events.publish(sized(60_000, 60_000))
    client.send(stream())
    client.until(lambda: len(client.images) == 10)
    after = client.counts(lambda counts: counts["wrong_size_messages"] == before + 1)
    assert "60000x60000: expected at least 16x16" in after["last_error"]


def test_messages_without_events_and_size_are_no_error_and_do_not_decide_the_size(node):
    client, _ = node
    before = client.known()
    client.events.publish(sized(0, 0))
    client.send(stream())
    client.until(lambda: len(client.images) == 10)
    after = client.counts(lambda counts: counts["messages"] == before["messages"] + 21)
    for name in ("malformed_messages", "wrong_size_messages"):
        assert after[name] == before[name]


def test_events_outside_the_sensor_are_dropped_and_counted(node, small_weights):
    client, _ = node
    events = stream()
    events["x"][::10] = W
    events["y"][1::10] = 65535
    before = client.known()
    client.send(events)
    expected = offline(small_weights[1], np.delete(stream(), [i for i in range(3000) if i % 10 < 2]))
    client.until(lambda: len(client.images) == len(expected))
    after = client.counts(lambda counts: counts["pending_events"] == 0)
    assert after["outside_events"] - before["outside_events"] == 600
    assert after["dropped_events"] - before["dropped_events"] == 600
    assert after["used_events"] - before["used_events"] == 2400
    assert "events outside the 24x20 sensor" in after["last_error"]
    assert all(np.array_equal(pixels(m), to_mono8(p.shown)) for m, p in zip(client.images, expected, strict=True))


def test_events_out_of_order_within_a_message_are_sorted(node, small_weights):
    client, _ = node
    before = client.known()
    for message in cut(stream()):
        message.events[:] = message.events[np.random.default_rng(0).permutation(len(message.events))]
        client.events.publish(cdr.encode(message))
    expected = offline(small_weights[1], stream())
    client.until(lambda: len(client.images) == len(expected))
    after = client.counts(lambda counts: counts["pending_events"] == 0)
    assert after["reordered_events"] > before["reordered_events"]
    assert after["dropped_events"] == before["dropped_events"]
    assert [stamp_of(m) for m in client.images] == [picture.stamp for picture in expected]


def test_events_older_than_the_message_before_are_dropped_and_counted(node):
    client, _ = node
    messages = cut(stream())
    late = messages[8].events.copy()
    late["t"] -= 5 * MS
    expected = int((late["t"] < messages[7].events["t"][-1]).sum())
    before = client.known()
    client.send(np.concatenate([m.events for m in messages[:8]]))
    client.events.publish(cdr.encode(EventMessage(0, "dvs", 20, 24, late)))
    client.send(np.concatenate([m.events for m in messages[9:]]))
    after = client.counts(lambda c: c["messages"] == before["messages"] + 20 and c["pending_events"] == 0)
    assert 0 < expected < len(late)
    assert after["late_events"] - before["late_events"] == expected
    assert after["time_jumps"] == before["time_jumps"]
    assert f"and {expected} older than those before them, on /dvs/events" in after["last_error"]


def test_a_broken_camera_info_does_not_end_the_node(node):
    client, process = node
    before = client.known()["malformed_messages"]
    client.camera_info.publish(serialize_message(CameraInfo(d=[1.0, 2.0]))[:250])
    client.send(stream())
    client.until(lambda: len(client.images) == 10)
    client.counts(lambda counts: counts["malformed_messages"] == before + 1)
    assert process.popen.poll() is None


def test_another_type_on_the_topic_is_reported(client, small_weights):
    client.node.create_publisher(Image, "/dvs/wrong", 10)
    remapping = "-r", "events:=/dvs/wrong"
    process = client.start(*module("reconstruct", "--ros-args", *remapping, "-p", f"weights:={small_weights[0]}"))
    client.until(lambda: client.statuses)
    said = "/dvs/wrong has type sensor_msgs/msg/Image; this node reads dvs_msgs/msg/EventArray"
    client.until(lambda: said in process.err)
    assert process.stop() == 0


def test_each_kind_of_trouble_is_told_but_not_each_message(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}")
    client.until(lambda: client.statuses and client.statuses[-1].level == b"\1")
    assert client.statuses[-1].message == "no events on /dvs/events"
    client.statuses.clear()
    client.send(stream())
    client.until(lambda: any(status.level == b"\0" for status in client.statuses))
    client.until(lambda: client.statuses[-1].level == b"\1")
    assert client.statuses[-1].message == "no events on /dvs/events"
    assert "[WARN]" not in process.err
    for _ in range(50):
        for bad, _ in (*MALFORMED.values(), *WRONG_SIZE.values()):
            client.events.publish(bad)
    client.send(stream())
    client.counts(lambda counts: counts["messages"] == 40 + 50 * 9)
    assert "on /dvs/events" in next(status.message for status in client.statuses if status.level == b"\1")
    warnings = [line for line in process.err.splitlines() if "[WARN]" in line]
    assert sum(f"declares {N} events" in line for line in warnings) == 1
    assert sum("Call ~/reset" in line for line in warnings) == 1
    assert sum("Time jumped back" in line for line in warnings) == 1
    assert len(warnings) <= 6
    assert process.stop() == 0
