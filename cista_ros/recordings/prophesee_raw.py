"""Prophesee RAW files of EVT2, EVT2.1 or EVT3: a text header, then the words as they come from the sensor.

https://docs.prophesee.ai/stable/data/file_formats/raw.html. Times are the sensor's own: microseconds since it was
switched on, of which EVT3 knows 24 bits, so that there time begins somewhere in the first 16.8 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import RecordingError
from ..wire.evt2 import Evt2Decoder
from ..wire.evt3 import LAYOUT, TIME_HIGH, Evt3Encoder
from ..wire.ros_types import EVENT_PACKET, EventMessage, Message, PacketMessage
from ..wire.word_stream import PAYLOAD, WordDecoder
from .event_file import Block, EventFile
from .prophesee_header import read_header, sensor_size
from .recording import RecordingWriter

_FORMATS = {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3"}  # as older headers give them
_WORD_BYTES = {"EVT2": 4, "EVT21": 8, "EVT3": 2}
# system_ID of cameras with a Gen 3 sensor, whose older headers state no size.
_GEN3 = frozenset({0x15, 0x17, 0x18, 0x19, 0x1B, 0x1C, 0x1D, 0x21, 0x22, 0x23, 0x24, 0x28, 0x29})
_PACKET_HIGHS = 8  # steps of EVT3's upper time, of 4.1 ms each, in one packet


class RawRecording(EventFile):
    """A RAW file. EVT3 comes as EventPackets of about 33 ms that hold the words of the file."""

    def _open(self) -> None:
        with self.path.open("rb") as file:
            fields = read_header(file)
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
        self.width, self.height = sensor_size(fields)
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
        evt2, evt3 = Evt2Decoder(), WordDecoder(LAYOUT)
        decoder = evt3 if self._format == "EVT3" else evt2
        for data in self._words(self._data_at, _WORD_BYTES[self._format]):
            if self._format == "EVT3":
                yield from _packets(evt3, np.frombuffer(data, "<u2"))
            elif self._format == "EVT2":
                yield Block(evt2.decode(np.frombuffer(data, "<u4")), evt2.take_triggers())
            else:
                halves = np.frombuffer(data, "<u4").reshape(-1, 2)[:, :: -1 if self._swapped else 1]
                masks, words = np.ascontiguousarray(halves.T)
                yield Block(evt2.decode(words, masks), evt2.take_triggers())
            counts = self.packet_counts
            counts.unplaced_events, counts.unknown_words = decoder.unplaced_events, decoder.unknown_words


def _packets(decoder: WordDecoder, words: np.ndarray) -> Iterator[Block]:
    """Decode words in packets that begin where the upper part of the time passes a multiple of 33 ms."""
    high_at = np.flatnonzero(words >> 12 == TIME_HIGH)
    steps = (words[high_at] & PAYLOAD) // _PACKET_HIGHS
    for part in np.split(words, high_at[1:][steps[1:] != steps[:-1]]):
        events = decoder.decode(part)
        yield Block(events, decoder.take_triggers(), part)


class RawWriter(RecordingWriter):
    """Writes EVT3 RAW: evt3 packets as they are, other events encoded. It holds no images."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._encoder = Evt3Encoder()
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> RawWriter:
        return self

    def __exit__(self, *_: object) -> None:
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
