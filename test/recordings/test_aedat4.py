"""AEDAT4: files built byte by byte here, real ones, and what is wrong with others."""

import struct

import lz4.frame
import numpy as np
import pytest
from makers import events_of, images_of, messages_of

from cista_ros.errors import RecordingError
from cista_ros.events import make_events
from cista_ros.recordings import open_recording
from cista_ros.recordings.decompression import zstd

MAGIC = b"#!AER-DAT4.0\r\n"
US = 1000
START = 1_700_000_000_000_000  # µs
PACK = {0: bytes, 1: lz4.frame.compress, 3: zstd.compress}


def table(fields):
    """A FlatBuffers table: fields are None, (format, number) or (count, bytes of a vector)."""
    inline = 4 + 8 * len(fields)
    vtable, body, tail = struct.pack("<HH", 4 + 2 * len(fields), inline), b"", b""
    for i, value in enumerate(fields):
        at = 4 + 8 * i
        vtable += struct.pack("<H", 0 if value is None else at)
        if value is None:
            body += bytes(8)
        elif isinstance(value[0], str):
            body += struct.pack("<" + value[0], value[1]).ljust(8, b"\0")
        else:
            body += struct.pack("<I4x", inline + len(tail) - at)
            tail += struct.pack("<I", value[0]) + value[1]
    return vtable, struct.pack("<i", len(vtable)) + body + tail


def buffer(identifier, fields):
    vtable, body = table(fields)
    data = struct.pack("<I", 8 + len(vtable)) + identifier + vtable + body
    return struct.pack("<I", len(data)) + data


def events_packet(events):
    rows = [struct.pack("<qhhB3x", int(e["t"]) // US, int(e["x"]), int(e["y"]), int(e["p"])) for e in events]
    return buffer(b"EVTS", [(len(rows), b"".join(rows))])


def frame_packet(us, image, kind=0):
    size = [("h", image.shape[1]), ("h", image.shape[0])]
    return buffer(b"FRME", [("q", us), *[None] * 4, ("b", kind), *size, None, None, (image.size, image.tobytes())])


def triggers_packet(*rows):
    # Each element is an offset from its own place to a table.
    tables = [table([("q", us), ("b", kind)]) for us, kind in rows]
    offsets, bodies = b"", b""
    for i, (vtable, body) in enumerate(tables):
        offsets += struct.pack("<I", 4 * (len(rows) - i) + len(bodies) + len(vtable))
        bodies += vtable + body
    return buffer(b"TRIG", [(len(rows), offsets + bodies)])


def header(streams, compression=0):
    nodes = "".join(
        f'<node name="{i}"><attr key="originalOutputName">{name}</attr><attr key="typeIdentifier">{kind}</attr>'
        f'<node name="info"><attr key="sizeX">{width}</attr><attr key="sizeY">{height}</attr></node></node>'
        for i, (kind, name, width, height) in enumerate(streams)
    )
    text = f'<dv version="2.0"><node name="outInfo">{nodes}</node></dv>'.encode()
    return MAGIC + buffer(b"IOHE", [("i", compression), ("q", -1), (len(text), text)])


STREAMS = [("EVTS", "events", 64, 48), ("FRME", "frames", 64, 48), ("TRIG", "triggers", 0, 0), ("IMUS", "imu", 0, 0)]


def write(path, packets, streams=STREAMS, compression=0):
    parts = [header(streams, compression)]
    for stream, data in packets:
        packed = PACK[compression](data)
        parts.append(struct.pack("<ii", stream, len(packed)) + packed)
    path.write_bytes(b"".join(parts))
    return path


def sample(n=900):
    rng = np.random.default_rng(0)
    t = START + np.sort(rng.integers(0, 200_000, n))
    return make_events(rng.integers(0, 64, n), rng.integers(0, 48, n), t * US, rng.random(n) < 0.5)


@pytest.mark.parametrize("compression", PACK)
def test_reads_events_frames_and_triggers(tmp_path, compression):
    events, image = sample(), np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    color = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    packets = [(0, events_packet(part)) for part in np.array_split(events, 9)]
    packets.insert(1, (1, frame_packet(START + 10_000, image)))
    packets.insert(2, (3, b"not looked at"))
    packets.insert(4, (2, triggers_packet((START + 9_000, 1), (START + 11_000, 2), (START + 11_500, 8))))
    packets.insert(8, (1, frame_packet(START + 150_000, color, 16)))
    recording, messages = messages_of(write(tmp_path / "a.aedat4", packets, compression=compression))
    assert (recording.width, recording.height, recording.other_topics) == (64, 48, ("/imu",))
    np.testing.assert_array_equal(events_of(messages), events)
    first, second = images_of(messages)
    assert (first.stamp, first.encoding, second.encoding) == ((START + 10_000) * US, "mono8", "bgr8")
    np.testing.assert_array_equal(first.image, image)
    np.testing.assert_array_equal(second.image, color)
    triggers = np.concatenate([m.triggers for m in messages if hasattr(m, "events")])
    assert triggers.tolist() == [((START + 9_000) * US, 0, True), ((START + 11_000) * US, 0, False)]
    assert recording.frame_stamps().tolist() == [first.stamp, second.stamp]


def test_one_of_several_streams_is_chosen_by_name(tmp_path):
    streams = [("EVTS", "left", 64, 48), ("EVTS", "right", 32, 24)]
    events = sample(50)
    packets = [(1, events_packet(events)), (0, events_packet(events[:7]))]
    path = write(tmp_path / "a.aedat4", packets, streams)
    recording, messages = messages_of(path, events_topic="/right")
    assert (recording.width, recording.events_topic, len(events_of(messages))) == (32, "/right", 50)
    with pytest.raises(RecordingError, match=r"several streams: /left, /right; choose one with --events-topic"):
        open_recording(path)


def test_reads_a_truncated_file_up_to_its_end(tmp_path):
    events = sample(100)
    packets = [(0, events_packet(part)) for part in np.array_split(events, 10)]
    data = write(tmp_path / "a.aedat4", packets).read_bytes()
    last = len(events_packet(events[:10])) + 8
    for cut in (1, 100, last - 1):
        (tmp_path / "cut.aedat4").write_bytes(data[:-cut])
        recording, messages = messages_of(tmp_path / "cut.aedat4")
        assert len(events_of(messages)) == 90
        assert recording.notes == [f"the file ends within a packet: its last {last - cut} bytes are ignored"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (MAGIC, "ends within its header"),
        (MAGIC + b"\xff\xff\xff\x7f", "its header would have"),
        (MAGIC + b"\x10\0\0\0abc", "ends within its header"),
        (MAGIC + buffer(b"ABCD", [("q", 0)]), "a buffer of b'ABCD'"),
        (MAGIC + buffer(b"IOHE", [("i", 9)]), "compression 9; expected none, LZ4 or zstd"),
        (MAGIC + buffer(b"IOHE", [("i", 0), None, (3, b"<a>")]), "its header is not XML"),
        (MAGIC + buffer(b"IOHE", [("i", 0), None, (12, b"<!DOCTYPE a>")]), "XML entities"),
        (header([("FRME", "frames", 4, 4)]), "no stream of events; the file has /frames"),
        (header([("EVTS", "events", "x", 4)]), "stream '0' of 'x' x '4' pixels"),
        (header(STREAMS), "holds no event"),
        (header(STREAMS) + struct.pack("<ii", 0, -5), "a packet of -5 bytes"),
        (header(STREAMS) + struct.pack("<ii", 0, 3) + b"abc", "the packet at byte"),
        (header(STREAMS, 1) + struct.pack("<ii", 0, 3) + b"abc", "the packet at byte"),
        (header(STREAMS, 3) + struct.pack("<ii", 0, 3) + b"abc", "the packet at byte"),
    ],
)
def test_rejects_files_without_events(tmp_path, content, expected):
    (tmp_path / "a.aedat4").write_bytes(content)
    with pytest.raises(RecordingError, match=expected) as caught:
        messages_of(tmp_path / "a.aedat4")
    assert str(tmp_path / "a.aedat4") in str(caught.value)


def test_rejects_a_packet_that_unpacks_to_too_much(tmp_path):
    packed = zstd.compress(bytes(1 << 26))
    (tmp_path / "a.aedat4").write_bytes(header(STREAMS, 3) + struct.pack("<ii", 0, len(packed)) + packed)
    with pytest.raises(RecordingError, match="unpacks to more than"):
        open_recording(tmp_path / "a.aedat4")


def test_real_files_have_the_events_and_frames_of_public_readers(shared_file):
    """Of what aedat 2.3.0 and dv-processing 2.0.4 read, which agree."""
    recording, messages = messages_of(shared_file("formats/davis346_street_head.aedat4"))
    frames = [(m.stamp // US, int(m.image.sum())) for m in images_of(messages)]
    assert frames == [
        (1589163147365215, 6949660),
        (1589163147405215, 6883041),
        (1589163147445215, 6961512),
        (1589163147485215, 6941188),
    ]
    events = events_of(messages)
    assert (len(events), recording.width, recording.height) == (6676, 346, 260)
    assert [events[i].tolist() for i in (0, -1)] == [
        (1589163147368868 * US, 215, 164, True),
        (1589163147538809 * US, 96, 229, True),
    ]
    recording, messages = messages_of(shared_file("formats/tonic_sample.aedat4"))
    assert (len(events_of(messages)), recording.width, recording.height) == (111_954, 320, 240)
