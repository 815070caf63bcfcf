"""Measure how fast each format is read, and whether memory grows with the length of the file.

    python benchmarks/recordings/reading.py [NAME ...] [--events N] [--gigabytes G] [--out FILE]

writes recordings of generated events (rows of 1 to 8 neighbouring pixels on 640x480, 10 million events per second),
reads each in a process of its own through `open_recording`, and writes a json file. Speed is in events per second of
CPU time (opening included, imports not), the best of three; `--events 0` keeps those of an earlier run. Memory is the
peak of the resident set, for a file of G/10 and one of G gigabytes.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "test"), str(ROOT / "test" / "recordings")]

from cista_ros.events import EVENT_DTYPE, make_events  # noqa: E402
from cista_ros.recordings import open_recording  # noqa: E402
from cista_ros.wire.ros_types import EventMessage  # noqa: E402

OUT = Path(__file__).with_suffix(".json")
BLOCK = 1_000_000  # events encoded at once
WIDTH, HEIGHT = 640, 480
START_US = 1_000_000_000
SPAN_US = 25 << 12  # of a block; whole units of the upper bits of EVT2's and EVT3's times
ECF_CHUNK = 1 << 14  # events


@cache
def bursts() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Time (µs), first column, row, polarity and length of the bursts (N,) of one block."""
    rng = np.random.default_rng(0)
    length = rng.integers(1, 9, BLOCK // 4)
    length = length[np.cumsum(length) <= BLOCK]
    n = len(length)
    t = np.sort(rng.integers(0, SPAN_US, n))
    return t, rng.integers(0, WIDTH - 8, n), rng.integers(0, HEIGHT, n), rng.random(n) < 0.5, length


@cache
def first_block() -> np.ndarray:
    t, x, y, p, length = bursts()
    column = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return make_events(np.repeat(x, length) + column, *(np.repeat(a, length) for a in (y, (START_US + t) * 1000, p)))


def blocks(count: int) -> Iterator[np.ndarray]:
    for i in range(count):
        events = first_block().copy()
        events["t"] += i * SPAN_US * 1000
        yield events


@cache
def evt2_block() -> tuple[np.ndarray, np.ndarray]:
    """The words (N,) of the first block, and where those with the upper bits of times are."""
    events = first_block()
    us = events["t"] // 1000
    words = (
        events["p"].astype("<u4") << 28 | (us & 63).astype("<u4") << 22 | events["x"].astype("<u4") << 11 | events["y"]
    )
    new = np.flatnonzero(np.diff(us >> 6, prepend=-1))
    return np.insert(words, new, (us[new] >> 6) | 0x8 << 28), new + np.arange(len(new))


def write_evt2(path: Path, count: int) -> None:
    words, high = evt2_block()
    with path.open("wb") as file:
        file.write(b"% evt 2.0\n% geometry 640x480\n% end\n")
        for i in range(count):
            later = words.copy()
            later[high] += i * SPAN_US >> 6
            file.write(later.tobytes())


@cache
def evt3_block() -> tuple[np.ndarray, np.ndarray]:
    """As evt2_block: time, row, base and a vector of 12 pixels for each burst."""
    t, x, y, p, length = bursts()
    us = START_US + t
    words = [0x8000 | us >> 12 & 0xFFF, 0x6000 | us & 0xFFF, y, 0x3000 | p << 11 | x, 0x4000 | (1 << length) - 1]
    wanted = np.ones((len(t), 5), np.bool_)
    wanted[1:, 0], wanted[1:, 1] = np.diff(us >> 12) > 0, np.diff(us) > 0
    flat = np.stack(words, 1)[wanted].astype("<u2")
    return flat, np.flatnonzero(flat >> 12 == 8)


def write_evt3_vectors(path: Path, count: int) -> None:
    """A sensor of the fourth generation."""
    words, high = evt3_block()
    with path.open("wb") as file:
        file.write(b"% format EVT3;height=480;width=640\n% end\n")
        for i in range(count):
            later = words.copy()
            later[high] = 0x8000 | words[high] + i * (SPAN_US >> 12) & 0xFFF
            file.write(later.tobytes())


def write_dat(path: Path, count: int) -> None:
    with path.open("wb") as file:
        file.write(b"% Data file\n% Version 2\n% Width 640\n% Height 480\n\x0c\x08")
        for events in blocks(count):
            place = events["p"].astype("<u4") << 28 | events["y"].astype("<u4") << 14 | events["x"]
            file.write(np.stack([events["t"] // 1000, place], 1).astype("<u4").tobytes())


def write_aedat4(path: Path, count: int) -> None:
    """Packets of 10 ms, compressed by LZ4."""
    import test_aedat4

    with path.open("wb") as file:
        file.write(test_aedat4.header([("EVTS", "events", WIDTH, HEIGHT)], compression=1))
        for events in blocks(count):
            for part in np.array_split(events, 10):
                rows = np.zeros(len(part), EVENT_DTYPE)
                rows["t"], rows["x"], rows["y"], rows["p"] = part["t"] // 1000, part["x"], part["y"], part["p"]
                packet = test_aedat4.PACK[1](test_aedat4.buffer(b"EVTS", [(len(rows), rows.tobytes())]))
                file.write(struct.pack("<ii", 0, len(packet)) + packet)


def write_ecf(path: Path, count: int) -> None:
    """Only the first time of its chunks differs from one block to the next."""
    import h5py
    import test_hdf5

    size = ECF_CHUNK
    events = first_block()[: len(first_block()) // size * size]
    test_hdf5.prophesee(path, events[:0], size=size)
    chunks = [test_hdf5.ecf_chunk(part, 0) for part in np.split(events, len(events) // size)]
    with h5py.File(path, "r+") as file:
        table = file["CD/events"]
        table.resize((count * len(events),))
        for i in range(count * len(chunks)):
            chunk = chunks[i % len(chunks)]
            (us,) = struct.unpack_from("<q", chunk, 4)
            us += i // len(chunks) * SPAN_US
            table.id.write_direct_chunk((i * size,), chunk[:4] + struct.pack("<q", us) + chunk[12:])


def digits(numbers: np.ndarray, places: int) -> np.ndarray:
    """Numbers (N,) as digits (N, places), after zero bytes."""
    shown = numbers[:, None] // 10 ** np.arange(places - 1, -1, -1)
    text = (shown % 10 + ord("0")).astype(np.uint8)
    text[:, :-1][shown[:, :-1] == 0] = 0
    return text


def write_csv(path: Path, count: int, order: str = "xypt") -> None:
    """Columns in microseconds; in the order "txyp" in seconds."""
    from cista_ros.recordings.write import format_events

    with path.open("wb") as file:
        file.write(b"x,y,p,t\n" if order == "xypt" else b"t,x,y,p\n")
        for events in blocks(count):
            if order == "txyp":
                file.write(b"".join(format_events(events)).replace(b" ", b","))
                continue
            comma, end = (np.full((len(events), 1), ord(c), np.uint8) for c in ",\n")
            x, y, p = digits(events["x"], 3), digits(events["y"], 3), digits(events["p"].astype(np.int64), 1)
            text = np.concatenate([x, comma, y, comma, p, comma, digits(events["t"] // 1000, 12), end], 1)
            file.write(text[text != 0].tobytes())


def write_npz(path: Path, count: int, compression: int = zipfile.ZIP_STORED) -> None:
    kinds = {"x": np.uint16, "y": np.uint16, "t": np.int64, "p": np.bool_}
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, kind in kinds.items():
            head = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (count * len(first_block()),)}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, head)
                for events in blocks(count):
                    file.write((events[name] // 1000 if name == "t" else events[name]).astype(kind).tobytes())


def write_ours(path: Path, count: int, format: str, encoding: str = "") -> None:
    """What `cista convert` writes, in messages of 10 ms."""
    from cista_ros.recordings.write import write_recording
    from cista_ros.wire.event_packet import PacketEncoder

    encoder = PacketEncoder(encoding) if encoding else None
    with write_recording(path, format) as writer:
        for i, events in enumerate(blocks(count)):
            for k, part in enumerate(np.array_split(events, 10)):
                message = EventMessage(int(part["t"][0]), "", HEIGHT, WIDTH, part)
                last = int(part["t"][-1])
                writer.write(last, encoder.encode(message, 10 * i + k) if encoder else message)


Writer = Callable[[Path, int], None]
FORMATS: dict[str, tuple[str, Writer]] = {
    "EVT2": ("a.raw", write_evt2),
    "EVT3": ("a.raw", lambda path, count: write_ours(path, count, "raw")),
    "EVT3 vectors": ("a.raw", write_evt3_vectors),
    "DAT": ("a.dat", write_dat),
    "AEDAT4 LZ4": ("a.aedat4", write_aedat4),
    "HDF5 DSEC gzip": ("a.h5", lambda path, count: write_ours(path, count, "hdf5")),
    "HDF5 ECF": ("a.hdf5", write_ecf),
    "csv xypt": ("a.csv", write_csv),
    "csv txyp": ("a.csv", lambda path, count: write_csv(path, count, "txyp")),
    "npz": ("a.npz", write_npz),
    "npz deflate": ("a.npz", lambda path, count: write_npz(path, count, zipfile.ZIP_DEFLATED)),
    "MCAP EventArray": ("a", lambda path, count: write_ours(path, count, "ros2-mcap")),
    "MCAP evt3": ("a", lambda path, count: write_ours(path, count, "ros2-mcap", "evt3")),
}


def read(path: Path) -> dict[str, Any]:
    """Read a recording in this process, after what opening it imports."""
    open_recording(path).close()
    wall, cpu, events = time.perf_counter(), time.process_time(), 0
    with open_recording(path) as recording:
        for recorded in recording.read():
            if isinstance(recorded.message, EventMessage):
                events += len(recorded.message.events)
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"events": events, "cpu_s": cpu, "wall_s": wall, "peak_mb": peak}


def measure(name: str, count: int, folder: Path, repeats: int) -> dict[str, Any]:
    """Write a recording of `count` blocks, read it and delete it."""
    file, write = FORMATS[name]
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / file
        write(path, count)
        size = sum(f.stat().st_size for f in ([path] if path.is_file() else path.iterdir()))
        command = [sys.executable, __file__, "--child", str(path)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        runs = [
            json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
            for _ in range(repeats)
        ]
    best = min(runs, key=lambda run: run["cpu_s"])
    wanted = count * (len(first_block()) if name != "HDF5 ECF" else len(first_block()) // ECF_CHUNK * ECF_CHUNK)
    assert best["events"] == wanted, (name, best, wanted)
    return {**best, "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"formats (default: all): {', '.join(FORMATS)}")
    parser.add_argument("--events", type=int, default=10_000_000, help="events of a file whose speed is measured")
    parser.add_argument("--gigabytes", type=float, default=2, help="size of the longest file; 0: no memory test")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the files")
    parser.add_argument("--out", type=Path, default=OUT, help="results of other formats in this file are kept")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(read(arguments.child)))
        return
    from cista_ros.benchmark.machine import processor_name

    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in arguments.names or FORMATS:
        row: dict[str, Any] = dict(results.get(name, {}))
        if arguments.events:
            speed = measure(name, max(1, arguments.events // BLOCK), arguments.folder, 3)
            row |= {
                "million_events_per_cpu_second": round(speed["events"] / speed["cpu_s"] / 1e6, 1),
                "megabytes_per_cpu_second": round(speed["bytes"] / speed["cpu_s"] / 1e6),
                "events": speed["events"],
                "bytes_per_event": round(speed["bytes"] / speed["events"], 2),
            }
        if arguments.gigabytes:
            short = max(1, round(arguments.gigabytes * 1e9 / 10 / row["bytes_per_event"] / len(first_block())))
            for count, which in ((short, "short"), (10 * short, "long")):
                run = measure(name, count, arguments.folder, 1)
                row |= {
                    f"{which}_gigabytes": round(run["bytes"] / 1e9, 2),
                    f"peak_mb_of_{which}": round(run["peak_mb"]),
                }
        options = (
            f" --gigabytes {arguments.gigabytes:g}" if arguments.gigabytes != parser.get_default("gigabytes") else ""
        )
        row["command"] = f"python benchmarks/recordings/reading.py '{name}'{options}"
        row["date"] = time.strftime("%Y-%m-%d")
        results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        results[name] = row
        print(name, row, flush=True)
        about = {
            "machine": f"{processor_name()}, {os.cpu_count()} cores shared with other work",
            "python": sys.version.split()[0],
        }
        arguments.out.write_text(
            json.dumps({**about, **{k: v for k, v in results.items() if k not in about}}, indent=1)
        )


if __name__ == "__main__":
    main()
