"""Compare files with what public readers make of them: as they are, as MCAP, and converted on to RAW and HDF5.

    python benchmarks/recordings/compare.py FILE ... --readers PYTHON

PYTHON is an interpreter with the readers, and without this package:
`pip install numpy h5py expelliarmus==1.1.12 evt3==0.4.1 aedat==2.3.0`. Every event is compared in column, row,
time and polarity, and every trigger and frame that the reader returns. Results go to `comparison` in reading.json.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).with_name("reading.json")


def public_reader(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Return a reader's name, and what it reads: x, y, t in ns, p; trigger_t, trigger_p; frame_t, frames."""
    suffix = path.suffix
    if path.is_dir():
        return bag_reader(path)
    if suffix == ".raw" and b"evt 2.0" not in path.read_bytes()[:1000]:
        import evt3

        events, triggers = evt3.decode_file_with_triggers(str(path))
        found = {"x": events.x, "y": events.y, "t": events.timestamp, "p": events.polarity}
        return "evt3", in_ns(found | {"trigger_t": triggers.timestamp, "trigger_p": triggers.value})
    if suffix in (".raw", ".dat"):
        from expelliarmus import Wizard

        events = Wizard(encoding="evt2" if suffix == ".raw" else "dat").read(path)
        return "expelliarmus", in_ns({name: events[name] for name in "xytp"})
    if suffix == ".aedat4":
        import aedat

        parts: dict[str, list[Any]] = {"events": [], "trigger_t": [], "trigger_p": [], "frame_t": [], "frames": []}
        for packet in aedat.Decoder(str(path)):
            if "events" in packet:
                parts["events"].append(packet["events"])
            if "frame" in packet:
                parts["frame_t"].append(packet["frame"]["t"])
                parts["frames"].append(packet["frame"]["pixels"])
            for trigger in packet.get("triggers", ()):
                if trigger["source"] in (1, 2):  # external edges, rising and falling; others are of the camera's frames
                    parts["trigger_t"].append(trigger["t"])
                    parts["trigger_p"].append(trigger["source"] == 1)
        events = np.concatenate(parts.pop("events"))
        found = {name: np.array(values) for name, values in parts.items()}
        events = {name: events[field] for name, field in zip("xytp", ("x", "y", "t", "on"), strict=True)}
        return "aedat", in_ns(found | events)
    import h5py

    with h5py.File(path) as file:
        group = file["events" if "events" in file else "raw_events"]
        found = {name: group[name][()] for name in "xytp"}
        start = file["t_offset"][()] if "t_offset" in file else 0
    is_float = found["t"].dtype.kind == "f"
    t = np.rint(found["t"] * 1e9).astype(np.int64) if is_float else (found["t"] + start) * 1000
    return "h5py", found | {"t": t, "p": found["p"] > 0}


def in_ns(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with times that are in microseconds now."""
    return {
        name: column.astype(np.int64) * 1000 if name.split("_")[-1] == "t" else column for name, column in found.items()
    }


def bag_reader(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The EVT3 packets of a rosbag2 (sqlite3) as one RAW file."""
    with closing(sqlite3.connect(next(path.glob("*.db3")))) as bag, tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "a.raw"
        rows = bag.execute("SELECT data FROM messages ORDER BY timestamp")
        packets = b"".join(packet_payload(message) for (message,) in rows)
        raw.write_bytes(b"% evt 3.0\n% format EVT3;height=480;width=640\n% end\n" + packets)
        name, found = public_reader(raw)
    return f"sqlite3, {name}", found


def packet_payload(message: bytes) -> bytes:
    """The last field of an EventPacket in CDR, after its encoding and byte order: a length and the bytes."""
    at = message.index(b"evt3\0") + 6
    at += -at % 4
    return message[at + 4 : at + 4 + int.from_bytes(message[at : at + 4], "little")]


def contents(path: Path) -> dict[str, np.ndarray]:
    """What this package reads, in the same form."""
    from cista_ros.events import concatenate
    from cista_ros.recordings import open_recording
    from cista_ros.wire.ros_types import EventMessage, ImageMessage

    with open_recording(path) as recording:
        messages = [recorded.message for recorded in recording.read()]
    event_messages = [message for message in messages if isinstance(message, EventMessage)]
    events = concatenate([message.events for message in event_messages])
    triggers = np.concatenate([message.triggers for message in event_messages])
    frames = [message for message in messages if isinstance(message, ImageMessage)]
    return {
        **{name: events[name] for name in "xytp"},
        "trigger_t": triggers["t"],
        "trigger_p": triggers["p"],
        "frame_t": np.array([frame.stamp for frame in frames], np.int64),
        "frames": np.array([frame.image for frame in frames]),
    }


def difference(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], shift: int = 0) -> str:
    """Say how many of the wanted events, triggers and frames are identical.

    The wanted events are sorted by time first, and `shift` ns are added to their times and those of triggers.
    """
    order = np.argsort(wanted["t"].astype(np.int64), kind="stable")
    wanted = {name: column[order] if len(name) == 1 else column for name, column in wanted.items()}
    said = []
    for what, names in (
        ("events", "xytp"),
        ("triggers", ("trigger_t", "trigger_p")),
        ("frames", ("frame_t", "frames")),
    ):
        if not found.keys() & wanted.keys() & set(names):
            continue  # one of the two has none by its format
        count = len(wanted[names[0]])
        if len(found[names[0]]) != count:
            said.append(f"{len(found[names[0]])} {what} instead of {count}")
        elif count:
            same = np.ones(count, np.bool_)
            for name in names:
                column = wanted[name].astype(np.int64) + (shift if name in ("t", "trigger_t") else 0)
                same &= (found[name].astype(np.int64) == column).reshape(count, -1).all(1)
            said.append(f"{np.count_nonzero(same)} of {count} {what} identical")
    return ", ".join(said)


def read_elsewhere(python: str, path: Path, folder: Path) -> tuple[str, dict[str, np.ndarray]]:
    out = folder / "reference.npz"
    command = [python, __file__, "--child", str(path), str(out)]
    name = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    with np.load(out) as file:
        return name, dict(file)


def compare(path: Path, python: str) -> dict[str, Any]:
    from cista_ros.recordings import open_recording
    from cista_ros.recordings.convert import convert

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        reader, wanted = read_elsewhere(python, path, folder)
        result: dict[str, Any] = {"reader": reader, "as it is": difference(contents(path), wanted)}
        with open_recording(path) as recording:
            convert(recording, folder / "mcap", "ros2-mcap")
        result["as MCAP"] = difference(contents(folder / "mcap"), wanted)
        wanted = {name: column for name, column in wanted.items() if not name.startswith("frame")}
        result["times cut to microseconds"] = int(np.count_nonzero(wanted["t"] % 1000))
        wanted["t"] = wanted["t"] // 1000 * 1000
        for name, format in (("a.raw", "raw"), ("a.h5", "hdf5")):
            with open_recording(folder / "mcap") as recording:
                convert(recording, folder / name, format, frames=False, lossy=True)
            reader, back = read_elsewhere(python, folder / name, folder)
            # The times of EVT3 have 24 bits.
            shift = int(back["t"].min()) - int(wanted["t"].min()) if format == "raw" else 0
            moved = f", times {-shift / 1e9:.6f} s earlier" if shift else ""
            result[f"as MCAP, then {format.upper()}, by {reader}"] = difference(back, wanted, shift) + moved
            wanted = {name: column for name, column in wanted.items() if not name.startswith("trigger")}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--readers", metavar="PYTHON")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, found = public_reader(arguments.child[0])
        np.savez(arguments.child[1], **found)  # type: ignore[arg-type]
        print(name)
        return
    sys.path[:0] = [str(Path(__file__).parents[2])]
    command = "python benchmarks/recordings/compare.py FILE ... --readers PYTHON"
    results: dict[str, Any] = {"command": command, "date": time.strftime("%Y-%m-%d")}
    for path in arguments.files:
        results[path.name] = compare(path, arguments.readers)
        print(path.name, json.dumps(results[path.name]), flush=True)
    OUT.write_text(json.dumps(json.loads(OUT.read_text()) | {"comparison": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
