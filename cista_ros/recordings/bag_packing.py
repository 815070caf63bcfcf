"""Unpacking what is compressed in bags, to no more than a recording can hold: rosbags alone knows no such limit."""

from __future__ import annotations

import bz2
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lz4.frame import LZ4FrameDecompressor
from rosbags import rosbag1
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import storage_mcap

from ..errors import RecordingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_AT_MOST = 1 << 29  # bytes of a chunk or message, unpacked
_LARGEST_RATIO = 1000  # of unpacked to packed, beyond the first bytes: what black images come to
_FIRST_BYTES = 1 << 24


def _most(packed: int) -> int:
    return _FIRST_BYTES + _LARGEST_RATIO * packed


def unpack(start: Callable[[], Any], data: bytes, declared: int = _AT_MOST) -> bytes:
    """Unpack a chunk or message, frame after frame.

    Args:
        start: makes a decompressor, with `decompress`, `eof` and `unused_data` as those of bz2.
        declared: bytes that it should have.
    Raises:
        RecordingError: it becomes larger than declared, or than a recording's can be, or it is not whole.
    """
    most, parts, total, left = min(declared, _most(len(data)), _AT_MOST), [], 0, data
    while left:
        decompressor = start()
        parts.append(decompressor.decompress(left, max_length=most - total + 1))
        total += len(parts[-1])
        if total > most:
            raise RecordingError(f"a chunk or message of {len(data)} bytes unpacks to more than {most}")
        if not decompressor.eof:
            raise RecordingError("a compressed chunk or message is not whole")
        left = decompressor.unused_data or b""
    return b"".join(parts)


def unpack_message(data: bytes) -> bytes:
    """A message that was compressed by itself (zstd); raises as `unpack`."""
    return unpack(zstd.ZstdDecompressor, data)


def unpack_file(packed: Path, to: Path) -> None:
    """Unpack a compressed file (zstd); RecordingError if it becomes too large for its disk, or for any recording."""
    most, total = min(shutil.disk_usage(to.parent).free, _most(packed.stat().st_size)), 0
    with packed.open("rb") as file, zstd.open(file, "rb") as unpacked, to.open("wb") as out:
        while block := unpacked.read(1 << 20):
            total += len(block)
            if total > most:
                raise RecordingError(f"{packed.name} unpacks to more than {most} bytes")
            out.write(block)


_BY_FORMAT = {"bz2": bz2.BZ2Decompressor, "lz4": LZ4FrameDecompressor}
_BOUNDED = {rosbag1_reader.decompressors[name]: start for name, start in _BY_FORMAT.items()}


def bound_chunks(reader: rosbag1.Reader) -> None:
    """Let an open reader unpack its chunks by `unpack`."""
    for at, chunk in reader.chunks.items():
        if start := _BOUNDED.get(chunk.decompressor):
            reader.chunks[at] = chunk._replace(decompressor=lambda data, start=start: unpack(start, data))


def bound_mcap() -> None:
    """Let rosbags unpack the chunks of mcap files by `unpack`.

    It compares them with the size that they declare only after they were unpacked, and its reader cannot be told
    otherwise: its table of methods is changed, for all of this process.
    """
    for name, start in {"lz4": LZ4FrameDecompressor, "zstd": zstd.ZstdDecompressor}.items():
        storage_mcap.DECOMPRESSORS[name] = lambda data, size, start=start: unpack(start, data, size)
