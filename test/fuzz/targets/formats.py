"""Files of events in the formats that this package decodes itself: valid ones with a few places changed.

Only RecordingError may be raised. A recording that opens has events, and DAT as many as it has records.
"""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np
import test_aedat
import test_aedat4
import test_hdf5
import test_prophesee
from bounds import Folder, expect
from source import Source, patched

from cista_ros.errors import DecodeError, RecordingError
from cista_ros.events import TRIGGER_DTYPE, make_events
from cista_ros.recordings import ecf, open_recording
from cista_ros.recordings.aedat4 import read_root
from cista_ros.wire.evt3 import Evt3Encoder
from cista_ros.wire.ros_types import EventMessage

MODULES = (
    "cista_ros.recordings.aedat",
    "cista_ros.recordings.aedat4",
    "cista_ros.recordings.arrays",
    "cista_ros.recordings.ecf",
    "cista_ros.recordings.event_file",
    "cista_ros.recordings.prophesee",
    "cista_ros.recordings.table",
    "cista_ros.wire.evt2",
)
_FOLDER = Folder("formats")
_COUNT = 12  # events of a file
NAMES = (
    "evt2",
    "evt21",
    "evt3",
    "dat",
    "aedat4",
    "aedat4-zstd",
    "aedat2",
    "aedat2-dvs128",
    "aedat3",
    "npy",
    "npz",
    "ecf",
)
SEEDS = [bytes([kind]) + b"\x02\x00\x30\x00\x00\x07" * n for kind in range(3 * len(NAMES)) for n in (0, 1)]


def of_kind(data: bytes, prefix: str) -> bytes:
    """Return the same input for the formats whose names begin so; `data` has at least a byte."""
    kinds = [kind for kind in range(3 * len(NAMES)) if NAMES[kind % len(NAMES)].startswith(prefix)]
    return bytes([kinds[data[0] % len(kinds)]]) + data[1:]


@cache
def _events() -> np.ndarray:
    t = (test_aedat4.START % 2**30 + np.arange(_COUNT) * 7001) * 1000
    return make_events(np.arange(_COUNT) * 5, np.arange(_COUNT) * 3, t, np.arange(_COUNT) % 2)


@cache
def _file(name: str) -> bytes:
    """Return a valid file of a format."""
    events, path = _events(), _FOLDER.path / "valid"
    triggers = np.array([(int(events["t"][3]), 1, True)], TRIGGER_DTYPE)
    us = events["t"] // 1000
    image = np.zeros((48, 64), np.uint8)
    if name in ("evt2", "evt21"):
        test_prophesee.write(path, name.upper(), events, triggers)
    elif name == "evt3":
        head = test_prophesee.HEADERS["EVT3"]
        path.write_bytes(head + Evt3Encoder().encode_packet(events, triggers)[0])
    elif name == "dat":
        test_prophesee.write_dat(path, events)
    elif name.startswith("aedat4"):
        packets = [(0, test_aedat4.events_packet(events)), (1, test_aedat4.frame_packet(int(us[2]), image))]
        packets.append((2, test_aedat4.triggers_packet((int(us[3]), 2))))
        test_aedat4.write(path, packets, compression=3 if name.endswith("zstd") else 0)
    elif name == "aedat2":
        path.write_bytes(
            test_aedat.HEAD_2 + test_aedat.DAVIS346 + test_aedat.records(test_aedat.davis(events, 346, 260), us)
        )
    elif name == "aedat2-dvs128":
        path.write_bytes(test_aedat.HEAD_2 + test_aedat.records(test_aedat.dvs128(events), us))
    elif name == "aedat3":
        special = struct.pack("<II", 2 << 1 | 1, int(us[3]))
        frame = test_aedat.frame(image, int(us[2]), int(us[2]) + 5)
        parts = test_aedat.packet(0, 8, special, 1), test_aedat.packet(2, len(frame), frame, 1)
        path.write_bytes(test_aedat.HEAD_3 + test_aedat.polarity(events) + b"".join(parts))
    elif name in ("npy", "npz"):
        out = io.BytesIO()
        columns = {"x": events["x"], "y": events["y"], "t": us, "p": events["p"]}
        if name == "npz":
            np.savez_compressed(out, **columns, images=image[None], images_ts=np.array([us[2] / 1e6]))
        else:
            np.save(out, np.stack(list(columns.values()), 1))
        path.write_bytes(out.getvalue())
    return path.read_bytes() if name != "ecf" else test_hdf5.ecf_chunk(events, 0)


def check(data: bytes) -> None:
    """Read a damaged file; only RecordingError may be raised (DecodeError for a chunk of ECF and a FlatBuffer)."""
    source = Source(data)
    kind = source.number()
    name = NAMES[kind % len(NAMES)]
    if name == "ecf":
        chunk = test_hdf5.ecf_chunk(_events(), kind // len(NAMES) % 3)
        damaged = patched(chunk, source)
        expect(DecodeError, lambda: len(ecf.decode_chunk(damaged)))
        expect(DecodeError, lambda: [table.number(0, "q") for table in read_root(damaged, b"TRIG").tables(0)])
        return
    content = patched(_file(name), source)
    path = _FOLDER.write("a" + (".npz" if name == "npz" else ".bin"), content)
    expect(RecordingError, lambda: _read(path, name, content))


def _read(path: object, name: str, content: bytes) -> None:
    with open_recording(path) as recording:
        assert recording.height > 0 and recording.width > 0
        total = 0
        for recorded in recording.read():
            message = recorded.message
            if isinstance(message, EventMessage):
                total += len(message.events)
            else:
                assert message.image.size
        assert total, "opened without an event"
        if name == "dat" and content.startswith(whole := test_prophesee.DAT + b"\x0c\x08"):
            assert total == (len(content) - len(whole)) // 8
        stamps = recording.frame_stamps()
        assert stamps.dtype == np.int64
