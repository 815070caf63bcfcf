"""Compressed data is unpacked whole, or refused, and never to more than declared."""

import bz2
import tracemalloc

import lz4.frame
import pytest

from cista_ros.errors import RecordingError
from cista_ros.recordings.decompression import LZ4FrameDecompressor, unpack, zstd

FORMATS = {
    "bz2": (bz2.compress, bz2.BZ2Decompressor),
    "lz4": (lz4.frame.compress, LZ4FrameDecompressor),
    "zstd": (zstd.compress, zstd.ZstdDecompressor),
}
EVERY = pytest.mark.parametrize(("pack", "start"), FORMATS.values(), ids=FORMATS)


@EVERY
def test_unpacks_data_of_one_or_more_frames(pack, start):
    data = bytes(range(256)) * 100
    assert unpack(start, pack(data)) == data
    assert unpack(start, pack(data) + pack(b"more"), len(data) + 4) == data + b"more"
    assert unpack(start, pack(b"")) == b""


@EVERY
def test_unpacks_no_more_than_declared(pack, start):
    packed = pack(bytes(16 << 20))
    tracemalloc.start()
    with pytest.raises(RecordingError, match="unpacks to more than 1000"):
        unpack(start, packed, 1000)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@EVERY
def test_rejects_truncated_data(pack, start):
    with pytest.raises(RecordingError, match="incomplete"):
        unpack(start, pack(bytes(range(256)) * 100)[:-20])
