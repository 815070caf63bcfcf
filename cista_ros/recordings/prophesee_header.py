"""The text header of Prophesee's RAW and DAT files: lines of "% name value"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from ..errors import RecordingError

_LONGEST = 1 << 16  # bytes of a header


def read_header(file: IO[bytes]) -> dict[str, str]:
    """Return the values of a file's header by name, in lower case, and leave the file at the data behind it.

    Raises RecordingError if there is no header, or if it does not end.
    """
    head = file.read(_LONGEST)
    if not head:
        raise RecordingError("the file is empty")
    fields: dict[str, str] = {}
    at = 0
    while head[at : at + 2] == b"% ":
        end = head.find(b"\n", at)
        if end < 0:
            if len(head) == _LONGEST or head[at:].isascii():
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


def sensor_size(fields: Mapping[str, str]) -> tuple[int, int]:
    """Return the (width, height) of a header, (0, 0) if it has none; raise RecordingError unless they are pixels."""
    width, _, height = fields.get("geometry", "").partition("x")
    width, height = fields.get("width", width), fields.get("height", height)
    if not width and not height:
        return 0, 0
    if not all(text.isascii() and text.isdigit() and 0 < len(text) < 5 and int(text) for text in (width, height)):
        raise RecordingError(f"the header states a size of {width!r} x {height!r}; expected pixels")
    return int(width), int(height)
