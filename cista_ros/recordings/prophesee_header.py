"""The text header of Prophesee's RAW and DAT files: lines of "% name value"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import RecordingError

_LONGEST = 1 << 16  # bytes of a header


@dataclass(frozen=True)
class Header:
    """A header: its values by name, names in lower case, and the bytes that it takes."""

    path: Path
    fields: dict[str, str]
    size: int

    def size_of_sensor(self, width: str, height: str) -> tuple[int, int]:
        """Return (width, height); raises RecordingError unless they are two whole numbers of pixels."""
        if not all(text.isascii() and text.isdigit() and 0 < len(text) < 5 and int(text) for text in (width, height)):
            raise RecordingError(f"{self.path}: the header states a size of {width!r} x {height!r}; expected pixels")
        return int(width), int(height)


def read_header(file: IO[bytes], path: Path) -> Header:
    """Read the header of a file and leave the file at the data behind it.

    Raises RecordingError if there is no header, or if it does not end.
    """
    head = file.read(_LONGEST)
    if not head:
        raise RecordingError(f"{path}: the file is empty")
    fields: dict[str, str] = {}
    at = 0
    while head[at : at + 2] == b"% ":
        end = head.find(b"\n", at)
        if end < 0:
            if len(head) == _LONGEST or head[at:].isascii():
                raise RecordingError(f"{path}: the header does not end; expected lines of '% name value'")
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
        raise RecordingError(f"{path}: no header; expected lines of '% name value' (Prophesee RAW or DAT)")
    file.seek(at)
    return Header(path, fields, at)
