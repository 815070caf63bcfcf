"""Prophesee RAW and DAT: files built here word by word in every encoding, real files, and damaged ones."""

import struct

import numpy as np
import pytest
from makers import error_of

from cista_ros.events import TRIGGER_DTYPE, concatenate, make_events
from cista_ros.recordings import open_recording
from cista_ros.recordings.convert import convert
from cista_ros.recordings.write import write_recording
from cista_ros.wire.ros_types import EventMessage, ImageMessage

US = 1000
DAT = b"% Data file containing CD events.\n% Version 2\n% Width 640\n% Height 480\n"
HEADERS = {
    "EVT2": b"% evt 2.0\n% geometry 640x480\n",
    "EVT21": b"% format EVT21;height=480;width=640\n% end\n",
    "EVT21 legacy": b"% format EVT21;endianness=legacy;height=480;width=640\n",
    "EVT3": b"% evt 3.0\n% format EVT3;height=480;width=640\n% end\n",
}


def sample(n=3000, seed=0, longest_step=300, start=5_000_000):
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, longest_step, n))
    return make_events(rng.integers(0, 640, n), rng.integers(0, 480, n), t * US, rng.random(n) < 0.5)


def triggers_at(*rows):
    return np.array(list(rows), TRIGGER_DTYPE)


def evt2_words(events, triggers):
    """Words of EVT2, in time order: (type, 6 bits of time, payload of 22 bits)."""
    rows = [(int(e["t"]) // US, int(e["p"]), int(e["x"]) << 11 | int(e["y"])) for e in events]
    rows += [(int(t["t"]) // US, 0xA, int(t["id"]) << 8 | int(t["p"])) for t in triggers]
    words, high = [], None
    for us, kind, payload in sorted(rows, key=lambda row: row[0]):
        if us >> 6 != high:
            high = us >> 6
            words.append(0x8 << 28 | high & 0xFFFFFFF)
        words.append(kind << 28 | (us & 63) << 22 | payload)
    return words


def write(path, kind, events, triggers=()):
    words = evt2_words(events, triggers)
    if kind == "EVT2":
        data = np.array(words, "<u4")
    else:
        # One pixel a word: the vector begins up to 31 pixels before it.
        shift = [(w >> 11 & 0x7FF) % 32 if w >> 28 < 2 else 0 for w in words]
        pairs = [(1 << s, w - (s << 11)) for s, w in zip(shift, words, strict=True)]
        data = np.array(pairs, "<u4")[:, :: -1 if "legacy" in kind else 1]
    path.write_bytes(HEADERS[kind] + data.tobytes())
    return path


def write_dat(path, events, extra=b""):
    rows = [
        struct.pack("<II", int(e["t"]) // US % 2**32, int(e["p"]) << 28 | int(e["y"]) << 14 | int(e["x"]))
        for e in events
    ]
    path.write_bytes(DAT + b"\x0c\x08" + b"".join(rows) + extra)
    return path


def contents(path, **options):
    with open_recording(path, **options) as recording:
        messages = [recorded.message for recorded in recording.read()]
        return recording, concatenate([m.events for m in messages]), np.concatenate([m.triggers for m in messages])


@pytest.mark.parametrize("kind", ["EVT2", "EVT21", "EVT21 legacy"])
def test_reads_events_and_triggers_of_evt2(tmp_path, kind):
    events = sample()
    triggers = triggers_at((5_100_000 * US, 0, True), (5_100_050 * US, 0, False), (5_200_000 * US, 17, True))
    recording, read, read_triggers = contents(write(tmp_path / "a.raw", kind, events, triggers))
    assert (recording.width, recording.height, recording.first_event) == (640, 480, events["t"][0])
    np.testing.assert_array_equal(read, events)
    np.testing.assert_array_equal(read_triggers, triggers)
    assert not recording.notes
    assert not str(recording.packet_counts)


def test_a_vector_of_evt21_is_one_event_for_each_bit(tmp_path):
    words = [[0, 0x8 << 28 | 3], [0x8000_0005, 1 << 28 | 7 << 22 | 64 << 11 | 20]]
    (tmp_path / "a.raw").write_bytes(HEADERS["EVT21"] + np.array(words, "<u4").tobytes())
    t = (3 * 64 + 7) * US
    assert contents(tmp_path / "a.raw")[1].tolist() == [(t, x, 20, True) for x in (64, 66, 95)]


def test_evt2_time_rolls_over_after_4_8_hours(tmp_path):
    events = make_events([1, 2, 3], [1, 2, 3], np.array([2**34 - 100, 2**34 + 5, 2**34 + 900]) * US, [0, 1, 0])
    np.testing.assert_array_equal(contents(write(tmp_path / "a.raw", "EVT2", events))[1], events)


def test_events_before_the_first_time_are_left_out_and_counted(tmp_path):
    words = [1 << 28 | 5 << 11 | 5, 0xA << 28, 0x8 << 28 | 1, 1 << 28 | 6 << 11 | 6]
    (tmp_path / "a.raw").write_bytes(HEADERS["EVT2"] + np.array(words, "<u4").tobytes())
    recording, events, triggers = contents(tmp_path / "a.raw")
    assert (events["x"].tolist(), len(triggers), recording.packet_counts.unplaced_events) == ([6], 0, 1)


def test_evt3_becomes_packets_of_about_33_ms_and_the_same_file_again(tmp_path):
    events, triggers = sample(), triggers_at((5_000_000 * US, 2, True), (5_300_000 * US, 2, False))
    write(tmp_path / "evt2.raw", "EVT2", events, triggers)
    for source, target in (("evt2.raw", "evt3.raw"), ("evt3.raw", "bag.mcap"), ("bag.mcap", "back.raw")):
        format = "ros2-mcap" if target.endswith("mcap") else "raw"
        with open_recording(tmp_path / source) as recording:
            done = convert(recording, tmp_path / target, format)
            assert (done.events, done.left_out_triggers) == (len(events), 0)
    for name in ("evt3.raw", "bag.mcap", "back.raw"):
        recording, read, read_triggers = contents(tmp_path / name)
        np.testing.assert_array_equal(read, events)
        np.testing.assert_array_equal(read_triggers, triggers)
        assert (recording.width, recording.height) == (640, 480)
    assert (tmp_path / "back.raw").read_bytes() == (tmp_path / "evt3.raw").read_bytes()
    with open_recording(tmp_path / "evt3.raw") as recording:
        spans = [np.ptp(m.message.events["t"]) for m in recording.read() if len(m.message.events)]
        assert max(spans) < 34_000_000
        assert len(spans) > 10


def test_a_bag_without_triggers_says_how_many_were_left_out(tmp_path):
    write(tmp_path / "a.raw", "EVT2", sample(), triggers_at((5_100_000 * US, 0, True)))
    with open_recording(tmp_path / "a.raw") as recording:
        assert convert(recording, tmp_path / "a.bag", "ros1").left_out_triggers == 1


def test_a_part_of_a_file_can_be_read(tmp_path):
    events = sample()
    path = write(tmp_path / "a.raw", "EVT2", events, triggers_at((5_010_000 * US, 0, True), (5_110_000 * US, 0, True)))
    with open_recording(path) as recording:
        messages = [m.message for m in recording.read(0.1, 0.2)]
    since = (events["t"] - events["t"][0]) / 1e9
    np.testing.assert_array_equal(concatenate([m.events for m in messages]), events[(since >= 0.1) & (since < 0.2)])
    assert np.concatenate([m.triggers for m in messages])["t"].tolist() == [5_110_000 * US]


def test_late_events_are_sorted_into_their_place_and_counted(tmp_path):
    events = sample(20_000)
    shuffled = events.copy()
    at = np.arange(100, 19_000, 500)
    shuffled[at], shuffled[at + 7] = events[at + 7], events[at]  # less than 2.1 ms
    raw = [w for e in shuffled for w in evt2_words([e], [])]
    (tmp_path / "a.raw").write_bytes(HEADERS["EVT2"] + np.array(raw, "<u4").tobytes())
    recording, read, _ = contents(tmp_path / "a.raw")
    np.testing.assert_array_equal(read["t"], events["t"])
    assert recording.reordered >= len(at)


@pytest.mark.parametrize("start", [0, 2**32 - 100_000])
def test_reads_dat_across_the_roll_over_of_time(tmp_path, start):
    recording, found, _ = contents(write_dat(tmp_path / "a.dat", events := sample(start=start)))
    assert (recording.width, recording.height, recording.notes) == (640, 480, ())
    np.testing.assert_array_equal(found, events)


def test_a_long_dat_file_rolls_over_between_blocks(tmp_path):
    events = sample(300_000, longest_step=60_000)  # 2.5 hours
    np.testing.assert_array_equal(contents(write_dat(tmp_path / "a.dat", events))[1], events)


@pytest.mark.parametrize(("extra", "kind"), [(1, "EVT3"), (3, "EVT2"), (7, "EVT21"), (3, "DAT")])
def test_reads_a_file_truncated_within_a_word(tmp_path, extra, kind):
    path = tmp_path / "a.raw"
    if kind == "EVT3":
        path.write_bytes(HEADERS[kind] + np.array([0x8001, 0x6001, 0x0001, 0x2001], "<u2").tobytes())
    else:
        write_dat(path, sample(10)) if kind == "DAT" else write(path, kind, sample(10))
    path.write_bytes(path.read_bytes() + bytes(extra))
    recording, events, _ = contents(path)
    assert len(events) == (1 if kind == "EVT3" else 10)
    assert recording.notes == [f"the file ends within a record: its last {extra} bytes are ignored"]


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"% evt 2.0\n% system_ID 21\n", (640, 480)),
        (b"% evt 2.0\n% plugin_name hal_plugin_gen31_fx3\n", (640, 480)),
        (b"% evt 2.0\n% plugin_name hal_plugin_gen41_evk3\n", (1280, 720)),
        (b"% evt 2.0\n% plugin_name hal_plugin_genx320\n", (320, 320)),
        (b"% evt 2.0\n", (346, 260)),  # the smallest that holds the events
    ],
)
def test_the_size_of_the_sensor_is_that_of_the_camera(tmp_path, header, size):
    events = make_events([0, 340], [250, 3], np.array([70, 80]) * US, [0, 1])
    (tmp_path / "a.raw").write_bytes(header + np.array(evt2_words(events, []), "<u4").tobytes())
    recording = contents(tmp_path / "a.raw")[0]
    assert (recording.width, recording.height) == size
    assert bool(recording.notes) == (size == (346, 260))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\x00\x01" * 50, "no header"),
        (b"% evt 2.0", "the header does not end"),
        (b"% evt 2.0\n% end\n", "holds no event"),
        (b"% evt 4.0\n% end\n", "states format 4.0; expected EVT2, EVT21, EVT3"),
        (b"% format HISTO3D;height=320;width=320\n% end\n", "states format HISTO3D"),
        (b"% evt 2.0\n% geometry 640\n% end\n", "a size of '640' x ''"),
        (b"% evt 2.0\n% geometry 99999x1\n% end\n", "a size of '99999' x '1'"),
        (b"% evt 3.0\n% end\n" + bytes(1000), "holds no event"),
        (b"% " + b"a" * 70_000, "the header does not end"),
        (DAT, "type and size"),
        (DAT + b"\x0e\x08" + bytes(80), "type and size"),
        (DAT + b"\x0c\x10" + bytes(80), "type and size"),
        (DAT + b"\x0c\x08", "holds no event"),
        (DAT + b"\x0c\x08" + bytes(7), "holds no event"),
        (DAT.replace(b"Version 2", b"Version 1") + b"\0\x08" + bytes(80), "DAT version 1; expected 2"),
        (DAT.replace(b"640", b"-1") + b"\0\x08" + bytes(80), "states a size"),
    ],
)
@pytest.mark.parametrize("suffix", [".raw", ".dat"])
def test_rejects_files_without_events(tmp_path, suffix, content, expected):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert expected in error_of(path)


def test_data_that_begin_like_a_header_line_are_data(tmp_path):
    words = [0x8000_2025, *evt2_words(sample(20), [])]
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n" + np.array(words, "<u4").tobytes())
    np.testing.assert_array_equal(contents(tmp_path / "a.raw")[1], sample(20))


def test_rejects_what_raw_cannot_hold(tmp_path):
    events = sample(10)
    events["x"][3] = 3000
    image = ImageMessage(0, "", "mono8", np.zeros((4, 4), np.uint8))
    for message, expected in ((EventMessage(0, "", 480, 4096, events), "at most 2047"), (image, "holds no images")):
        with pytest.raises(ValueError, match=expected), write_recording(tmp_path / "b.raw", "raw") as writer:
            writer.write(0, message)
        assert not (tmp_path / "b.raw").exists()


def test_real_files_have_the_events_of_public_readers(shared_file):
    """Sums of what expelliarmus 1.1.12 (EVT2) and evt3 0.4.1 (EVT3) decode."""
    for name, count, sums, last in (
        ("evt2_sample.raw", 539_481, (272_145_769, 271_882_170, 185_224_304), 1_367_888),
        ("evt3_sample.raw", 219_596, (110_613_368, 110_575_122, 58_063_446), 11_727_457),
    ):
        events = contents(shared_file(f"formats/{name}"))[1]
        assert (len(events), events["t"][-1] // US) == (count, last)
        assert tuple(int((events[field].astype(np.int64) * np.arange(count) % 1009).sum()) for field in "xyp") == sums
    recording, events, _ = contents(shared_file("formats/ncars_sample.dat"))  # as expelliarmus 1.1.12 reads it
    assert (recording.width, recording.height) == (128, 128)  # not stated; x reaches 77, y 41
    assert (len(events), int(events["x"].max()), int(events["y"].max())) == (2009, 77, 41)
    assert [events[i].tolist() for i in (1, -1)] == [(35_000, 67, 35, False), (99_952_000, 75, 28, True)]
