"""The table of readable formats, and which of them a path has.

To add a format, write a module with a reader, `(path: Path, options: ReadOptions) -> Recording` (such as a class), and
add a line to FORMATS. The module is imported only when a recording of its format is opened.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecordingError
from .recording import ReadOptions, Recording

_HEAD = 4096  # bytes of a file by which its format is detected
_ROSBAG = b"#ROSBAG V", b"\x89MCAP0\r\n", b"SQLite format 3\0"
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Format:
    """A readable format, which a file has if it begins with one of `magic`.

    Attributes:
        name: as errors list it.
        reader: the function or class that opens it, as "module.name" in this package. Without `magic`, the function
            `detect` of the module decides, by the path and the first bytes of a file (b"" for a folder).
        suffixes: of its files, lower case. They decide only where no content does, so that the reader of an empty or
            damaged file explains what is wrong with it.
        lines: the beginnings of text lines, at least one of which a file must have too.
    """

    name: str
    reader: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...] = ()
    lines: tuple[bytes, ...] = (b"",)

    def open(self, path: Path, options: ReadOptions) -> Recording:
        """Open a recording of this format; raises RecordingError."""
        recording: Recording = self._import(self.reader.partition(".")[2])(path, options)
        return recording

    def detect(self, path: Path, head: bytes) -> bool:
        """Return whether a path has this format, by the first bytes of a file (b"" for a folder)."""
        if not self.magic:
            return bool(self._import("detect")(path, head))
        if self.magic == _ROSBAG and (path / "metadata.yaml").exists():
            return True
        return head.startswith(self.magic) and any(line.startswith(self.lines) for line in head.split(b"\n"))

    def _import(self, name: str) -> Any:
        return getattr(importlib.import_module(f"{__package__}.{self.reader.partition('.')[0]}"), name)


_RAW_LINES = b"% evt ", b"% format ", b"% system_ID ", b"% plugin_name ", b"% geometry "
_DAT_LINES = b"% Data file", b"% Version ", b"% Width ", b"% Height "
_HDF5 = "HDF5 (DSEC, M3ED, MVSEC, TUM-VIE, event_utils, Prophesee)"
_TEXT = "text (.txt, .csv, their .gz or .zip, or a folder with events.txt)"
# Asked in this order.
FORMATS = (
    Format(
        "ROS bag (.bag, .mcap, .db3, or a rosbag2 folder)",
        "rosbag.RosbagRecording",
        (".bag", ".mcap", ".db3"),
        _ROSBAG,
    ),
    Format("Prophesee RAW (.raw: EVT2, EVT2.1, EVT3)", "prophesee.RawRecording", (".raw",), (b"% ",), _RAW_LINES),
    Format("Prophesee DAT (.dat)", "prophesee.DatRecording", (".dat",), (b"% ",), _DAT_LINES),
    Format("AEDAT4 (.aedat4)", "aedat4.Aedat4Recording", (".aedat4",), (b"#!AER-DAT4",)),
    Format("AEDAT 2.0 and 3.1 (.aedat)", "aedat.open_file", (".aedat",), (b"#!AER-DAT",)),
    Format(_HDF5, "hdf5.Hdf5Recording", (".h5", ".hdf5"), (b"\x89HDF\r\n\x1a\n",)),
    Format("NumPy (.npy, .npz, or a folder of EVREAL)", "arrays.ArrayRecording", (".npy", ".npz")),
    Format(_TEXT, "text.TextRecording", (".txt", ".csv", ".zip", ".gz")),
)


def find_format(path: Path) -> Format:
    """Return the format of an existing path; raises RecordingError if it is empty or has none of FORMATS."""
    head = _head(path)
    if path.is_file() and not head:
        raise RecordingError(f"{path}: the file is empty")
    is_file = path.is_file() and not head.startswith(_LFS)
    by_content = (format for format in FORMATS if format.detect(path, head))
    by_suffix = (format for format in FORMATS if is_file and path.suffix.lower() in format.suffixes)
    if found := next(by_content, None) or next(by_suffix, None):
        return found
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
            raise RecordingError(f"{path}: no recordings in this folder")
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
    named = [format for format in FORMATS if path.is_file() and path.suffix.lower() in format.suffixes]
    if not named and not path.is_dir():
        return False
    head = _head(path)
    return any(format.magic for format in named) or any(format.detect(path, head) for format in FORMATS)


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
    if not path.is_file():
        return "neither a file nor a folder"
    if head.startswith(_LFS):
        return "pointer of Git LFS instead of its file (run `git lfs pull`)"
    return f"unknown format (it begins with {head[:8]!r})"
