"""Conversions: whatever the way, the same events, images and camera infos come out."""

from dataclasses import replace

import numpy as np
import pytest
from makers import NS, T0, events_of, frames, images_of, messages_of, random_events, with_topics, write_any, write_bag

from cista_ros.errors import RecordingError
from cista_ros.events import make_events, make_triggers
from cista_ros.recordings import open_recording
from cista_ros.recordings.convert import Converted, Encode, convert
from cista_ros.recordings.write import write_recording
from cista_ros.wire.event_packet import ENCODINGS, PacketDecoder, PacketEncoder
from cista_ros.wire.ros_types import EventMessage, ImageMessage

EVENTS = random_events(3000)
EVENTS["t"] = EVENTS["t"] // 1000 * 1000
FRAMES = frames(6)
TARGETS = {"ros1": "out.bag", "ros2": "out", "ros2-mcap": "out.mcap", "ecd-text": "text", "zip": "text.zip"}


def converted(source, target, **options):
    with open_recording(source) as recording:
        return convert(recording, target, **options)


def packets_of(messages):
    return [m.packet for m in messages if isinstance(m, EventMessage)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_any(tmp_path_factory.mktemp("source"), "ros1", EVENTS, FRAMES)


@pytest.mark.parametrize("format", TARGETS)
@pytest.mark.parametrize("events_as", ["keep", "dvs_msgs", "mono", "libcaer", "libcaer_cmp"])
def test_all_messages_survive_conversion_to_every_format(source, tmp_path, format, events_as):
    first, back = tmp_path / TARGETS[format], tmp_path / "back.bag"
    format = "ecd-text" if format == "zip" else format
    if format == "ecd-text" and events_as != "keep":
        with pytest.raises(RecordingError, match=f"{first}: --events {events_as} is for bags; ecd-text has"):
            converted(source, first, format=format, events_as=events_as)
        return
    done = converted(source, first, format=format, events_as=events_as)
    assert (done.events, done.images, done.camera_infos) == (len(EVENTS), len(FRAMES), len(FRAMES))
    assert (done.cut_times, done.time_shift_ns, done.left_out_camera_infos) == (0, 0, 0)
    converted(first, back, format="ros1", events_as="dvs_msgs")
    for path in (first, back):
        recording, messages = messages_of(path)
        assert (recording.height, recording.width) == (18, 24)
        np.testing.assert_array_equal(events_of(messages), EVENTS)
        images = images_of(messages)
        assert all(np.array_equal(a.image, b.image) and a.stamp == b.stamp for a, b in zip(images, FRAMES, strict=True))
        assert [m.k[4] for m in messages if hasattr(m, "k")] == [21] * len(FRAMES)


def test_evt3_shifts_times_only_if_lossy(source, tmp_path):
    with pytest.raises(RecordingError, match=r"evt3's time begins between 0 and 16\.8 s \(--lossy moves it there\)"):
        converted(source, tmp_path / "out", format="ros2", events_as="evt3")
    assert not (tmp_path / "out").exists()
    done = converted(source, tmp_path / "out", format="ros2", events_as="evt3", lossy=True)
    events = events_of(messages_of(tmp_path / "out")[1])
    assert done.time_shift_ns < 0
    assert done.cut_times == 0
    expected = EVENTS.copy()
    expected["t"] += done.time_shift_ns
    np.testing.assert_array_equal(events, expected)
    converted(tmp_path / "out", tmp_path / "again.bag", format="ros1", events_as="evt3")
    np.testing.assert_array_equal(events_of(messages_of(tmp_path / "again.bag")[1]), events)


@pytest.mark.parametrize("encoding", ["libcaer", "libcaer_cmp", "evt3"])
def test_cuts_nanoseconds_only_if_lossy(tmp_path, encoding):
    events = random_events(500, t0=0)
    source = write_any(tmp_path, "ros1", events)
    with pytest.raises(RecordingError, match=r"microsecond.*--lossy"):
        converted(source, tmp_path / "out", format="ros2", events_as=encoding)
    done = converted(source, tmp_path / "out", format="ros2", events_as=encoding, lossy=True)
    assert done.cut_times == np.count_nonzero(events["t"] % 1000)
    assert np.array_equal(events_of(messages_of(tmp_path / "out")[1])["t"], events["t"] // 1000 * 1000)


def packets(encoding):
    t0 = T0 // 1000 * 1000 if encoding != "evt3" else 0
    events = EVENTS.copy()
    events["t"] += t0 - events["t"][0]
    encoder = PacketEncoder(encoding)
    parts = np.array_split(events, 9)
    return events, [
        encoder.encode(EventMessage(T0 + i * NS // 10, "cam", 18, 24, part), 7 + i) for i, part in enumerate(parts)
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["ros1", "sqlite3", "mcap"])
def test_packets_are_read_from_every_bag_and_kept_as_they_are(tmp_path, encoding, kind):
    events, sent = packets(encoding)
    source = write_bag(
        tmp_path / ("in.bag" if kind == "ros1" else "in"), [(p.stamp, "/cam/events", p) for p in sent], kind
    )
    converted(source, tmp_path / "out", format="ros2-mcap", metadata_version=9)
    assert "version: 9" in (tmp_path / "out" / "metadata.yaml").read_text()
    recording, messages = messages_of(tmp_path / "out")
    assert (recording.height, recording.width) == (18, 24)
    np.testing.assert_array_equal(events_of(messages), events)
    for got, packet in zip(packets_of(messages), sent, strict=True):
        assert (got.stamp, got.frame_id, got.seq, got.time_base, got.encoding) == (
            packet.stamp, packet.frame_id, packet.seq, packet.time_base, packet.encoding
        )  # fmt: skip
        np.testing.assert_array_equal(got.data, packet.data)


def test_host_time_is_that_of_the_stamps(tmp_path):
    events, sent = packets("evt3")
    source = write_bag(tmp_path / "in", [(p.stamp, "/cam/events", p) for p in sent], "mcap")
    _, messages = messages_of(source, event_time="host")
    assert events_of(messages)["t"][0] == T0
    assert packets_of(messages) == [None] * 9
    np.testing.assert_allclose(np.diff(events_of(messages)["t"]), np.diff(events["t"]), rtol=2e-4, atol=1000)


def test_a_part_of_packets_is_cut_exactly_and_still_packets(tmp_path):
    events, sent = packets("evt3")
    source = write_bag(tmp_path / "in", [(p.stamp, "/cam/events", p) for p in sent], "sqlite3")
    with open_recording(source) as recording:
        messages = [r.message for r in recording.read(0.25, 0.75)]
    inside = (events["t"] >= 250_000_000) & (events["t"] < 750_000_000)
    np.testing.assert_array_equal(events_of(messages), events[inside])
    assert [p.seq for p in packets_of(messages)] == list(range(9, 14))


def test_long_pauses_do_not_make_packets_too_long(tmp_path):
    events = EVENTS[:10].copy()
    events["t"] = np.arange(10) * 3 * NS
    source = write_bag(tmp_path / "in.bag", [(NS, "/e", EventMessage(NS, "", 18, 24, events))])
    for encoding in ENCODINGS:
        converted(source, tmp_path / encoding, format="ros2", events_as=encoding)
        np.testing.assert_array_equal(events_of(messages_of(tmp_path / encoding)[1]), events)


def test_triggers_come_once_if_times_go_back_where_a_message_is_divided():
    t, triggers = np.array([0, 4001, 3999, 4002]) * 1_000_000, make_triggers(np.array([3000, 4000]) * 1_000_000, 1, 1)
    message = EventMessage(0, "", 18, 24, make_events(0, 0, t, 1), triggers=triggers)
    decoder = PacketDecoder()
    parts = [decoder.decode(packet) for packet in Encode("evt3", False, Converted())(message)]
    assert len(parts) == 4 and np.concatenate([part.triggers for part in parts]).tolist() == triggers.tolist()


def test_lists_topics_that_are_left_out(tmp_path):
    rows = with_topics([EventMessage(T0, "", 18, 24, EVENTS)], FRAMES[:1])
    rows.append((rows[-1][0] + 1, "/e2", ("std_msgs/msg/Empty", b"\0\1\0\0\0")))
    with open_recording(write_bag(tmp_path / "in", rows, "mcap")) as recording:
        assert convert(recording, tmp_path / "out", "ros2").left_out_topics == ["/e2"]


def test_rejects_images_that_text_cannot_hold(tmp_path):
    image = ImageMessage(T0, "", "32FC1", np.zeros((18, 24), np.float32))
    source = write_bag(tmp_path / "in.bag", with_topics([EventMessage(T0, "", 18, 24, EVENTS)], [image]))
    with pytest.raises(RecordingError, match="ECD text cannot hold images of encoding 32FC1"):
        converted(source, tmp_path / "text", format="ecd-text")
    assert not (tmp_path / "text").exists()


def test_real_evt3_is_the_same_in_both_kinds_of_bag_and_as_text(shared_file, tmp_path):
    twins = [messages_of(shared_file(f"recordings/{name}")) for name in ("evt3_walk", "evt3_walk_ros1.bag")]
    one, other = (events_of(messages) for _, messages in twins)
    assert len(one) == 343_474
    np.testing.assert_array_equal(one, other)
    converted(shared_file("recordings/evt3_walk_ros1.bag"), tmp_path / "walk.zip", format="ecd-text")
    recording, messages = messages_of(tmp_path / "walk.zip")
    assert (recording.height, recording.width) == (480, 640)
    np.testing.assert_array_equal(events_of(messages), one)


@pytest.mark.parametrize(
    ("name", "count", "topic_type"),
    [
        ("libcaer_rollover", 334_331, "event_camera_msgs/msg/EventPacket"),
        ("mono_tiny", 100, "event_camera_msgs/msg/EventPacket"),
    ],
)
def test_reads_real_packets_of_other_cameras(name, count, topic_type, shared_file):
    with open_recording(shared_file(f"recordings/{name}")) as recording:
        assert (recording.events_type, recording.height, recording.width) == (topic_type, 480, 640)
        assert sum(len(r.message.events) for r in recording.read()) == count


@pytest.mark.parametrize("format", TARGETS)
def test_images_of_another_camera_do_not_change_the_sensors_size(tmp_path, format):
    images = [replace(frame, image=np.repeat(frame.image, 2, 1)) for frame in FRAMES]
    source = write_bag(tmp_path / "in.bag", with_topics([EventMessage(T0, "", 18, 24, EVENTS)], images))
    converted(source, tmp_path / TARGETS[format], format="ecd-text" if format == "zip" else format)
    recording, messages = messages_of(tmp_path / TARGETS[format])
    assert (recording.height, recording.width) == (18, 24)
    np.testing.assert_array_equal(events_of(messages), EVENTS)


@pytest.mark.parametrize(
    ("target", "format", "received", "stamp", "expected"),
    [
        ("out.bag", "ros1", 2**33 * NS, T0, "was received at 8589934592000000000 ns, which this format cannot hold"),
        ("out.bag", "ros1", -NS, T0, "was received at -1000000000 ns"),
        ("out", "ros2-mcap", -NS, T0, "was received at -1000000000 ns"),
        ("out.zip", "ecd-text", T0, -NS, "an image's stamp -1000000000 ns lies before 1970"),
    ],
)
def test_rejects_times_that_a_format_cannot_hold(tmp_path, target, format, received, stamp, expected):
    with pytest.raises(ValueError, match=expected), write_recording(tmp_path / target, format) as writer:
        writer.write(received, replace(FRAMES[0], stamp=stamp))
    assert not (tmp_path / target).exists()
