"""NumPy files: every layout comes out, damaged and foreign ones are named, and nothing is unpickled."""

import json
import zipfile

import numpy as np
import pytest
from makers import error_of

from cista_ros.errors import RecordingError
from cista_ros.events import concatenate, make_events
from cista_ros.recordings import open_recording
from cista_ros.wire.ros_types import EventMessage, ImageMessage

RNG = np.random.default_rng(0)
N = 3000
US = 7_000 + np.cumsum(RNG.integers(1, 300, N))
X, Y, P = RNG.integers(0, 240, N), RNG.integers(0, 180, N), RNG.random(N) < 0.5
X[0], Y[0] = 239, 179
EVENTS = make_events(X, Y, US * 1000, P)
TABLE = np.stack([X, Y, US, P], 1)
RECORDS = np.zeros(N, [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])
for name, column in zip("xytp", (X, Y, US, P), strict=True):
    RECORDS[name] = column


def evreal(folder, names=("events_ts", "events_xy", "events_p", "images", "images_ts"), images=4):
    folder.mkdir()
    t, xy, p, pictures, stamps = names
    np.save(folder / f"{t}.npy", US / 1e6)
    np.save(folder / f"{xy}.npy", np.array([X, Y]).transpose())  # in column-major order, as EVREAL's tool saves it
    np.save(folder / f"{p}.npy", P.astype(np.int64))
    if images:
        np.save(
            folder / f"{pictures}.npy",
            np.arange(images, dtype=np.uint8)[:, None, None, None] + np.zeros((180, 240, 1), np.uint8),
        )
        np.save(folder / f"{stamps}.npy", (US[:images] / 1e6 + 0.01)[:, None])
    return folder


def read(path, **options):
    with open_recording(path, **options) as recording:
        messages = [recorded.message for recorded in recording.read()]
    events = concatenate([m.events for m in messages if isinstance(m, EventMessage)])
    return recording, events, [m for m in messages if isinstance(m, ImageMessage)]


@pytest.mark.parametrize("used", [slice(None), slice(1, None, 2), slice(None, None, -1)])
def test_images_of_an_archive_may_be_unordered_and_left_out(tmp_path, used):
    order = RNG.permutation(6)
    pictures = np.arange(6, dtype=np.uint8)[:, None, None] + np.zeros((180, 240), np.uint8)
    stamps = US[100] / 1e6 + order
    np.savez_compressed(tmp_path / "a.npz", x=X, y=Y, t=US, p=P, images=pictures, images_ts=stamps)
    with open_recording(tmp_path / "a.npz") as recording:
        messages = [m for recorded in recording.read() if isinstance(m := recorded.message, ImageMessage)]
        found = [int(m.image[0, 0]) for m in messages[used]]
    assert found == np.argsort(stamps)[used].tolist()


def test_a_damaged_image_of_an_archive_is_named_each_time(tmp_path):
    path, pictures = tmp_path / "a.npz", RNG.integers(0, 255, (6, 180, 240), dtype=np.uint8)
    np.savez_compressed(path, x=X, y=Y, t=US, p=P, images=pictures, images_ts=US[100] / 1e6 + np.arange(6))
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("images.npy")
    content = bytearray(path.read_bytes())
    middle = info.header_offset + info.compress_size // 2
    content[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    with open_recording(path) as recording:
        for start in (0, 0, 4):
            with pytest.raises(RecordingError, match=r"a\.npz: "):
                list(recording.read(start))


@pytest.mark.parametrize(
    "array",
    [
        RECORDS,
        RECORDS.astype([("timestamp", ">i8"), ("x", ">u4"), ("y", ">u4"), ("polarity", "?")]),
        TABLE,
        TABLE.T,
        TABLE[:, [2, 0, 1, 3]].astype(np.float64),
        np.asfortranarray(TABLE),
        np.stack([US / 1e6, X, Y, P * 2 - 1, X], 1),
    ],
    ids=["records", "other-names", "xytp", "transposed", "txyp", "column-major", "seconds"],
)
@pytest.mark.parametrize("packed", [None, np.savez, np.savez_compressed])
def test_reads_events_of_every_layout(tmp_path, array, packed):
    path = tmp_path / "a.bin"  # the content decides
    if packed:
        packed(tmp_path / "a.npz", array)
        path = (tmp_path / "a.npz").rename(path)
    else:
        with path.open("wb") as file:
            np.save(file, array)
    recording, found, _ = read(path)
    assert (recording.width, recording.height) == (240, 180)
    np.testing.assert_array_equal(found, EVENTS)
    assert recording.duration is None if packed else recording.duration == pytest.approx(np.ptp(US) / 1e6)


def test_arrays_by_name_in_an_archive(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y, ts=US * 1000, pol=P, other=np.zeros((3, 3)))
    recording, found, _ = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(found, EVENTS)
    assert "time unit not stated: assuming ns (--time-unit states it)" in recording.notes
    _, stated, _ = read(tmp_path / "a.npz", time_unit="us")
    np.testing.assert_array_equal(stated["t"], EVENTS["t"] * 1000)
    np.savez(tmp_path / "b.npz", events=TABLE, labels=np.zeros((5, 4)))
    np.testing.assert_array_equal(read(tmp_path / "b.npz")[1], EVENTS)
    np.testing.assert_array_equal(read(tmp_path / "b.npz", columns="yxtp")[1]["x"], Y)


@pytest.mark.parametrize("names", [(), (("t", "xy", "p", "images", "timestamps"),)])
def test_a_folder_of_evreal_has_events_and_frames(tmp_path, names):
    recording, found, frames = read(evreal(tmp_path / "a", *names))
    assert (recording.width, recording.height, recording.notes) == (240, 180, ())
    np.testing.assert_array_equal(found, EVENTS)
    assert [(m.stamp, m.image.shape, int(m.image[9, 9])) for m in frames] == [
        (int(US[i]) * 1000 + 10_000_000, (180, 240), i) for i in range(4)
    ]
    with open_recording(tmp_path / "a") as recording:
        assert recording.frame_stamps().tolist() == [m.stamp for m in frames]


def test_metadata_state_the_size_of_the_sensor(tmp_path):
    folder = evreal(tmp_path / "a", images=0)
    (folder / "metadata.json").write_text(json.dumps({"sensor_resolution": [260, 346]}))
    assert (read(folder)[0].width, read(folder)[0].height) == (346, 260)
    for wrong in ("[]", '{"sensor_resolution": [0, 9]}', "{", "[" * 100_000):
        (folder / "metadata.json").write_text(wrong)
        assert error_of(folder).startswith("metadata.json")


@pytest.mark.parametrize(("table", "row_bytes"), [(TABLE, 32), (np.asfortranarray(TABLE), 8)])
def test_reads_truncated_files_up_to_their_end(tmp_path, table, row_bytes):
    np.save(tmp_path / "a.npy", table)
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[: -10 * row_bytes + 5])
    recording, found, _ = read(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, EVENTS[:-10])
    assert f"cut: {N - 10} of {N} events are there" in recording.notes
    np.savez_compressed(tmp_path / "a.npz", TABLE)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    assert "cannot be read as an archive of arrays" in error_of(tmp_path / "b.npz")
    damaged = bytearray((tmp_path / "a.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 255
    (tmp_path / "b.npz").write_bytes(damaged)
    assert "cannot be read as an archive of arrays" in error_of(tmp_path / "b.npz", read=True)


def npy(header, data=b""):
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


VECTORS = (
    "{'descr': [('x', '<f4', (9,)), ('y', 'u1'), ('t', 'u1'), ('p', 'u1')], 'fortran_order': False, 'shape': (9,)}"
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x93NUMPY", "no valid .npy header"),
        (b"\x93NUMPY\7\0", "has version (7, 0)"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4,"), "no valid .npy header"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (4, 4)}", b"cos\nsystem\n"), "Python objects"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 4)}"), "has the shape (-4, 4)"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': ()}"), "expected arrays x, y, t, p"),
        (npy("{'descr': '<c8', 'fortran_order': False, 'shape': (9, 4)}"), "expected arrays x, y, t, p"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4)}"), "holds no event"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 4)}"), "holds no event"),
        (npy(VECTORS, bytes(99)), "expected numbers"),
    ],
)  # fmt: skip
def test_rejects_arrays_without_events(tmp_path, content, expected):
    (tmp_path / "a.npy").write_bytes(content)
    assert expected in error_of(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": X - 240}, "x must be whole numbers from 0 to 65535, not -1"),
        ({"y": Y + 1.0 * 2**16}, "y must be"),
        ({"t": np.full(N, np.nan)}, "a time is not a number"),
        ({"t": US * 2**40}, "a time beyond the range"),
        ({"t": US[:-1]}, "elements; expected equal lengths"),
        ({"p": np.zeros((N, 2))}, "expected numbers (N,)"),
        (dict.fromkeys("xytp", 1), "type int64 and shape (); expected numbers (N,)"),
        ({"images": np.zeros((2, 3, 3), np.float32), "images_ts": np.zeros(2)}, "expected uint8 (N, H, W)"),
        ({"images": np.zeros((2, 3, 3), np.uint8), "images_ts": np.zeros((2, 2))}, "expected a time per image"),
    ],
)
def test_rejects_wrong_values(tmp_path, changes, expected):
    np.savez(tmp_path / "a.npz", **{"x": X, "y": Y, "t": US, "p": P} | changes)
    assert expected in error_of(tmp_path / "a.npz", read=True)


def test_decimal_times_cannot_be_in_nanoseconds(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y, t=US / 1e6, p=P)
    with pytest.raises(RecordingError, match=r"times such as [\d.]+ are not in ns"):
        open_recording(tmp_path / "a.npz", time_unit="ns")


def test_rejects_archives_without_events(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3), b=np.zeros(4))
    assert "holds a (3,) float64, b (4,) float64; expected arrays x, y, t, p" in error_of(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUM")
    assert "no valid .npy header" in error_of(tmp_path / "b.npz")
