"""Damaged files of every readable format: a one-line error and exit code 2, or what is left, with the amount stated."""

import gzip
import json
import re
import struct
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import test_aedat
import test_aedat4
import test_hdf5
import test_prophesee
from recordings.makers import event_messages, with_topics, write_bag, write_text, write_zip
from typer.testing import CliRunner

from cista_ros.commands.main import app
from cista_ros.errors import RecordingError
from cista_ros.events import make_events
from cista_ros.recordings import open_recording
from cista_ros.recordings.write import write_recording
from cista_ros.wire.ros_types import EventMessage

N = 1000
T0 = 1_000_000
RNG = np.random.default_rng(0)
EVENTS = make_events(
    RNG.integers(0, 24, N), RNG.integers(0, 18, N), (T0 + np.arange(N) * 100) * 1000, RNG.random(N) < 0.5
)
US = EVENTS["t"] // 1000


def csv(folder):
    path = folder / "a.csv"
    path.write_text("x,y,p,t\n" + "".join(f"{e['x']},{e['y']},{int(e['p'])},{e['t'] // 1000}\n" for e in EVENTS))
    return path


def csv_gz(folder):
    path = folder / "a.csv.gz"
    path.write_bytes(gzip.compress(csv(folder).read_bytes(), mtime=0))
    return path


def ours(format, name):
    def make(folder):
        with write_recording(folder / name, format) as writer:
            for part in np.array_split(EVENTS, 30):
                writer.write(int(part["t"][-1]), EventMessage(int(part["t"][0]), "", 18, 24, part))
        return folder / name

    return make


def aedat4(compression):
    def make(folder):
        packets = [(0, test_aedat4.events_packet(part)) for part in np.array_split(EVENTS, 30)]
        return test_aedat4.write(folder / "a.aedat4", packets, compression=compression)

    return make


def npz(folder):
    np.savez(folder / "a.npz", x=EVENTS["x"], y=EVENTS["y"], t=US, p=EVENTS["p"])
    return folder / "a.npz"


def npy(folder):
    np.save(folder / "a.npy", np.stack([EVENTS["x"], EVENTS["y"], US, EVENTS["p"]], 1))
    return folder / "a.npy"


def bag(kind):
    return lambda folder: write_bag(
        folder / ("a.bag" if kind == "ros1" else "a"), with_topics(event_messages(EVENTS)), kind
    )


def aedat(head, addresses):
    return lambda folder: test_aedat.write(folder / "a.aedat", head, test_aedat.records(addresses, US))


# How to write EVENTS in each format, and bytes of the file that state a size, with others that contradict the rest.
FORMATS = {
    "evt2": (lambda folder: test_prophesee.write(folder / "a.raw", "EVT2", EVENTS), b"640x480", b"0x48000"),
    "evt21": (lambda folder: test_prophesee.write(folder / "a.raw", "EVT21", EVENTS), b"=640", b"=-64"),
    "evt3": (ours("raw", "a.raw"), b"height=18", b"height=99999"),
    "dat": (lambda folder: test_prophesee.write_dat(folder / "a.dat", EVENTS), b"\x0c\x08", b"\x0c\x09"),
    "aedat4": (aedat4(0), b"EVTS", b"EVTX"),
    "aedat4 lz4": (aedat4(1), b"\x04\x22\x4d\x18", b"\x04\x22\x4d\xff"),
    "aedat2": (
        aedat(test_aedat.HEAD_2 + test_aedat.DAVIS346, test_aedat.davis(EVENTS, 346, 260)), b"DAT2.0", b"DAT9.0",
    ),
    "aedat3": (
        lambda folder: test_aedat.write(folder / "a.aedat", test_aedat.HEAD_3, test_aedat.polarity(EVENTS)),
        struct.pack("<ii", 8, 4), struct.pack("<ii", 80_000, 4),
    ),
    "hdf5": (ours("hdf5", "a.h5"), b"TREE", b"TREX"),
    "hdf5 ecf": (
        lambda folder: test_hdf5.prophesee(folder / "a.hdf5", EVENTS), struct.pack("<I", N << 2),
        b"\xff\xff\xff\xff",
    ),
    "npy": (npy, b"(1000, 4)", b"(1000, 5000)"),
    "npz": (npz, b"(1000,)", b"(9999,)"),
    "csv": (csv, b"\n5,", b"\n70000,"),
    "csv.gz": (csv_gz, b"\x1f\x8b\x08", b"\x1f\x8b\x09"),
    "text.zip": (lambda folder: write_zip(folder / "a.zip", write_text(folder / "a", EVENTS)), b"PK\1\2", b"PK\3\2"),
    "ros1": (bag("ros1"), b"index_pos=", b"index_pox="),
    "db3": (bag("db3_file"), b"SQLite format 3\0\x10\0", b"SQLite format 3\0\x10\1"),
    "mcap": (bag("mcap_file"), b"\x89MCAP0\r\n\1", b"\x89MCAP0\r\n\xff"),
}  # fmt: skip
ALL = pytest.mark.parametrize("name", FORMATS)
# Formats that are read up to where a file ends, and the note that says how much is lost or left.
RECOVERED = {
    "evt2": r"last \d bytes are ignored", "evt21": r"last \d bytes are ignored", "evt3": r"last \d bytes are ignored",
    "dat": r"last \d bytes are ignored", "aedat4": r"last \d+ bytes are ignored",
    "aedat4 lz4": r"last \d+ bytes are ignored", "aedat2": r"last \d+ bytes are ignored",
    "aedat3": r"\d+ of its bytes are missing", "npy": r"cut: \d+ of 1000 events", "csv": r"cut in line \d+",
    "mcap": r"cut at byte \d+; the [\d.]+ s",
}  # fmt: skip


def info(path):
    """Return (exit code, what is found, error) of `cista info`, which reads a file from front to end."""
    done = CliRunner().invoke(app, ["info", "--json", str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def assert_is_one_line(code, error, path):
    assert code == 2, error
    *progress, line = error.splitlines()
    assert line.startswith(f"cista: error: {path}: ") and len(line) < 600 + 2 * len(str(path)), error
    assert all("s of events" in other for other in progress), error


def make(name, folder):
    """Write EVENTS in a format and return (path, content)."""
    path, content = made(name)
    path = folder / path
    path.write_bytes(content)
    return path, content


@cache
def made(name):
    with TemporaryDirectory() as folder:
        path = FORMATS[name][0](Path(folder))
        return path.name, path.read_bytes()


@ALL
def test_reads_valid_files(tmp_path, name):
    code, found, error = info(make(name, tmp_path)[0])
    assert code == 0, error
    assert json.loads(found)[0]["events"]["count"] == N


@pytest.mark.parametrize(
    ("name", "fault"),
    # Text without its first bytes is still text.
    [
        (name, fault)
        for name in FORMATS
        for fault in ("empty", "header", "magic", "size")
        if name != "csv" or fault != "magic"
    ],
)
def test_rejects_damage_in_one_line(tmp_path, name, fault):
    _, old, new = FORMATS[name]
    path, whole = make(name, tmp_path)
    assert old in whole
    damaged = {"empty": b"", "header": whole[:11], "magic": b"\xde\xad\xbe\xef" + whole[4:]}
    path.write_bytes(damaged.get(fault, whole.replace(old, new, 1)))
    code, _, error = info(path)
    assert_is_one_line(code, error, path)


@ALL
@pytest.mark.parametrize("share", [0.55, 0.8])
def test_reads_or_rejects_truncated_files(tmp_path, name, share):
    path, whole = make(name, tmp_path)
    missing = int(len(whole) * (1 - share)) | 1  # an odd number of bytes, so that a word is cut
    path.write_bytes(whole[:-missing])
    code, found, error = info(path)
    if name not in RECOVERED:
        assert_is_one_line(code, error, path)
        return
    assert code == 0, error
    (found,) = json.loads(found)
    assert 0.3 * N < found["events"]["count"] < 0.9 * N
    assert any(re.search(RECOVERED[name], note) for note in found["notes"]), found["notes"]


@ALL
def test_survives_large_numbers_anywhere(tmp_path, name):
    path, whole = make(name, tmp_path)
    for at in [*range(0, 96, 24), *np.random.default_rng(0).integers(0, len(whole), 6).tolist(), len(whole) - 30]:
        path.write_bytes(whole[:at] + b"\xff" * 4 + whole[at + 4 :])
        code, found, error = info(path)
        if code:
            assert_is_one_line(code, error, path)
        else:
            assert json.loads(found)[0]["events"]["count"]


@ALL
def test_damage_anywhere_gives_an_error_or_a_reading(tmp_path, name):
    """Whatever the libraries raise on files that are cut or have wrong bytes, a RecordingError comes out of it."""
    path, whole = make(name, tmp_path)
    rng = np.random.default_rng(3)
    refused = 0
    for i in range(40):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            size = min(len(whole) - at, 8 if i % 2 else 1)
            damaged[at : at + size] = rng.bytes(size)
        path.write_bytes(damaged if i % 4 else whole[: rng.integers(0, len(whole))])
        try:
            with open_recording(path) as recording:
                list(recording.read())
        except RecordingError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused or name in RECOVERED


@pytest.mark.parametrize("name", ["hdf5", "hdf5 ecf"])
def test_names_the_missing_h5py_package(tmp_path, monkeypatch, name):
    path, _ = make(name, tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    code, _, error = info(path)
    assert_is_one_line(code, error, path)
    assert "pip install h5py hdf5plugin" in error
