"""Text as a folder and as a zip: any content of its files, names in images.txt, and damaged archives.

Events must be those of a plain parser, line by line. Only RecordingError may be raised.
"""

from __future__ import annotations

import io
import re
import zipfile
from functools import cache

import cv2
import numpy as np
from bounds import Folder, expect
from source import Source, patched

from cista_ros.errors import DecodeError, RecordingError
from cista_ros.events import NS
from cista_ros.recordings import open_recording
from cista_ros.recordings.event_text import parse, read_blocks
from cista_ros.recordings.write import format_events
from cista_ros.wire.ros_types import EventMessage

MODULES = (
    "cista_ros.recordings.text",
    "cista_ros.recordings.event_text",
    "cista_ros.recordings.image_file",
    "cista_ros.recordings.recording",
    "cista_ros.recordings.event_file",
)
_EVENTS = b"1.000000001 3 4 1\n1.1 0 0 0\n1.2 23 17 1\n3.5 2 2 0\n"
_IMAGES = b"1.05 images/a.png\n1.5 images/b.jpg\n"
_CALIB = b"20 21 12.5 9.25 -0.1 0.09 -0.0003 0.00017 0\n"
_SECONDS = re.compile(rb"([0-9]{1,19})(?:\.([0-9]*))?")
_FOLDER = Folder("text")


def _piece(data: bytes) -> bytes:
    return len(data).to_bytes(2, "little") + data


SEEDS = [
    bytes([flags]) + b"".join(map(_piece, (_EVENTS, _IMAGES, _CALIB, b"24 18\n"))) + b"\x01\x00\x05\x00\x00\x07" * n
    for flags in range(8)
    for n in (0, 1)
]


@cache
def _pictures() -> tuple[bytes, bytes]:
    image = np.arange(18 * 24, dtype=np.uint8).reshape(18, 24)
    return cv2.imencode(".png", image)[1].tobytes(), cv2.imencode(".jpg", np.dstack([image] * 3))[1].tobytes()


def check(data: bytes) -> None:
    """Read a recording made of the input."""
    source = Source(data)
    flags = source.number()
    events, images, calibration, size = (source.piece() for _ in range(4))
    _check_parser(events, 1 + source.number(1))
    png, jpeg = _pictures()
    if flags & 8:
        png = patched(png, source)
    if flags & 16:
        jpeg = patched(jpeg, source)
    files = {"events.txt": events, "images/a.png": png, "images/b.jpg": jpeg}
    if not flags & 2:
        files["images.txt"] = images
    if not flags & 4:
        files["calib.txt"] = calibration
    if flags & 32:
        files["size.txt"] = size
    if flags & 1:
        path = _FOLDER.write("a.zip", patched(_zip(files, source), source))
    else:
        path = _FOLDER.write_all("a", files)
    expect(RecordingError, lambda: _read(path, flags))


def _zip(files: dict[str, bytes], source: Source) -> bytes:
    out = io.BytesIO()
    below = source.pick(("", "a/", "../", "/", "a/b/"))
    with zipfile.ZipFile(
        out, "w", source.pick((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    ) as archive:
        for name, content in files.items():
            archive.writestr(below + name, content)
    return out.getvalue()


def _read(path: object, flags: int) -> None:
    with open_recording(path) as recording:
        start = 0.1 if flags & 64 else None
        for recorded in recording.read(start, frames=not flags & 128):
            if isinstance(recorded.message, EventMessage):
                assert len(recorded.message.events)
        assert (np.diff(recording.frame_stamps(start)) is not None) and recording.height and recording.width


def _check_parser(text: bytes, block: int) -> None:
    """Compare the parser with one that reads line by line."""
    wanted: list[tuple[int, int, int, bool]] | None = []
    for line in text.split(b"\n"):
        fields = line.translate(bytes.maketrans(b",;\t\r", b"    ")).split(b" ")
        fields = [field for field in fields if field]
        if b"\0" not in line and (not fields or fields[0][:1] in (b"#", b"%")):
            continue
        if b"\0" in line or (event := _event(fields)) is None:
            wanted = None
            break
        wanted.append(event)
    try:
        found = [tuple(row) for part in read_blocks(io.BytesIO(text), size=block) for row in part.tolist()]
    except DecodeError as error:
        longest_line, longest_field = (max(map(len, re.split(by, text))) for by in (b"\n", b"[ ,;\t\r\n]"))
        assert wanted is None or "bytes without" in str(error) or longest_line > 4096 or longest_field > 64, error
        return
    assert wanted is not None, "a line that is not an event is read"
    assert found == wanted
    if found:
        whole = parse(text if text.endswith(b"\n") else text + b"\n")
        assert (parse(b"".join(format_events(whole))) == whole).all()


def _event(fields: list[bytes]) -> tuple[int, int, int, bool] | None:
    """Return (t, x, y, p) of the fields of a line; None if they are not an event."""
    if len(fields) < 4 or fields[0].startswith(b"."):
        return None
    try:
        x, y, p = (float(field) for field in fields[1:4])
        if match := _SECONDS.fullmatch(fields[0]):
            t = int(match[1]) * NS + int((match[2] or b"")[:9].ljust(9, b"0"))
        else:
            t = round(float(fields[0]) * NS)
        valid = int(match[1]) <= 2**63 // NS - 2 if match else 0 <= t < (2**63 // NS - 2) * NS
    except (ValueError, OverflowError):
        return None
    whole = x == int(x) and y == int(y) and p == int(p)
    return (
        (t, int(x), int(y), p > 0)
        if valid and whole and 0 <= min(x, y) <= max(x, y) <= 0xFFFF and abs(p) <= 1
        else None
    )
