"""The table of readable formats, and which of them a path has.

To add a format, write a module with a reader, `(path: Path, options: ReadOptions) -> Recording` (such as a class), and
add a line to FORMATS. The module is imported only when a recording of its format is opened.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecordingError
from .recording import ReadOptions, Recording

_HEAD = 4096  # bytes of a file that `detect` sees


@dataclass(frozen=True)
class Format:
    """A readable format.

    Attributes:
        name: as errors list it.
        reader: the function or class that opens it, as "module.name" in this package.
        suffixes: of its files, lower case. They decide only where no content does, so that the reader of an empty or
            damaged file explains what is wrong with it.
        detect: whether a path has this format, by the first bytes of a file (b"" for a folder).
    """

    name: str
    reader: str
    suffixes: tuple[str, ...]
    detect: Callable[[Path, bytes], bool]

    def open(self, path: Path, options: ReadOptions) -> Recording:
        """Open a recording of this format; raises RecordingError."""
        recording: Recording = _import(self.reader)(path, options)
        return recording


def _import(name: str) -> Any:
    """Return what has the name "module.name" in this package."""
    module, _, name = name.partition(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)


def _is_rosbag(path: Path, head: bytes) -> bool:
    return head.startswith((b"#ROSBAG V", b"\x89MCAP0\r\n", b"SQLite format 3\0")) or (path / "metadata.yaml").exists()


def _is_prophesee(head: bytes, names: tuple[bytes, ...]) -> bool:
    return head.startswith(b"% ") and any(line.startswith(names) for line in head.split(b"\n"))


def _is_raw(path: Path, head: bytes) -> bool:
    return _is_prophesee(head, (b"% evt ", b"% format ", b"% system_ID ", b"% plugin_name ", b"% geometry "))


def _is_dat(path: Path, head: bytes) -> bool:
    return _is_prophesee(head, (b"% Data file", b"% Version ", b"% Width ", b"% Height "))


def _by(module: str) -> Callable[[Path, bytes], bool]:
    """Return the function `detect` of a module."""
    return lambda path, head: _import(f"{module}.detect")(path, head)


def _begins(magic: bytes) -> Callable[[Path, bytes], bool]:
    return lambda path, head: head.startswith(magic)


_TEXT = (".txt", ".csv", ".zip", ".gz")
# Asked in this order.
FORMATS = (
    Format(
        "ROS bag (.bag, .mcap, .db3, or a rosbag2 folder)",
        "rosbag.RosbagRecording",
        (".bag", ".mcap", ".db3"),
        _is_rosbag,
    ),
    Format("Prophesee RAW (.raw: EVT2, EVT2.1, EVT3)", "prophesee.RawRecording", (".raw",), _is_raw),
    Format("Prophesee DAT (.dat)", "prophesee.DatRecording", (".dat",), _is_dat),
    Format("AEDAT4 (.aedat4)", "aedat4.Aedat4Recording", (".aedat4",), _begins(b"#!AER-DAT4")),
    Format("AEDAT 2.0 and 3.1 (.aedat)", "aedat.open_file", (".aedat",), _begins(b"#!AER-DAT")),
    Format(
        "HDF5 (DSEC, M3ED, MVSEC, TUM-VIE, event_utils, Prophesee)",
        "hdf5.Hdf5Recording",
        (".h5", ".hdf5"),
        _begins(b"\x89HDF\r\n\x1a\n"),
    ),
    Format("NumPy (.npy, .npz, or a folder of EVREAL)", "arrays.ArrayRecording", (".npy", ".npz"), _by("arrays")),
    Format(
        "text (.txt, .csv, their .gz or .zip, or a folder with events.txt)", "text.TextRecording", _TEXT, _by("text")
    ),
)


def find_format(path: Path) -> Format:
    """Return the format of an existing path; raises RecordingError if it has none of FORMATS."""
    head = _head(path)
    for format in FORMATS:
        if format.detect(path, head):
            return format
    for format in FORMATS:
        if path.is_file() and path.suffix.lower() in format.suffixes:
            return format
    names = ", ".join(format.name for format in FORMATS)
    raise RecordingError(f"{path}: {_describe(path, head)}; expected {names}")


def find_recordings(paths: Sequence[Path], leave_out: Path | None = None) -> dict[str, Path]:
    """Return the absolute paths of several recordings by name, in order.

    A folder that is no recording stands for the recordings in it, at any depth. A recording has the name of its file or
    folder, without suffix unless it is needed; names that would be the same are extended by the folders above, as in
    `left_events`.

    Args:
        leave_out: a folder not to search: that of the output.
    Raises:
        RecordingError: a path does not exist or occurs twice, or a folder contains no recording.
    """
    leave_out = leave_out and Path(os.path.abspath(leave_out))
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise RecordingError(f"{path}: no such file or folder")
        whole = Path(os.path.abspath(path))
        inside = [whole] if path.is_file() or is_recording(path) else [*_inside(whole, leave_out)]
        if not inside:
            raise RecordingError(f"{path}: {_describe(path, b'')}, and no recordings in it")
        found += inside
    if twice := [path for path, count in Counter(found).items() if count > 1]:
        raise RecordingError(f"{twice[0]}: the recording is given twice")
    stems = Counter((path.parent, path.stem) for path in found)
    parts = {
        path: (*path.parts[1:-1], path.stem if path.is_file() and stems[path.parent, path.stem] == 1 else path.name)
        for path in found
    }
    depths = dict.fromkeys(found, 1)
    while True:
        names = {path: "_".join(parts[path][-depth:]) for path, depth in depths.items()}
        counts = Counter(names.values())
        same = [path for path in found if counts[names[path]] > 1 and depths[path] < len(parts[path])]
        if not same:
            return {name: path for path, name in names.items()}
        depths.update((path, depths[path] + 1) for path in same)


def _inside(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path == leave_out:
            continue
        if is_recording(path):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _inside(path, leave_out)


def is_recording(path: Path) -> bool:
    """Return whether a path in a folder is a recording, damaged or not; text and arrays only if they are events."""
    known = path.is_dir() or any(path.suffix.lower() in format.suffixes for format in FORMATS)
    head = _head(path) if known else b""
    by_name = (
        f for f in FORMATS if not f.reader.startswith(("text.", "arrays.")) and path.suffix.lower() in f.suffixes
    )
    named = by_name if path.is_file() else ()
    return known and (any(format.detect(path, head) for format in FORMATS) or any(named))


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, b"" of a folder; raises RecordingError."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error}") from None


def _describe(path: Path, head: bytes) -> str:
    if path.suffix == ".active":
        return "ROS 1 bag that was never closed (run `rosbag reindex` on it and rename it to .bag)"
    if path.is_dir():
        if any(path.glob("*.mcap")) or any(path.glob("*.db3")):
            return "rosbag2 folder without metadata.yaml (run `ros2 bag reindex` on it, or give the file inside)"
        return "folder with neither metadata.yaml (rosbag2) nor events.txt (ECD text)"
    if not head:
        return "empty file"
    return f"unknown format (it begins with {head[:8]!r})"
