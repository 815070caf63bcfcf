"""AEDAT 2.0 of jAER and v2e, and AEDAT 3.1 of cAER: a text header, then records or packets of records.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-2.0.html and aedat-3.1.html. These pages
leave open mirrored axes and the polarity of a DVS128; both are as in jAER, which defines AEDAT 2.0, and libcaer. The
permissively licensed readers on PyPI lack triggers, frames and AEDAT 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import RecordingError
from ..events import TRIGGER_DTYPE, make_events, make_triggers, no_events
from ..wire.word_stream import RollOver
from .event_file import FRAMES_TOPIC, Block, EventFile
from .image_file import MAX_PIXELS
from .recording import Item, ReadOptions

_LONGEST_HEADER = 1 << 22  # jAER writes all preferences into it
_RECORD_BYTES = 8
# Sensors as (width, height), by a part of the camera's name in lower case.
_CAMERAS = dict.fromkeys(("dvs128", "tmpdiff128", "davis128"), (128, 128))
_CAMERAS |= {"davis208": (208, 192), "davis240": (240, 180), "sbret10": (240, 180), "davis346": (346, 260)}
_CAMERAS |= dict.fromkeys(("davis640", "dvxplorer"), (640, 480))
_DVS128 = ("dvs128", "tmpdiff128")
# Of AEDAT 3.1: kinds of packets, the layout of their header, and special events as (input, rising edge). A pulse has no
# falling edge.
_SPECIAL, _POLARITY, _FRAME = 0, 1, 2
_FIELDS = ("size", "t_at", "overflow", "capacity", "count", "valid")
_PACKET = np.dtype([("kind", "<i2"), ("source", "<i2"), *((name, "<i4") for name in _FIELDS)])
_EDGES = {2: (0, True), 3: (0, False), 4: (0, True), 6: (1, True), 7: (1, False), 8: (1, True)}
_EDGES |= {9: (2, True), 10: (2, False), 11: (2, True)}
_MOST_OVERFLOWS = 1 << 20  # each of 36 minutes
_FRAME_BYTES = 36  # before its pixels
_ENCODINGS = {1: "mono16", 3: "rgb16", 4: "rgba16"}  # by the number of channels


def open_file(path: Path, options: ReadOptions) -> EventFile:
    """Open an AEDAT 2.0 or 3.1 file; raises RecordingError."""
    version, *_ = _read_header(path)
    if version not in _READERS:
        raise RecordingError(f"{path}: AEDAT version {version}; expected 2.0, 3.1 or 4.0 (DV converts others)")
    return _READERS[version](path, options)


def _read_header(path: Path) -> tuple[str, list[str], int]:
    """Return the version, the other lines that begin with #, and the byte where the data begin."""
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST_HEADER)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error}") from None
    match = re.match(rb"#!AER-DAT([0-9.]{1,8})\r?\n", head)
    if not match:
        raise RecordingError(f"{path}: does not begin with #!AER-DAT and a version")
    version, lines, at = match[1].decode(), [], match.end()
    while head[at : at + 1] == b"#":
        end = head.find(b"\n", at) + 1
        line = head[at : end - 1].rstrip(b"\r")
        if not end or not line.isascii():
            break  # data that begin like a line
        lines.append(line.decode()[1:].strip())
        at = end
        if lines[-1] == "!END-HEADER" or lines[-1].lower() == "end of ascii header":
            return version, lines, at
    if version == "3.1":
        raise RecordingError(f"{path}: its header does not end with #!END-HEADER")
    return version, lines, at


def _size_of(camera: str) -> tuple[int, int]:
    """Return the (width, height) of a camera, (0, 0) if it is unknown."""
    return next((size for name, size in _CAMERAS.items() if name in camera.lower()), (0, 0))


def _value(lines: list[str], name: str) -> str:
    """Return what follows a name at the start of a line, or an empty text."""
    return next((line.removeprefix(name).strip() for line in lines if line.startswith(name)), "")


class Aedat2Recording(EventFile):
    """An AEDAT 2.0 file of a DVS128 or DAVIS. Samples of the DAVIS's frames are skipped."""

    def _open(self) -> None:
        _, lines, self._data_at = _read_header(self.path)
        if chip := _value(lines, "AEChip:"):
            self._is_dvs128 = any(name in chip.lower() for name in _DVS128)
            self.width, self.height = _size_of(chip)
            if not self.width:
                raise RecordingError(f"camera {chip}; expected one of {', '.join(_CAMERAS)}")
            return
        addresses = np.frombuffer(next(self._words(self._data_at, _RECORD_BYTES), b""), ">u4")[::2]
        self._is_dvs128 = bool((addresses < 1 << 16).all())
        if self._is_dvs128:
            self.width = self.height = 128

    def _blocks(self) -> Iterator[Block]:
        unroll = RollOver(32)
        for data in self._words(self._data_at, _RECORD_BYTES):
            address, us = np.frombuffer(data, ">u4").astype(np.uint32).reshape(-1, 2).T
            t = unroll(us.astype(np.int64)) * 1000
            yield self._dvs128(address, t) if self._is_dvs128 else self._davis(address, t)

    def _dvs128(self, address: np.ndarray, t: np.ndarray) -> Block:
        pixel, external = address < 1 << 15, (address >> 15) == 1
        a = address[pixel]
        events = self._events(a >> 1 & 0x7F, a >> 8 & 0x7F, t[pixel], a & 1 == 0)
        return Block(events, make_triggers(t[external], 0, True))

    def _davis(self, address: np.ndarray, t: np.ndarray) -> Block:
        of_frame = address >> 31 == 1
        if of_frame.any():
            self._note("samples of frames and IMU are skipped")
        # Bit 10 alone is an external input, with coordinates a noise event that v2e labels.
        external = (address & ~np.uint32(0x3FF)) == 1 << 10
        pixel = ~(of_frame | external)
        a = address[pixel]
        events = self._events(a >> 12 & 0x3FF, a >> 22 & 0x1FF, t[pixel], a >> 11 & 1 == 1)
        return Block(events, make_triggers(t[external], 0, address[external] & 7 != 2))

    def _events(self, x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray) -> np.ndarray:
        if self.width:  # the origin is the lower right corner; what lies outside the sensor stays there
            x, y = (self.width - 1 - x.astype(np.int32)), (self.height - 1 - y.astype(np.int32))
        return make_events(x.astype(np.uint16), y.astype(np.uint16), t, p)


class Aedat3Recording(EventFile):
    """An AEDAT 3.1 file. With several cameras, the topic of each is its name and number."""

    def _open(self) -> None:
        _, lines, self._data_at = _read_header(self.path)
        if (stated := _value(lines, "Format:")) not in ("", "RAW"):
            raise RecordingError(f"format {stated}; expected RAW (without compression)")
        matches = [re.fullmatch(r"Source (\d{1,5}): *(.*)", line) for line in lines]
        cameras = {int(match[1]): match[2] for match in matches if match}
        names = {number: f"/{re.sub(r'[^A-Za-z0-9]+', '_', name)}_{number}" for number, name in cameras.items()}
        chosen = self._choose_stream(names)
        self._source = chosen if len(names) > 1 else None  # None: any
        self.width, self.height = _size_of("" if chosen is None else cameras[chosen])
        self.frames_topic = FRAMES_TOPIC if next(self._packets(_FRAME), None) else None

    def _packets(self, *kinds: int) -> Iterator[tuple[np.void, bytes]]:
        """Yield the header and content of each packet of these kinds, up to where the file ends or is cut."""
        with self.path.open("rb") as file:
            length = file.seek(0, 2)
            at = file.seek(self._data_at)
            while at < length:
                head = file.read(_PACKET.itemsize)
                if len(head) < _PACKET.itemsize:
                    self._note(f"the file ends within a packet: its last {length - at} bytes are ignored")
                    return
                packet = np.frombuffer(head, _PACKET)[0]
                size, count = int(packet["size"]), int(packet["count"])
                is_frame, is_read = packet["kind"] == _FRAME, packet["kind"] in (_SPECIAL, _POLARITY, _FRAME)
                fits = size >= _FRAME_BYTES if is_frame else size == _RECORD_BYTES
                if count < 0 or (is_read and not fits):
                    raise RecordingError(f"the packet at byte {at} has {count} events of {size} bytes")
                if not 0 <= packet["overflow"] < _MOST_OVERFLOWS:
                    raise RecordingError(f"the packet at byte {at} has {packet['overflow']} roll-overs")
                end = at + _PACKET.itemsize + max(size, 0) * count
                if packet["kind"] in kinds and self._source in (None, int(packet["source"])):
                    data = file.read(max(0, min(end, length) - at - _PACKET.itemsize))
                    yield packet, data[: len(data) // size * size]
                if end > length:
                    self._note(f"the file ends within a packet: {end - length} of its bytes are missing")
                at = file.seek(end)

    def _blocks(self) -> Iterator[Block]:
        for packet, data in self._packets(_POLARITY, _SPECIAL):
            words = np.frombuffer(data, "<u4").reshape(-1, 2)
            words = words[words[:, 0] & 1 == 1]  # the others are invalid
            word, t = words[:, 0], _times(words[:, 1], packet)
            if packet["kind"] == _POLARITY:
                yield Block(make_events(word >> 17, word >> 2 & 0x7FFF, t, word >> 1 & 1))
            else:
                kinds = (word >> 1 & 0x7F).tolist()
                edges = [(t[i], *_EDGES[kind]) for i, kind in enumerate(kinds) if kind in _EDGES]
                yield Block(no_events(), np.array(edges, TRIGGER_DTYPE))

    def _frames(self) -> Iterator[Item]:
        for packet, data in self._packets(_FRAME):
            size = int(packet["size"])
            for at in range(0, len(data), size):
                part = data[at : at + size]
                info, *times = np.frombuffer(part, "<u4", 5)
                if not info & 1:
                    continue
                t = _times(np.array(times), packet)
                stamp = int(t[2] + t[3]) // 2  # the middle of the exposure
                channels = int(info) >> 1 & 7
                yield self._frame(stamp, partial(_image_of, channels, part), _ENCODINGS.get(channels, ""))


def _image_of(channels: int, data: bytes) -> np.ndarray:
    width, height = np.frombuffer(data, "<i4", 2, 20).tolist()
    count = width * height * channels
    if channels not in _ENCODINGS or min(width, height) < 1 or count > MAX_PIXELS:
        raise RecordingError(f"a frame of {width}x{height} pixels and {channels} channels")
    if _FRAME_BYTES + 2 * count > len(data):
        raise RecordingError(f"a frame of {width}x{height} pixels has {len(data)} bytes")
    pixels = np.frombuffer(data, "<u2", count, _FRAME_BYTES).astype(np.uint16, copy=False)
    return pixels.reshape(height, width, channels)


def _times(us: np.ndarray, packet: np.void) -> np.ndarray:
    """Return times in nanoseconds from 31 bits of microseconds and the packet's number of roll-overs."""
    return ((us & 0x7FFFFFFF).astype(np.int64) + (int(packet["overflow"]) << 31)) * 1000


_READERS: dict[str, type[EventFile]] = {"2.0": Aedat2Recording, "3.1": Aedat3Recording}
