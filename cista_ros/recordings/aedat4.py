"""AEDAT4, iniVation's format: packets of events, frames and triggers, each a compressed FlatBuffer.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html. Times are the host's:
microseconds since 1970. The format is read here, not by PyPI's `aedat`, which ends the process on damaged files.
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..errors import CistaError, DecodeError, RecordingError
from ..events import EVENT_BYTES, EVENT_DTYPE, TRIGGER_DTYPE, no_events
from .columns import to_nanoseconds
from .decompression import LZ4FrameDecompressor, unpack, zstd
from .event_file import FRAMES_TOPIC, Block, EventFile
from .recording import Item

T = TypeVar("T")
MAGIC = b"#!AER-DAT4.0\r\n"
_LONGEST_HEADER = 1 << 24
_EVENTS, _FRAMES, _TRIGGERS = "EVTS", "FRME", "TRIG"  # identifiers of streams
_UNPACKERS: dict[int, Callable[[], Any] | None] = {
    0: None,
    1: LZ4FrameDecompressor,
    2: LZ4FrameDecompressor,
    3: zstd.ZstdDecompressor,
    4: zstd.ZstdDecompressor,
}
# Types of triggers: (input, rising edge). A pulse (3) has no falling edge; others are about the camera itself.
_EDGES = {1: (0, True), 2: (0, False), 3: (0, True), 4: (1, True), 5: (1, False)}
_CHANNELS = {0: 1, 16: 3, 24: 4}  # of 8 bits, by OpenCV's type


class _Stream(NamedTuple):
    kind: str
    name: str
    width: int
    height: int


class Aedat4Recording(EventFile):
    """An AEDAT4 file. With several streams of events or frames, topics are named after them."""

    def _open(self) -> None:
        self._read_header()
        self._events_id = self._choose_stream(self._names(_EVENTS))
        if self._events_id is None:
            kinds = ", ".join(f"{s.name} ({s.kind})" for s in self._streams.values()) or "no stream"
            raise RecordingError(f"no stream of events; the file has {kinds}")
        frames = self._names(_FRAMES)
        self.frames_topic = FRAMES_TOPIC if frames else None
        self._frames_id = self._choose_stream(frames, "frames_topic")
        chosen = self._streams[self._events_id]
        if chosen.width and chosen.height:
            self.width, self.height = chosen.width, chosen.height
        read = {self._events_id, self._frames_id, *self._names(_TRIGGERS)}
        self.other_topics = tuple(stream.name for i, stream in self._streams.items() if i not in read)

    def _names(self, kind: str) -> dict[int, str]:
        """Return the names of the streams of a kind by their number."""
        return {i: stream.name for i, stream in self._streams.items() if stream.kind == kind}

    def _read_header(self) -> None:
        with self.path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise RecordingError(f"does not begin with {MAGIC!r}")
            prefix = file.read(4)
            size = int.from_bytes(prefix, "little")
            if size > _LONGEST_HEADER:
                raise RecordingError(f"its header would have {size} bytes")
            data = prefix + file.read(size)
        if len(data) < 4 + size or len(prefix) < 4:
            raise RecordingError("ends within its header")
        self._data_at = len(MAGIC) + len(data)
        header = read_root(data, b"IOHE")
        compression = header.number(0, "i")
        if compression not in _UNPACKERS:
            raise RecordingError(f"compression {compression}; expected none, LZ4 or zstd")
        self._unpacker = _UNPACKERS[compression]
        end = header.number(1, "q", -1)
        self._data_end = end if end > 0 else self.path.stat().st_size
        self._streams = _streams_of(header.text(2))

    def _blocks(self) -> Iterator[Block]:
        decoders: dict[int | None, Callable[[bytes], Block]] = {self._events_id: _events_of}
        decoders.update(dict.fromkeys(self._names(_TRIGGERS), _triggers_of))
        return self._packets(decoders)

    def _frames(self) -> Iterator[Item]:
        for frame, stamp in self._packets({self._frames_id: _frame_of}):
            yield self._frame(stamp, partial(_image_of, frame))

    def _packets(self, decoders: Mapping[int | None, Callable[[bytes], T]]) -> Iterator[T]:
        """Yield the decoded packets of the streams in `decoders` (by number), up to where the file ends or is cut."""
        with self.path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(at := self._data_at)
            end = min(length, self._data_end)
            while at < end:
                head = file.read(8)
                stream, size = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little", signed=True)
                if len(head) < 8 or at + 8 + size > length:
                    self._note(f"the file ends within a packet: its last {length - at} bytes are ignored")
                    return
                if size < 0:
                    raise RecordingError(f"a packet of {size} bytes at byte {at}")
                if stream in decoders:
                    data = file.read(size)
                    try:
                        decoded = decoders[stream](unpack(self._unpacker, data) if self._unpacker else data)
                    except (CistaError, RuntimeError, zstd.ZstdError) as error:
                        raise RecordingError(f"the packet at byte {at}: {error}") from None
                    yield decoded
                at += 8 + size
                file.seek(at)


def _streams_of(text: str) -> dict[int, _Stream]:
    """Return the streams by their number, from the XML of the header."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise RecordingError("its header declares XML entities, which AEDAT4 does not use")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise RecordingError(f"its header is not XML: {error}") from None
    streams = {}
    for node in root.iterfind("node[@name='outInfo']/node"):
        number, values = node.get("name", ""), {attr.get("key"): attr.text or "" for attr in node.iter("attr")}
        sizes = [values.get(key, "0") for key in ("sizeX", "sizeY")]
        if not all(t.isascii() and t.isdigit() and len(t) < 6 for t in (number, *sizes)):
            raise RecordingError(f"its header describes stream {number!r} of {sizes[0]!r} x {sizes[1]!r} pixels")
        name = "/" + values.get("originalOutputName", f"stream_{number}")
        streams[int(number)] = _Stream(values.get("typeIdentifier", ""), name, int(sizes[0]), int(sizes[1]))
    names = [stream.name for stream in streams.values()]
    return {i: s if names.count(s.name) == 1 else s._replace(name=f"{s.name}_{i}") for i, s in streams.items()}


def _image_of(frame: Table) -> np.ndarray:
    kind, width, height = frame.number(5, "b"), frame.number(6, "h"), frame.number(7, "h")
    pixels = frame.vector(10, np.uint8)
    if (channels := _CHANNELS.get(kind)) is None:
        raise RecordingError(f"a frame of OpenCV type {kind}; expected 8-bit gray, BGR or BGRA")
    if min(width, height) < 1 or len(pixels) != width * height * channels:
        raise RecordingError(f"a frame of {width}x{height} pixels, {channels} channels, has {len(pixels)} bytes")
    return pixels.reshape(height, width, channels)


def _nanoseconds(us: int) -> int:
    """Raises DecodeError for a time out of range."""
    return int(to_nanoseconds(np.array([us]), "us")[0])


def _events_of(data: bytes) -> Block:
    packet = read_root(data, b"EVTS")
    events = packet.vector(0, EVENT_BYTES).copy().view(EVENT_DTYPE)  # the layout of the format's own struct
    events["t"] = to_nanoseconds(events["t"], "us")
    events["p"] = events["p"].view(np.uint8) != 0
    return Block(events)


def _frame_of(data: bytes) -> tuple[Table, int]:
    """Return a frame and its time in nanoseconds."""
    frame = read_root(data, b"FRME")
    return frame, _nanoseconds(frame.number(0, "q"))


def _triggers_of(data: bytes) -> Block:
    triggers = [
        (_nanoseconds(trigger.number(0, "q")), trigger.number(1, "b")) for trigger in read_root(data, b"TRIG").tables(0)
    ]
    edges = [(t, *_EDGES[kind]) for t, kind in triggers if kind in _EDGES]
    return Block(no_events(), np.array(edges, TRIGGER_DTYPE))


class Table:
    """A table of a FlatBuffer (https://flatbuffers.dev/internals); its fields are numbered from 0, as in the schema.

    Everything is bounds-checked: whatever the bytes say, only DecodeError is raised and nothing is allocated.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - _number(data, "i", at)
        self._vtable_size = _number(data, "H", self._vtable)

    def number(self, field: int, format: str, default: int = 0) -> int:
        """Return a number, by its struct format."""
        at = self._place(field)
        return _number(self._data, format, at) if at else default

    def text(self, field: int) -> str:
        """Return a text; bytes that are not UTF-8 are replaced."""
        return self.vector(field, np.uint8).tobytes().decode(errors="replace")

    def vector(self, field: int, dtype: np.dtype | type) -> np.ndarray:
        """Return a vector (N,) of numbers or structs as a view; empty if the field is missing."""
        at, count = self._vector(field)
        dtype = np.dtype(dtype)
        if at + count * dtype.itemsize > len(self._data):
            raise DecodeError(f"a vector of {count} elements ends beyond the {len(self._data)} bytes of its buffer")
        return np.frombuffer(self._data, dtype, count, at)

    def tables(self, field: int) -> Sequence[Table]:
        """Return a vector of tables."""
        offsets = self.vector(field, np.dtype("<u4"))
        at = self._vector(field)[0]
        return [Table(self._data, at + 4 * i + int(offset)) for i, offset in enumerate(offsets)]

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._place(field)
        if not at:
            return 0, 0
        at += _number(self._data, "I", at)
        return at + 4, _number(self._data, "I", at)

    def _place(self, field: int) -> int:
        at = 4 + 2 * field
        offset = _number(self._data, "H", self._vtable + at) if at < self._vtable_size else 0
        return self._at + offset if offset else 0


def read_root(data: bytes, identifier: bytes) -> Table:
    """Return the root table of a buffer with this identifier of four bytes, after its size of four bytes."""
    if data[8:12] != identifier:
        raise DecodeError(f"a buffer of {data[8:12]!r}; expected {identifier!r}")
    return Table(data, 4 + _number(data, "I", 4))


def _number(data: bytes, format: str, at: int) -> int:
    if at < 0 or at + struct.calcsize(format) > len(data):
        raise DecodeError(f"an offset leads to byte {at} of a buffer of {len(data)} bytes")
    value: int = struct.unpack_from("<" + format, data, at)[0]
    return value
