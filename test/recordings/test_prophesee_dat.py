"""Prophesee DAT: files built record by record, a real one, and what is wrong with others."""

import struct

import numpy as np
import pytest

from cista_ros.errors import RecordingError
from cista_ros.events import concatenate, make_events
from cista_ros.recordings import open_recording

HEADER = b"% Data file containing CD events.\n% Version 2\n% Width 640\n% Height 480\n"
US = 1000


def write(path, events, header=HEADER, kind=b"\x0c\x08", extra=b""):
    rows = [
        struct.pack("<II", int(e["t"]) // US % 2**32, int(e["p"]) << 28 | int(e["y"]) << 14 | int(e["x"]))
        for e in events
    ]
    path.write_bytes(header + kind + b"".join(rows) + extra)
    return path


def sample(n=2000, start=0, step=500):
    rng = np.random.default_rng(0)
    t = start + np.cumsum(rng.integers(0, step, n))
    return make_events(rng.integers(0, 640, n), rng.integers(0, 480, n), t * US, rng.random(n) < 0.5)


def read(path):
    with open_recording(path) as recording:
        return recording, concatenate([m.message.events for m in recording.read()])


@pytest.mark.parametrize("start", [0, 2**32 - 100_000])
def test_events_come_out_also_across_the_roll_over_of_time(tmp_path, start):
    events = sample(start=start)
    recording, found = read(write(tmp_path / "a.dat", events))
    assert (recording.width, recording.height) == (640, 480)
    np.testing.assert_array_equal(found, events)
    assert not recording.notes


def test_a_long_file_rolls_over_between_blocks(tmp_path):
    events = sample(300_000, step=60_000)  # 2.5 hours
    np.testing.assert_array_equal(read(write(tmp_path / "a.dat", events))[1], events)


def test_reads_a_file_truncated_within_an_event(tmp_path):
    recording, found = read(write(tmp_path / "a.dat", sample(50), extra=b"abc"))
    assert len(found) == 50
    assert recording.notes == ["the file ends within a record: its last 3 bytes are ignored"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (HEADER, "type and size"),
        (HEADER + b"\x0e\x08" + bytes(80), "type and size"),
        (HEADER + b"\x0c\x10" + bytes(80), "type and size"),
        (HEADER + b"\x0c\x08", "holds no event"),
        (HEADER + b"\x0c\x08" + bytes(7), "holds no event"),
        (HEADER.replace(b"Version 2", b"Version 1") + b"\0\x08" + bytes(80), "DAT version 1; expected 2"),
        (HEADER.replace(b"640", b"-1") + b"\0\x08" + bytes(80), "states a size"),
    ],
)
def test_what_is_no_dat_file_of_events_is_named(tmp_path, content, expected):
    (tmp_path / "a.dat").write_bytes(content)
    with pytest.raises(RecordingError, match=expected) as caught:
        open_recording(tmp_path / "a.dat")
    assert str(tmp_path / "a.dat") in str(caught.value)


def test_a_real_file_has_the_events_of_a_public_reader(shared_file):
    """Of what expelliarmus 1.1.12 reads."""
    recording, events = read(shared_file("formats/ncars_sample.dat"))
    assert (recording.width, recording.height) == (128, 128)  # not stated; x reaches 77, y 41
    assert [events[i].tolist() for i in (0, 1, 2, -1)] == [
        (0, 25, 8, False),
        (35_000, 67, 35, False),
        (152_000, 56, 27, True),
        (99_952_000, 75, 28, True),
    ]
    assert (len(events), int(events["x"].max()), int(events["y"].max())) == (2009, 77, 41)
