"""HDF5 files of events: every layout, Prophesee's compression, what is written, and what is wrong with others."""

import struct
import sys
from bisect import bisect_right

import numpy as np
import pytest
from makers import error_of, events_of, images_of, messages_of

from cista_ros.errors import DecodeError, MissingPackageError, RecordingError
from cista_ros.events import make_events
from cista_ros.recordings import open_recording
from cista_ros.recordings.convert import convert
from cista_ros.recordings.ecf import decode_chunk

h5py = pytest.importorskip("h5py")
US = 1000
ECF = 0x8ECF


def sample(n=5000, start=1_000_000, side=(346, 260), step=200):
    rng = np.random.default_rng(0)
    t = start + np.cumsum(rng.integers(0, step, n))
    events = make_events(rng.integers(0, side[0], n), rng.integers(0, side[1], n), t * US, rng.random(n) < 0.5)
    events["x"][-1], events["y"][-1] = side[0] - 1, side[1] - 1
    return events


def write(path, columns, **attributes):
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
        file.attrs.update(attributes)
    return path


def columns(events, names, t, p=None):
    values = events["x"], events["y"], t, events["p"].astype(np.uint8) if p is None else p
    return dict(zip(names, values, strict=True))


def ecf_chunk(events, mode):
    """A chunk of ECF, event by event; mode 2: all packed, 1: x and p packed, 0: nothing."""
    out = struct.pack("<I", len(events) << 2 | mode) + struct.pack("<q", int(events["t"][0]) // US)
    now, i = int(events["t"][0]) // US, 0
    us = (events["t"] // US).tolist()
    while i < len(us):
        dt, count = us[i] - now, bisect_right(us, us[i]) - i
        now = us[i]
        if dt >= 15:
            while dt:
                out += bytes([0xF0 | dt & 15])
                dt >>= 4
        out += bytes([dt << 4 | min(count, 15)]) + (struct.pack("<H", count) if count >= 15 else b"")
        i += count
    x, y, p = (events[name].tolist() for name in "xyp")

    def runs(values, bits, format):
        data, i = b"", 0
        while i < len(values):
            count = next((k for k in range(i, len(values)) if values[k] != values[i]), len(values)) - i
            most = (1 << bits) - 1
            data += struct.pack(format, values[i] << bits | min(count, most))
            data += struct.pack("<H", count) if count >= most else b""
            i += count
        return data

    def packed(values, bits):
        text = "".join(f"{v:0{bits}b}" for v in values) + "0" * bits * (-len(values) % 4)
        # The bits of four events run through three words, in each from the highest on, but for where words meet.
        data = b""
        for at in range(0, len(text), 4 * bits):
            a, b, c, d = (int(text[at + k * bits : at + (k + 1) * bits], 2) for k in range(4))
            size = bits * 4 // 3
            low = size - bits  # bits of a word beside the whole value in it
            words = (
                a << low | b & (1 << low) - 1,
                b >> low << 2 * low | c & (1 << 2 * low) - 1,
                c >> 2 * low << bits | d,
            )
            data += struct.pack("<3H" if size == 16 else "<3I", *words)
        return data

    if mode == 2:
        return out + packed([b << 12 | a << 1 | c for a, b, c in zip(x, y, p, strict=True)], 24)
    out += runs(y, 5, "<H")
    if mode == 1:
        return out + packed([a << 1 | c for a, c in zip(x, p, strict=True)], 12)
    i = 0
    while i < len(x):
        base, mask = x[i], 0
        i += 1
        for j in range(5):
            if i < len(x) and x[i] == base + j + 1:
                mask |= 1 << (4 - j)
                i += 1
        out += struct.pack("<H", base << 5 | mask)
    return out + runs(p, 7, "B")


def prophesee(path, events, mode=0, size=1024, triggers=()):
    kind = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")], align=True)
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = "1280x720"
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((size,))
        properties.set_filter(ECF, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((len(events),), (h5py.h5s.UNLIMITED,))
        group = file.create_group("CD")
        table = h5py.h5d.create(group.id, b"events", h5py.h5t.py_create(kind), space, properties)
        for at in range(0, len(events), size):
            part = events[at : at + size]
            if mode is None:
                rows = np.zeros(size, kind)
                for name in "xyp":
                    rows[name][: len(part)] = part[name]
                rows["t"][: len(part)] = part["t"] // US
                table.write_direct_chunk((at,), rows.tobytes(), 1)
            else:
                table.write_direct_chunk((at,), ecf_chunk(part, mode))
        rows = np.array(list(triggers), [("p", "<i2"), ("t", "<i8"), ("id", "<i2")])
        file["EXT_TRIGGER/events"] = rows
    return path


EVENTS = sample()
T_US = EVENTS["t"] // US


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        ({**columns(EVENTS, ("events/x", "events/y", "events/t", "events/p"), (T_US - 900_000).astype(np.uint32)),
          "t_offset": 900_000, "ms_to_idx": np.arange(3)}, (346, 260)),
        ({**columns(EVENTS, ("prophesee/left/x", "prophesee/left/y", "prophesee/left/t", "prophesee/left/p"), T_US),
          "prophesee/left/ms_map_idx": np.arange(3), "prophesee/left/calib/resolution": [1280, 720]}, (1280, 720)),
        (columns(EVENTS, ("events/xs", "events/ys", "events/ts", "events/ps"), T_US / 1e6), (346, 260)),
        (columns(EVENTS, ("raw_events/x", "raw_events/y", "raw_events/t", "raw_events/p"), T_US / 1e6,
                 EVENTS["p"]) | {"a_named_type": np.dtype("i4")}, (346, 260)),
        ({"davis/left/events": np.stack([EVENTS["x"], EVENTS["y"], T_US / 1e6, EVENTS["p"] * 2.0 - 1], 1)}, (346, 260)),
    ],
    ids=["dsec", "m3ed", "event_utils", "raw_events", "mvsec"],
)  # fmt: skip
def test_reads_events_of_every_layout(tmp_path, layout, size):
    recording, messages = messages_of(write(tmp_path / "a.h5", layout))
    np.testing.assert_array_equal(events_of(messages), EVENTS)
    assert (recording.width, recording.height) == size
    assert recording.duration == pytest.approx((EVENTS["t"][-1] - EVENTS["t"][0]) / 1e9)


def test_reads_frames_of_event_utils_between_the_events(tmp_path):
    image = np.arange(260 * 346, dtype=np.uint8).reshape(260, 346)
    path = write(tmp_path / "a.h5", columns(EVENTS, ("events/xs", "events/ys", "events/ts", "events/ps"), T_US / 1e6),
                 sensor_resolution=(260, 346))  # fmt: skip
    with h5py.File(path, "a") as file:
        for i, t in enumerate((1.1, 1.2)):
            file.create_dataset(f"images/image{i:09d}", data=image + i).attrs["timestamp"] = t
    recording, messages = messages_of(path)
    frames = images_of(messages)
    assert (recording.width, recording.height) == (346, 260)
    assert [(m.stamp, m.encoding) for m in frames] == [(1_100_000_000, "mono8"), (1_200_000_000, "mono8")]
    np.testing.assert_array_equal(frames[1].image, image + 1)
    np.testing.assert_array_equal(events_of(messages), EVENTS)


def test_frames_and_absolute_times_of_mvsec(tmp_path):
    start = 1_506_119_776_000_000
    events = sample(300, start)
    rows = np.stack([events["x"], events["y"], events["t"] / 1e9, events["p"] * 2.0 - 1], 1)
    layout = {"davis/left/events": rows, "davis/left/image_raw": np.zeros((2, 260, 346), np.uint8),
              "davis/left/image_raw_ts": np.array([start / 1e6, start / 1e6 + 0.01])}  # fmt: skip
    recording, messages = messages_of(write(tmp_path / "a.hdf5", layout))
    assert recording.frame_stamps().tolist() == [start * US, (start + 10_000) * US]
    np.testing.assert_array_equal(events_of(messages), events)


def test_chooses_one_of_several_groups_by_its_path(tmp_path):
    left, right = (columns(EVENTS[:n], [f"{s}/{c}" for c in "xytp"], T_US[:n]) for s, n in (("left", 9), ("right", 7)))
    path = write(tmp_path / "a.h5", left | right)
    assert len(events_of(messages_of(path, events_topic="/right")[1])) == 7
    with pytest.raises(RecordingError, match="several streams: /left, /right; choose one"):
        open_recording(path)


@pytest.mark.parametrize("mode", [0, 1, 2, None])
def test_decompresses_events_of_prophesee(tmp_path, mode):
    events = sample(3000, side=(1280, 720), step=30)
    events["t"][500:540] = events["t"][500]  # a long run of one time, and a pause
    events["t"][700:] += 5_000_000 * US
    events["y"][100:200] = 5
    events["x"][100:200] = np.arange(7, 107)
    events["p"][1000:1300] = True
    path = prophesee(tmp_path / "a.hdf5", events, mode, triggers=[(1, 1_000_500, 0), (0, 1_000_900, 0)])
    recording, messages = messages_of(path)
    np.testing.assert_array_equal(events_of(messages), events)
    assert (recording.width, recording.height) == (1280, 720)
    triggers = np.concatenate([m.triggers for m in messages])
    assert triggers.tolist() == [(1_000_500 * US, 0, True), (1_000_900 * US, 0, False)]


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_decodes_or_rejects_damaged_chunks(mode):
    rng = np.random.default_rng(mode)
    whole = ecf_chunk(sample(200, step=40), mode)
    for cut in range(len(whole)):
        with pytest.raises(DecodeError, match="ECF chunk"):
            decode_chunk(whole[:cut])
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[rng.integers(4, len(whole))] = rng.integers(0, 256)
        try:
            assert len(decode_chunk(bytes(damaged))) == 200
        except DecodeError as error:
            assert "ECF chunk" in str(error)
    with pytest.raises(DecodeError, match=r"times from .* beyond int64"):
        decode_chunk(whole[:4] + struct.pack("<q", 1 << 62) + whole[12:])
    with pytest.raises(DecodeError, match="at most 65535"):
        decode_chunk(struct.pack("<I", 65_536 << 2) + bytes(100))


def test_writes_the_layout_of_dsec_and_reads_it_back(tmp_path):
    source = write(tmp_path / "a.h5", columns(EVENTS, [f"events/{c}" for c in "xytp"], T_US))
    with open_recording(source) as recording:
        assert convert(recording, tmp_path / "b.h5", "hdf5").events == len(EVENTS)
    recording, messages = messages_of(tmp_path / "b.h5")
    np.testing.assert_array_equal(events_of(messages), EVENTS)
    assert (recording.width, recording.height, len(recording.notes)) == (346, 260, 0)
    with h5py.File(tmp_path / "b.h5") as file:
        t, indexes = file["events/t"][:], file["ms_to_idx"][:]
        assert file["t_offset"][()] + t[0] == T_US[0]
        # DSEC: t[ms_to_idx[ms]] >= ms * 1000 and t[ms_to_idx[ms] - 1] < ms * 1000
        np.testing.assert_array_equal(indexes, np.searchsorted(t, np.arange(len(indexes)) * 1000))
        assert indexes[-1] == len(t)


def test_cuts_times_to_microseconds_only_if_lossy(tmp_path):
    source = write(tmp_path / "a.h5", columns(EVENTS, [f"events/{c}" for c in "xytp"], EVENTS["t"] + 1))
    with open_recording(source, time_unit="ns") as recording:
        with pytest.raises(RecordingError, match="not of whole microseconds"):
            convert(recording, tmp_path / "b.h5", "hdf5")
        assert not (tmp_path / "b.h5").exists()
        assert convert(recording, tmp_path / "b.h5", "hdf5", lossy=True).cut_times == len(EVENTS)
    np.testing.assert_array_equal(events_of(messages_of(tmp_path / "b.h5")[1]), EVENTS)


def test_a_span_too_long_for_its_index_is_an_error(tmp_path):
    events = make_events([1, 2], [3, 4], np.array([0, 25]) * 3_600 * 10**9, [0, 1])
    np.savez(tmp_path / "a.npz", **{name: events[name] for name in "xytp"})
    with (
        open_recording(tmp_path / "a.npz", time_unit="ns") as recording,
        pytest.raises(RecordingError, match="more than 24 h"),
    ):
        convert(recording, tmp_path / "b.h5", "hdf5")
    assert not (tmp_path / "b.h5").exists()


def test_compressed_events_have_microseconds_and_triggers_a_number_of_one_byte(tmp_path):
    assert "--time-unit is for" in error_of(prophesee(tmp_path / "a.hdf5", EVENTS), time_unit="ns")
    path = prophesee(tmp_path / "b.hdf5", EVENTS, triggers=[(1, 500, 256)])
    assert "triggers: id must be whole numbers from 0 to 255, not 256" in error_of(path)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({}, "holds nothing; expected datasets x, y, t, p"),
        ({"events/x": np.zeros(3)}, "holds events; expected datasets"),
        (columns(EVENTS, [f"events/{c}" for c in "xytp"], T_US[:-1]), "have .*5000, 5000, 4999, 5000.* elements"),
        (columns(EVENTS[:0], [f"events/{c}" for c in "xytp"], T_US[:0]), "holds no event"),
        (columns(EVENTS, [f"events/{c}" for c in "xytp"], np.full(5000, np.nan)), "a time is not a number"),
        ({f"events/{c}": np.uint8(1) for c in "xytp"}, r"x in /events/x has the type uint8 and shape \(\); expected"),
        ({f"events/{c}": h5py.Empty("u1") for c in "xytp"}, "type uint8 and shape None; expected numbers"),
        (columns(EVENTS, [f"events/{c}" for c in "xytp"], T_US) | {"events/image_raw/a": T_US}, "as HDF5"),
    ],
)
def test_rejects_files_without_events(tmp_path, layout, expected):
    with pytest.raises(RecordingError, match=expected) as caught:
        open_recording(write(tmp_path / "a.h5", layout))
    assert str(tmp_path / "a.h5") in str(caught.value)


def test_names_a_filter_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((10,))
            properties.set_filter(61_234, h5py.h5z.FLAG_OPTIONAL)
            space = h5py.h5s.create_simple((10,))
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_INT64, space, properties)
    with pytest.raises(MissingPackageError, match="HDF5 filter 61234: pip install hdf5plugin"):
        open_recording(tmp_path / "a.h5")


def test_reads_a_real_file(shared_file):
    recording, messages = messages_of(shared_file("formats/events_small.hdf5"))
    events = events_of(messages)
    with h5py.File(recording.path) as file:
        group = file["raw_events"]
        for name in "xyp":
            np.testing.assert_array_equal(events[name], group[name][:])
        np.testing.assert_array_equal(events["t"], np.rint(group["t"][:] * 1e9))


def test_events_can_be_moved_to_the_clock_of_the_frames(tmp_path):
    path = write(tmp_path / "a.h5", columns(EVENTS, [f"events/{c}" for c in ("xs", "ys", "ts", "ps")], T_US / 1e6))
    with h5py.File(path, "a") as file:
        file.create_dataset("images/image0", data=np.zeros((260, 346), np.uint8)).attrs["timestamp"] = 101.2
    recording, messages = messages_of(path, time_offset=100.0)
    np.testing.assert_array_equal(events_of(messages)["t"], EVENTS["t"] + 100 * 10**9)
    assert recording.start == recording.first_event == EVENTS["t"][0] + 100 * 10**9
    kinds = [hasattr(m, "image") for m in messages]
    assert 0 < kinds.index(True) < len(kinds) - 1  # among the events
