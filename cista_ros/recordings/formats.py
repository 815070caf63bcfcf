"""The table of readable formats, and which of them a path has.

To add a format, write a module with `open_file(path: Path, options: ReadOptions) -> Recording` and add a line to
FORMATS. The module is imported when a recording of its format is opened, and only then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordingError
from .recording import ReadOptions, Recording

_HEAD = 4096  # bytes of a file that `detect` sees


@dataclass(frozen=True)
class Format:
    """A readable format.

    Attributes:
        name: as errors list it.
        module: the module of this package that reads it.
        suffixes: of its files, lower case. They decide only where no content does, so that the reader of an empty or
            damaged file explains what is wrong with it.
        detect: whether a path has this format, by the first bytes of a file (b"" for a folder).
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    detect: Callable[[Path, bytes], bool]

    def open(self, path: Path, options: ReadOptions) -> Recording:
        """Open a recording of this format; raises RecordingError."""
        recording: Recording = importlib.import_module(f"{__package__}.{self.module}").open_file(path, options)
        return recording


def _is_rosbag(path: Path, head: bytes) -> bool:
    return head.startswith((b"#ROSBAG V", b"\x89MCAP0\r\n", b"SQLite format 3\0")) or (path / "metadata.yaml").exists()


def _is_text(path: Path, head: bytes) -> bool:
    from .text import detect

    return detect(path, head)


def _is_prophesee(head: bytes, names: tuple[bytes, ...]) -> bool:
    return head.startswith(b"% ") and any(line.startswith(names) for line in head.split(b"\n"))


def _is_raw(path: Path, head: bytes) -> bool:
    return _is_prophesee(head, (b"% evt ", b"% format ", b"% system_ID ", b"% plugin_name ", b"% geometry "))


def _is_dat(path: Path, head: bytes) -> bool:
    return _is_prophesee(head, (b"% Data file", b"% Version ", b"% Width ", b"% Height "))


def _is_aedat4(path: Path, head: bytes) -> bool:
    return head.startswith(b"#!AER-DAT4")


def _is_hdf5(path: Path, head: bytes) -> bool:
    return head.startswith(b"\x89HDF\r\n\x1a\n")


_TEXT = (".txt", ".csv", ".zip", ".gz")
# Asked in this order.
FORMATS = (
    Format("ROS bag (.bag, .mcap, .db3, or a rosbag2 folder)", "rosbag", (".bag", ".mcap", ".db3"), _is_rosbag),
    Format("Prophesee RAW (.raw: EVT2, EVT2.1, EVT3)", "prophesee_raw", (".raw",), _is_raw),
    Format("Prophesee DAT (.dat)", "prophesee_dat", (".dat",), _is_dat),
    Format("AEDAT4 (.aedat4)", "aedat4", (".aedat4",), _is_aedat4),
    Format("HDF5 (DSEC, M3ED, MVSEC, TUM-VIE, event_utils, Prophesee)", "hdf5", (".h5", ".hdf5"), _is_hdf5),
    Format("text (.txt, .csv, their .gz or .zip, or a folder with events.txt)", "text", _TEXT, _is_text),
)


def find_format(path: Path) -> Format:
    """Return the format of an existing path; raises RecordingError if it has none of FORMATS."""
    head = b""
    if path.is_file():
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read: {error}") from None
    for format in FORMATS:
        if format.detect(path, head):
            return format
    for format in FORMATS:
        if path.is_file() and path.suffix.lower() in format.suffixes:
            return format
    names = ", ".join(format.name for format in FORMATS)
    raise RecordingError(f"{path}: {_describe(path, head)}; expected {names}")


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
