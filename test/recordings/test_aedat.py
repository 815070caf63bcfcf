"""AEDAT 2.0 and 3.1: files built record by record, and what is wrong with others."""

import struct

import numpy as np
import pytest
from makers import error_of

from cista_ros.events import concatenate, make_events
from cista_ros.recordings import open_recording
from cista_ros.wire.ros_types import EventMessage, ImageMessage

US = 1000
HEAD_2 = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
HEAD_3 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n"
DAVIS346 = b"# AEChip: eu.seebetter.ini.chips.davis.Davis346blue\r\n"


def sample(width, height, n=3000, start=5000, seed=0):
    rng = np.random.default_rng(seed)
    t = (start + np.cumsum(rng.integers(0, 300, n))) * US
    events = make_events(rng.integers(0, width, n), rng.integers(0, height, n), t, rng.random(n) < 0.5)
    events["x"][:2], events["y"][:2] = width - 1, height - 1  # which decide about an unstated size
    return events


def davis(events, width, height):
    """Addresses as v2e writes them: the origin is the lower right corner."""
    x, y = width - 1 - events["x"].astype(np.uint32), height - 1 - events["y"].astype(np.uint32)
    return x << 12 | y << 22 | events["p"].astype(np.uint32) << 11


def dvs128(events):
    """Addresses as a DVS128 sends them: a set bit is a darker event."""
    x, y = 127 - events["x"].astype(np.uint32), 127 - events["y"].astype(np.uint32)
    return x << 1 | y << 8 | ~events["p"]


def records(addresses, us):
    return np.stack([addresses, us % 2**32], 1).astype(">u4").tobytes()


def packet(kind, size, content, count, overflow=0, source=1):
    return struct.pack("<hhiiiiii", kind, source, size, 4, overflow, count, count, count) + content


def polarity(events, overflow=0):
    words = events["x"].astype("<u4") << 17 | events["y"].astype("<u4") << 2 | events["p"].astype("<u4") << 1 | 1
    us = (events["t"] // US - (overflow << 31)).astype("<u4")
    return packet(1, 8, np.stack([words, us], 1).tobytes(), len(events), overflow)


def frame(image, begin, end, valid=True):
    info = int(valid) | (1 if image.ndim == 2 else image.shape[2]) << 1
    head = struct.pack("<IiiiiiiII", info, begin - 5, end + 5, begin, end, image.shape[1], image.shape[0], 0, 0)
    return head + image.astype("<u2").tobytes()


def write(path, *parts):
    path.write_bytes(b"".join(parts))
    return path


def read(path, **options):
    with open_recording(path, **options) as recording:
        messages = [recorded.message for recorded in recording.read()]
    events = [m for m in messages if isinstance(m, EventMessage)]
    triggers = np.concatenate([m.triggers for m in events]).tolist()
    return recording, concatenate([m.events for m in events]), triggers, [m for m in messages if m not in events]


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (DAVIS346, (346, 260)),
        (b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n#End Of ASCII Header\r\n", (240, 180)),
        (b"", (346, 260)),  # of v2e, which does not state the camera
    ],
)
@pytest.mark.parametrize("start", [5000, 2**31 - 1000, 2**32 - 1000])
def test_reads_events_of_a_davis_across_the_roll_over_of_time(tmp_path, head, size, start):
    events = sample(*size, start=start)
    path = write(tmp_path / "a.aedat", HEAD_2, head, records(davis(events, *size), events["t"] // US))
    recording, found, triggers, _ = read(path)
    assert (recording.width, recording.height, triggers) == (*size, [])
    np.testing.assert_array_equal(found, events)


def test_external_inputs_of_a_davis_are_triggers_and_its_frames_are_skipped(tmp_path):
    events = sample(346, 260)
    us = events["t"] // US
    others = records(np.array([1 << 10 | 3, 1 << 10 | 2, 1 << 31 | 5 << 12]), us[[5, 7, 9]])
    addresses = davis(events, 346, 260)
    addresses[20] |= 1 << 10  # a noise event, as v2e labels it
    parts = records(addresses[:10], us[:10]), others, records(addresses[10:], us[10:])
    recording, found, triggers, _ = read(write(tmp_path / "a.aedat", HEAD_2, DAVIS346, *parts))
    np.testing.assert_array_equal(found, events)
    assert triggers == [(events["t"][5], 0, True), (events["t"][7], 0, False)]
    assert recording.notes == ["samples of frames and IMU are skipped"]


@pytest.mark.parametrize("head", [b"", b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"])
def test_reads_events_of_a_dvs128(tmp_path, head):
    events = sample(128, 128)
    us = events["t"] // US
    path = write(tmp_path / "a.aedat", HEAD_2, head, records(dvs128(events), us), records(np.array([1 << 15]), us[-1:]))
    recording, found, triggers, _ = read(path)
    assert (recording.width, recording.height, triggers) == (128, 128, [(events["t"][-1], 0, True)])
    np.testing.assert_array_equal(found, events)


def test_packets_of_aedat_3_hold_events_triggers_and_frames(tmp_path):
    events = sample(240, 180, start=2**31 - 200_000)
    late = events["t"] // US >= 2**31
    us = int(events["t"][0]) // US
    special = np.array([[0 << 1 | 1, 2 << 1 | 1, 3 << 1 | 1, 7 << 1 | 1, 2 << 1], [us] * 5], "<u4").T
    images = [np.full((180, 240), 1000 * i, np.uint16) for i in range(3)]
    parts = (frame(image, us + 1000 * i, us + 1000 * i + 501, i != 1) for i, image in enumerate(images))
    path = write(
        tmp_path / "a",
        HEAD_3,
        polarity(events[~late]),
        packet(0, 8, special.tobytes(), 5),
        packet(3, 36, bytes(36), 1),  # of the IMU
        packet(2, 36 + 2 * 180 * 240, b"".join(parts), 3),
        polarity(events[late], overflow=1),
    )
    recording, found, triggers, frames = read(path)
    assert (recording.width, recording.height, recording.notes) == (240, 180, ())
    np.testing.assert_array_equal(found, events)
    assert triggers == [(us * US, 0, True), (us * US, 0, False), (us * US, 1, False)]
    assert [(m.stamp, m.encoding, int(m.image[0, 0])) for m in frames if isinstance(m, ImageMessage)] == [
        (us * US + 250_500, "mono16", 0),
        (us * US + 2_250_500, "mono16", 2000),
    ]


def test_one_of_several_cameras_is_chosen(tmp_path):
    head = HEAD_3.replace(b"#!END", b"#Source 2: DVS128\r\n#!END")
    left, right = sample(240, 180, 50), sample(128, 128, 40)
    path = write(tmp_path / "a.aedat", head, polarity(left), polarity(right).replace(b"\1\0\1\0", b"\1\0\2\0", 1))
    assert "several streams: /DAVIS240C_1, /DVS128_2; choose one with --events-topic" in error_of(path)
    recording, found, _, _ = read(path, events_topic="/DVS128_2")
    assert (recording.width, recording.events_topic) == (128, "/DVS128_2")
    np.testing.assert_array_equal(found, right)


def test_reads_truncated_files(tmp_path):
    events = sample(346, 260, 50)
    two = HEAD_2 + DAVIS346 + records(davis(events, 346, 260), events["t"] // US)
    recording, found, _, _ = read(write(tmp_path / "a.aedat", two[:-3]))
    assert len(found) == 49 and recording.notes == ["the file ends within a record: its last 5 bytes are ignored"]
    three = HEAD_3 + polarity(events[:20]) + polarity(events[20:])
    recording, found, _, _ = read(write(tmp_path / "b.aedat", three[:-12]))
    assert len(found) == 48 and recording.notes == ["the file ends within a packet: 12 of its bytes are missing"]
    recording, found, _, _ = read(write(tmp_path / "b.aedat", three + b"\1\0"))
    assert len(found) == 50 and recording.notes == ["the file ends within a packet: its last 2 bytes are ignored"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"#!AER-DAT1.0\r\n", "AEDAT version 1.0; expected 2.0, 3.1 or 4.0"),
        (b"#!AER-DAT\r\n", "does not begin with #!AER-DAT and a version"),
        (HEAD_2, "holds no event"),
        (HEAD_2 + b"# AEChip: ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c\r\n", "camera ch.unizh"),
        (HEAD_3[:-4], "does not end with #!END-HEADER"),
        (HEAD_3, "holds no event"),
        (HEAD_3.replace(b"RAW", b"PNGFrames"), "format PNGFrames; expected RAW"),
        (HEAD_3 + packet(1, 8, bytes(8), -1), "has -1 events of 8 bytes"),
        (HEAD_3 + packet(1, 9, bytes(9), 1), "has 1 events of 9 bytes"),
        (HEAD_3 + packet(2, 35, bytes(35), 1), "has 1 events of 35 bytes"),
        (HEAD_3 + packet(1, 8, bytes(8), 1, overflow=-1), "-1 roll-overs"),
    ],
)
def test_rejects_files_without_events(tmp_path, content, expected):
    assert expected in error_of(write(tmp_path / "a.aedat", content))


@pytest.mark.parametrize(("shape", "size"), [((1, 2**30), 60), ((2**16, 2**16), 60), ((3, 3), 50), ((0, 0), 40)])
def test_rejects_impossible_frames(tmp_path, shape, size):
    event = polarity(sample(240, 180, 1))
    head = struct.pack("<IiiiiiiII", 3, 0, 0, 0, 0, shape[1], shape[0], 0, 0)
    path = write(tmp_path / "a.aedat", HEAD_3, event, packet(2, size, head.ljust(size, b"\0"), 1))
    assert f"a frame of {shape[1]}x{shape[0]} pixels" in error_of(path, read=True)
