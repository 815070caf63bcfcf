"""Read an MCAP file front to back, up to its end or to where it is cut, without the index at the end.

A recorder that was killed leaves such a file. Record layout: https://mcap.dev/spec.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import RecordingError
from .decompression import LZ4FrameDecompressor, zstd

MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_HEAD = struct.Struct("<BQ")  # of a record: kind and size
_LARGEST_RECORD = 1 << 30  # bytes, also of a chunk that is decompressed
_DECOMPRESSORS = {"lz4": LZ4FrameDecompressor, "zstd": zstd.ZstdDecompressor}


class Channel(NamedTuple):
    """A topic of the file, with the fields of rosbags' Connection that are used."""

    id: int
    topic: str
    msgtype: str
    digest: str = ""


class _Record(NamedTuple):
    kind: int
    start: int
    size: int  # as declared
    data: bytes  # shorter if the file ends before


def is_cut(path: Path) -> bool:
    """Return whether an MCAP file lacks its end."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return False
        size = file.seek(0, 2)
        file.seek(max(0, size - len(MAGIC)))
        return size < 2 * len(MAGIC) or file.read() != MAGIC


class McapScan:
    """The messages of an MCAP file up to where it is cut. Messages of a chunk come in time order.

    Attributes:
        connections: the topics.
        start_time, duration: receive time of the first message, and the time to the last one (ns).
        read_to: the byte up to which records can be read.

    Raises:
        RecordingError, OSError: the file has no message, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.connections: list[Channel] = []
        self._schemas: dict[int, str] = {}
        self.read_to = len(MAGIC)
        first, last = 1 << 64, -1
        for _, received, _ in self.messages():
            first, last = min(first, received), max(last, received)
        if last < 0:
            raise RecordingError(f"{path}: cut before the first message, at byte {path.stat().st_size}")
        self.start_time, self.duration = first, last - first

    def messages(self, connections: Collection[Channel] = ()) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield (channel, receive time in ns, bytes) of these channels; without any, of all."""
        with self._path.open("rb") as file:
            file.seek(len(MAGIC))
            for record in _records(file):
                whole = len(record.data) == record.size
                if record.kind == _DATA_END:
                    return
                if record.kind == _CHUNK:
                    inner = [m for part in _records(BytesIO(_unpack(record.data))) for m in self._take(part)]
                    inner.sort(key=lambda message: message[1])
                else:
                    inner = list(self._take(record))
                if whole or inner:
                    self.read_to = max(self.read_to, record.start + _HEAD.size + len(record.data))
                yield from (message for message in inner if not connections or message[0] in connections)

    def _take(self, record: _Record) -> Iterator[tuple[Channel, int, bytes]]:
        """Remember a schema or channel; yield a message. Other records and incomplete ones are skipped."""
        data = record.data
        if len(data) < record.size:
            return
        try:
            if record.kind == _SCHEMA:
                self._schemas[struct.unpack_from("<H", data)[0]] = _string(data, 2)[0]
            elif record.kind == _CHANNEL:
                number, schema = struct.unpack_from("<HH", data)
                if all(channel.id != number for channel in self.connections):
                    self.connections.append(Channel(number, _string(data, 4)[0], self._schemas.get(schema, "")))
            elif record.kind == _MESSAGE:
                number, _, received, _ = struct.unpack_from("<HIQQ", data)
                yield from ((channel, received, data[22:]) for channel in self.connections if channel.id == number)
        except (struct.error, UnicodeDecodeError):
            raise RecordingError(f"{self._path}: damaged record at byte {record.start}") from None


def _string(data: bytes, at: int) -> tuple[str, int]:
    """Return a text and the byte behind it."""
    (length,) = struct.unpack_from("<I", data, at)
    return data[at + 4 : at + 4 + length].decode(), at + 4 + length


def _records(file: BinaryIO) -> Iterator[_Record]:
    """Yield the records from here on, up to the end or to what is no record.

    Blocks of zeros follow the data where a file system lost its last writes.
    """
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        kind, size = _HEAD.unpack(head)
        if kind == 0 or size > _LARGEST_RECORD:
            return
        start = file.tell() - _HEAD.size
        yield _Record(kind, start, size, file.read(size))


def _unpack(chunk: bytes) -> bytes:
    """Return the records in a chunk, as far as they can be decompressed."""
    try:
        (declared,) = struct.unpack_from("<Q", chunk, 16)
        compression, at = _string(chunk, 28)
    except (struct.error, UnicodeDecodeError):
        return b""
    data = chunk[at + 8 :]
    if not compression:
        return data
    if compression not in _DECOMPRESSORS:
        raise RecordingError(f"a chunk has unknown compression {compression!r}")
    try:
        unpacked: bytes = _DECOMPRESSORS[compression]().decompress(data, max_length=min(declared, _LARGEST_RECORD))
    except (RuntimeError, zstd.ZstdError, EOFError):
        return b""
    return unpacked
