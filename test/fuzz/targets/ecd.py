"""ECD text as a folder and as a zip: any content of its files, names in images.txt, and archives with places changed.

What is read must be what a plain parser reads, line by line; RecordingError is all that may be raised.
"""

from __future__ import annotations

import io
import re
import zipfile
from functools import cache

import cv2
import numpy as np
from bounds import expect
from files import Folder
from source import Source, patched

from cista_ros.errors import DecodeError, RecordingError
from cista_ros.events import NS
from cista_ros.recordings import open_recording
from cista_ros.recordings.event_text import format_events, parse, read_blocks
from cista_ros.wire.ros_types import EventMessage

MODULES = (
    "cista_ros.recordings.ecd_text",
    "cista_ros.recordings.event_text",
    "cista_ros.recordings.image_file",
    "cista_ros.recordings.recording",
)
_EVENTS = b"1.000000001 3 4 1\n1.1 0 0 0\n1.2 23 17 1\n3.5 2 2 0\n"
_IMAGES = b"1.05 images/a.png\n1.5 images/b.jpg\n"
_CALIB = b"20 21 12.5 9.25 -0.1 0.09 -0.0003 0.00017 0\n"
_LINE = re.compile(rb"\s*([0-9]{1,10})\.([0-9]+)\s+([0-9]{1,5})\s+([0-9]{1,5})\s+([01])\s*")
_FOLDER = Folder("ecd")


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
    """The parser against lines taken one by one."""
    wanted: list[tuple[int, int, int, bool]] | None = []
    for line in text.splitlines() or []:
        match = _LINE.fullmatch(line)
        if not line.strip():
            continue
        if not match or int(match[1]) > 2**63 // NS - 2 or max(int(match[3]), int(match[4])) > 0xFFFF:
            wanted = None
            break
        t = int(match[1]) * NS + int(match[2][:9].ljust(9, b"0"))
        wanted.append((t, int(match[3]), int(match[4]), match[5] == b"1"))
    try:
        found = [tuple(row) for part in read_blocks(io.BytesIO(text), block) for row in part.tolist()]
    except DecodeError:
        assert wanted is None, "lines that are events are refused"
        return
    assert wanted is not None, "a line that is no event is read"
    assert found == wanted
    if found:
        whole = parse(text if text.endswith(b"\n") else text + b"\n")
        assert (parse(b"".join(format_events(whole))) == whole).all()
