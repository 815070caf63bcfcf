"""Compressed bags that unpack to far more than they say, or than a recording holds."""

import bz2
import struct
import tracemalloc

import lz4.frame
import pytest
from backports import zstd
from makers import event_messages, random_events, with_topics, write_bag

from cista_ros.errors import RecordingError
from cista_ros.recordings import bag_packing, open_recording
from cista_ros.recordings.bag_packing import unpack
from cista_ros.wire.ros_types import EVENT_ARRAY

ROWS = with_topics(event_messages(random_events(300)))
FORMATS = {
    "bz2": (bz2.compress, bz2.BZ2Decompressor),
    "lz4": (lz4.frame.compress, lz4.frame.LZ4FrameDecompressor),
    "zstd": (zstd.compress, zstd.ZstdDecompressor),
}
EVERY = pytest.mark.parametrize(("pack", "start"), FORMATS.values(), ids=FORMATS)
ZEROS = bytes(16 << 20)


@pytest.fixture
def small_limits(monkeypatch):
    """So that a bomb of 16 MB is one."""
    monkeypatch.setattr(bag_packing, "_FIRST_BYTES", 1 << 20)
    monkeypatch.setattr(bag_packing, "_LARGEST_RATIO", 100)


@EVERY
def test_what_was_packed_is_unpacked_also_in_several_frames(pack, start):
    data = bytes(range(256)) * 100
    assert unpack(start, pack(data)) == data
    assert unpack(start, pack(data) + pack(b"more"), len(data) + 4) == data + b"more"
    assert unpack(start, pack(b"")) == b""


@EVERY
def test_no_more_is_unpacked_than_was_declared(pack, start):
    packed = pack(ZEROS)
    tracemalloc.start()
    with pytest.raises(RecordingError, match="unpacks to more than 1000"):
        unpack(start, packed, 1000)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@EVERY
def test_what_is_cut_is_told(pack, start):
    with pytest.raises(RecordingError, match="is not whole"):
        unpack(start, pack(bytes(range(256)) * 100)[:-20])


def bomb_rows():
    """A message that is an events array to its header, and then zeros; they pack a thousandfold and more."""
    return [*ROWS, (ROWS[-1][0] + 1, "/dvs/events", (EVENT_ARRAY, ZEROS))]


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    ("kind", "compression"),
    [("ros1", "BZ2"), ("ros1", "LZ4"), ("mcap", "STORAGE"), ("mcap", "MESSAGE"), ("mcap", "FILE"), ("sqlite3", "FILE")],
)
def test_a_bomb_in_a_bag_is_refused(kind, compression, tmp_path):
    path = write_bag(tmp_path / ("a.bag" if kind == "ros1" else "a"), bomb_rows(), kind, compression)
    with pytest.raises(RecordingError, match="unpacks to more than"), open_recording(path) as recording:
        list(recording.read())


def test_a_chunk_of_an_mcap_that_declares_less_than_it_holds(tmp_path):
    path = write_bag(tmp_path / "a", ROWS, "mcap", "STORAGE") / "a.mcap"
    raw = path.read_bytes()
    at = raw.index(b"zstd") - 4  # behind the sizes in the chunk's head
    (size,) = struct.unpack_from("<Q", raw, at - 12)
    assert raw.count(struct.pack("<Q", size)) == 2  # in the chunk, and in its index
    path.write_bytes(raw.replace(struct.pack("<Q", size), struct.pack("<Q", size - 1)))
    with pytest.raises(RecordingError, match="unpacks to more than"), open_recording(path) as recording:
        list(recording.read())
