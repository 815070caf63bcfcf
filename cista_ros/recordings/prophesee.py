"""Read Prophesee's files: RAW (EVT2, EVT2.1 or EVT3, the words of the sensor) and DAT (pixel events).

https://docs.prophesee.ai/stable/data/file_formats/raw.html and dat.html. Both begin with lines of "% name value".

Times of RAW are the sensor's own, in microseconds since it was switched on. EVT3 has 24 bits of them, so its times
begin somewhere in the first 16.8 s. A record of DAT has 32 bits of microseconds since the recording began, which roll
over after 71 minutes, then x (14 bits), y (14 bits) and the polarity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import RecordingError
from ..events import EVENT_DTYPE
from ..wire.evt2 import Evt2Decoder
from ..wire.evt3 import LAYOUT, TIME_HIGH, Evt3Encoder
from ..wire.ros_types import EVENT_PACKET, EventMessage, Message, PacketMessage
from ..wire.word_stream import PAYLOAD, RollOver, WordDecoder
from .event_file import Block, EventFile
from .recording import RecordingWriter

_LONGEST_HEADER = 1 << 16
_FORMATS = {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3"}  # as older headers give them
_WORD_BYTES = {"EVT2": 4, "EVT21": 8, "EVT3": 2}
# system_ID of cameras with a Gen 3 sensor, whose older headers state no size.
_GEN3 = frozenset({0x15, 0x17, 0x18, 0x19, 0x1B, 0x1C, 0x1D, 0x21, 0x22, 0x23, 0x24, 0x28, 0x29})
_PACKET_HIGHS = 8  # steps of EVT3's upper time, of 4.1 ms each, in one packet
_RECORD_BYTES = 8  # of DAT
_CD_TYPES = (0x00, 0x0C)  # of pixel events in DAT


def _read_header(file: IO[bytes]) -> dict[str, str]:
    """Return the values of a file's header by name, in lower case, and leave the file at the data behind it.

    Raises RecordingError if there is no header, or if it does not end.
    """
    head = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    at = 0
    while head[at : at + 2] == b"% ":
        end = head.find(b"\n", at)
        if end < 0:
            if len(head) == _LONGEST_HEADER or head[at:].isascii():
                raise RecordingError("the header does not end; expected lines of '% name value'")
            break
        line = head[at + 2 : end].strip()
        if not (line.isascii() and line.decode().isprintable()):
            break  # data that begin like a line
        at = end + 1
        name, _, value = line.decode().partition(" ")
        if name == "end":
            break
        fields.setdefault(name.lower(), value.strip())
    if not at:
        raise RecordingError("no header; expected lines of '% name value' (Prophesee RAW or DAT)")
    file.seek(at)
    return fields


def _sensor_size(fields: Mapping[str, str]) -> tuple[int, int]:
    """Return the (width, height) of a header, (0, 0) if it has none; raise RecordingError unless they are pixels."""
    width, _, height = fields.get("geometry", "").partition("x")
    width, height = fields.get("width", width), fields.get("height", height)
    if not width and not height:
        return 0, 0
    if not all(text.isascii() and text.isdigit() and 0 < len(text) < 5 and int(text) for text in (width, height)):
        raise RecordingError(f"the header states a size of {width!r} x {height!r}; expected pixels")
    return int(width), int(height)


class RawRecording(EventFile):
    """A RAW file. EVT3 is read as EventPackets of about 33 ms with the words of the file."""

    def _open(self) -> None:
        with self.path.open("rb") as file:
            fields = _read_header(file)
            self._data_at = file.tell()
        name, *options = fields.get("format", "").split(";")
        self._format = name or _FORMATS.get(fields.get("evt", ""), "")
        if self._format not in _WORD_BYTES:
            stated = f"the header states format {name or fields.get('evt')}"
            raise RecordingError(f"{stated}; expected {', '.join(_WORD_BYTES)}")
        fields |= dict(item.split("=", 1) for item in options if "=" in item)
        self._swapped = fields.get("endianness") == "legacy"
        if self._format == "EVT3":
            self.events_type = EVENT_PACKET
        self.width, self.height = _sensor_size(fields)
        plugin, system = fields.get("plugin_name", ""), fields.get("system_id", "")
        if self.width:
            return
        if "gen3" in plugin or (system.isascii() and system.isdigit() and int(system) in _GEN3):
            self.width, self.height = 640, 480
        elif "genx320" in plugin:
            self.width, self.height = 320, 320
        elif plugin or system:
            self.width, self.height = 1280, 720

    def _blocks(self) -> Iterator[Block]:
        evt2, evt3 = Evt2Decoder(self.packet_counts), WordDecoder(LAYOUT, self.packet_counts)
        for data in self._words(self._data_at, _WORD_BYTES[self._format]):
            if self._format == "EVT3":
                yield from _packets(evt3, np.frombuffer(data, "<u2"))
            elif self._format == "EVT2":
                yield Block(evt2.decode(np.frombuffer(data, "<u4")), evt2.take_triggers())
            else:
                halves = np.frombuffer(data, "<u4").reshape(-1, 2)[:, :: -1 if self._swapped else 1]
                masks, words = np.ascontiguousarray(halves.T)
                yield Block(evt2.decode(words, masks), evt2.take_triggers())


def _packets(decoder: WordDecoder, words: np.ndarray) -> Iterator[Block]:
    """Decode words in packets of 33 ms, which begin at a word with the upper part of the time."""
    high_at = np.flatnonzero(words >> 12 == TIME_HIGH)
    steps = (words[high_at] & PAYLOAD) // _PACKET_HIGHS
    for part in np.split(words, high_at[1:][steps[1:] != steps[:-1]]):
        events = decoder.decode(part)
        yield Block(events, decoder.take_triggers(), part)


class DatRecording(EventFile):
    """A DAT file."""

    def _open(self) -> None:
        with self.path.open("rb") as file:
            fields = _read_header(file)
            kind = file.read(2)
            self._data_at = file.tell()
        if fields.get("version", "2") != "2":
            raise RecordingError(f"DAT version {fields['version']}; expected 2")
        if len(kind) < 2 or kind[0] not in _CD_TYPES or kind[1] != _RECORD_BYTES:
            raise RecordingError(f"records of type and size {list(kind)}; expected pixel events: type 0 or 12, size 8")
        self.width, self.height = _sensor_size(fields)

    def _blocks(self) -> Iterator[Block]:
        unroll = RollOver(32)
        for data in self._words(self._data_at, _RECORD_BYTES):
            us, words = np.frombuffer(data, "<u4").reshape(-1, 2).T
            events = np.empty(len(us), EVENT_DTYPE)
            events["t"] = unroll(us.astype(np.int64)) * 1000
            events["x"], events["y"], events["p"] = words & 0x3FFF, words >> 14 & 0x3FFF, words >> 28 & 1
            yield Block(events)


class RawWriter(RecordingWriter):
    """Writes EVT3 RAW: evt3 packets as they are, other events encoded. It holds no images."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._encoder = Evt3Encoder()
        self._size: tuple[int, int] | None = None

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def write(self, received: int, message: Message) -> None:
        if not isinstance(message, EventMessage | PacketMessage):
            raise ValueError("Prophesee RAW holds no images or camera infos")
        if self._size is None:
            self._size = message.height, message.width
            size = f"height={message.height};width={message.width}"
            geometry = f"{message.width}x{message.height}"
            self._file.write(f"% evt 3.0\n% format EVT3;{size}\n% geometry {geometry}\n% end\n".encode())
        elif (message.height, message.width) != self._size:
            raise ValueError(f"the sensor's size changes to {message.width}x{message.height}")
        if isinstance(message, EventMessage):
            self._file.write(self._encoder.encode_packet(message.events, message.triggers)[0])
        elif message.encoding == "evt3":
            self._file.write(message.data.tobytes())
        else:
            raise ValueError(f"Prophesee RAW holds evt3, not a packet of encoding {message.encoding}")
