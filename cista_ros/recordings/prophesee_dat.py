"""Prophesee DAT files of pixel events: a text header, two bytes of type and size, then records of eight bytes.

https://docs.prophesee.ai/stable/data/file_formats/dat.html. A record holds 32 bits of microseconds, which roll over
after 71 minutes, then x (14 bits), y (14 bits) and the polarity. Times begin where the recording does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import RecordingError
from ..events import EVENT_DTYPE
from .event_file import Block, EventFile, RollOver, read_words
from .prophesee_header import read_header
from .recording import ReadOptions

_RECORD_BYTES = 8
_CD_TYPES = (0x00, 0x0C)  # of pixel events


def open_file(path: Path, options: ReadOptions) -> DatRecording:
    """Open a DAT file; raises RecordingError."""
    return DatRecording(path, options)


class DatRecording(EventFile):
    """A DAT file."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        with self._reading(), path.open("rb") as file:
            header = read_header(file, path)
            kind = file.read(2)
        fields = header.fields
        if fields.get("version", "2") != "2":
            raise RecordingError(f"{path}: DAT version {fields['version']}; expected 2")
        if len(kind) < 2 or kind[0] not in _CD_TYPES or kind[1] != _RECORD_BYTES:
            raise RecordingError(
                f"{path}: records of type and size {list(kind)}; expected pixel events: type 0 or 12, size 8"
            )
        self._data_at = header.size + 2
        width, _, height = fields.get("geometry", "").partition("x")
        width, height = fields.get("width", width), fields.get("height", height)
        if width or height:
            self.width, self.height = header.size_of_sensor(width, height)
        else:
            self._measure_sensor()
        self._finish_open()

    def _blocks(self) -> Iterator[Block]:
        unroll = RollOver()
        with self.path.open("rb") as file:
            file.seek(self._data_at)
            for data in read_words(file, _RECORD_BYTES):
                if cut := len(data) % _RECORD_BYTES:
                    self._note(f"the file ends within an event: its last {cut} bytes are ignored")
                records = np.frombuffer(data, "<u4", len(data) // _RECORD_BYTES * 2).reshape(-1, 2)
                us = unroll(records[:, 0].astype(np.int64))
                events = np.empty(len(us), EVENT_DTYPE)
                words = records[:, 1]
                events["t"], events["x"], events["y"] = us * 1000, words & 0x3FFF, (words >> 14) & 0x3FFF
                events["p"] = (words >> 28) & 1
                yield Block(events)
