"""Prophesee DAT files of pixel events: a text header, two bytes of type and size, then records of eight bytes.

https://docs.prophesee.ai/stable/data/file_formats/dat.html. A record holds 32 bits of microseconds, which roll over
after 71 minutes, then x (14 bits), y (14 bits) and the polarity. Times begin where the recording does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import RecordingError
from ..events import EVENT_DTYPE
from ..wire.word_stream import RollOver
from .event_file import Block, EventFile
from .prophesee_header import read_header, sensor_size

_RECORD_BYTES = 8
_CD_TYPES = (0x00, 0x0C)  # of pixel events


class DatRecording(EventFile):
    """A DAT file."""

    def _open(self) -> None:
        with self.path.open("rb") as file:
            fields = read_header(file)
            kind = file.read(2)
            self._data_at = file.tell()
        if fields.get("version", "2") != "2":
            raise RecordingError(f"DAT version {fields['version']}; expected 2")
        if len(kind) < 2 or kind[0] not in _CD_TYPES or kind[1] != _RECORD_BYTES:
            raise RecordingError(f"records of type and size {list(kind)}; expected pixel events: type 0 or 12, size 8")
        self.width, self.height = sensor_size(fields)

    def _blocks(self) -> Iterator[Block]:
        unroll = RollOver(32)
        for data in self._words(self._data_at, _RECORD_BYTES):
            us, words = np.frombuffer(data, "<u4").reshape(-1, 2).T
            events = np.empty(len(us), EVENT_DTYPE)
            events["t"] = unroll(us.astype(np.int64)) * 1000
            events["x"], events["y"], events["p"] = words & 0x3FFF, words >> 14 & 0x3FFF, words >> 28 & 1
            yield Block(events)
