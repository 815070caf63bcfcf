"""Read text recordings: the layouts of the Event Camera Dataset (Mueggler et al. 2017), E2VID and v2e, and csv.

A folder or zip holds events.txt, and optionally images.txt "t images/frame_00000000.png" with those images, calib.txt
"fx fy cx cy k1 k2 p1 p2 k3", and size.txt "width height" of the sensor where nothing else states it. Their times are in
seconds. A single file of any name holds events alone; a zip may hold such a file too. Zips are not unpacked to disk.
"""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

import numpy as np

from ..errors import CistaError, DecodeError, RecordingError, reason_of
from ..events import NS
from ..wire.ros_types import CameraInfoMessage
from .decompression import names_in_zip
from .event_file import FRAMES_TOPIC, Block, EventFile
from .event_text import MAX_SECONDS, Layout, detect_layout, parse, read_blocks
from .image_file import MAX_BYTES, decode_image
from .recording import Item, ReadOptions

CAMERA_INFO_TOPIC = "/dvs/camera_info"
SIZE_FILE = "size.txt"
# An archive of a few bytes can unpack to any size; frames and calibration are limited to this.
MAX_FRAMES = 1 << 20
_LONGEST = {"images.txt": 64 * MAX_FRAMES}
_LONGEST_OTHER = 4096
_SAMPLE = 1 << 18  # bytes by which the layout is detected
_FRAME = re.compile(r"([0-9]{1,10})(?:\.([0-9]*))?\s+(\S.*)")  # seconds, decimals, name
_OTHER_FILES = {"images.txt", "calib.txt", SIZE_FILE}


class Frame(NamedTuple):
    """A line of images.txt."""

    stamp: int  # ns
    name: str
    line: int


def detect(path: Path, head: bytes) -> bool:
    """Return whether a path may be text with events."""
    if path.is_dir():
        return (path / "events.txt").exists()
    if head.startswith(b"PK\x03\x04"):
        files = names_in_zip(path)
        return files is None or any(map(_is_text, files))  # the reader says what is damaged
    if head.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path, "rb") as file:
                head = file.read(4096)
        except (OSError, EOFError, zlib.error):
            return path.suffixes[-2:-1] in ([".txt"], [".csv"])
    with suppress(DecodeError):
        return head.isascii() and bool(detect_layout(head[: head.rfind(b"\n") + 1]))
    return False


class TextRecording(EventFile):
    """Text, under the topic names of the Event Camera Dataset's bags, with an empty frame_id.

    The sensor size is the one in size.txt or in the header of the events, else that of the first image, else the
    smallest usual size from 240x180 that the events fit on. Each frame has a camera info (if there are no frames, there
    is one at the start). `duration` extends to the last event of a plain file, and to the last frame of a zip.
    """

    _used_options = "time_unit", "columns"
    _measured, _narrowest, _hint = 1_000_000, 240, f" ({SIZE_FILE} would)"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path.absolute().parent if path.name == "events.txt" else path, options)

    def _open(self) -> None:
        path = self.path
        self._root: Path | zipfile.Path | None = path if path.is_dir() else None
        self._events: Path | zipfile.Path = path / "events.txt" if path.is_dir() else path
        with self._reading_file("the archive"):
            if path.is_file() and zipfile.is_zipfile(path):
                self._root, self._events = _find_events(self._held.enter_context(zipfile.ZipFile(path)))
            elif path.suffix.lower() == ".zip":
                raise zipfile.BadZipFile("it is not a zip file, or its end is missing")
        self._layout = self._detect_layout()
        self._images = self._read_frames()
        self.frames_topic = FRAMES_TOPIC if self._images else None
        self._calibration = self._numbers("calib.txt", 9, "fx fy cx cy k1 k2 p1 p2 k3")
        self.camera_info_topic = CAMERA_INFO_TOPIC if self._calibration else None
        expected = "'width height' in pixels"
        stated = self._numbers(SIZE_FILE, 2, expected)
        if not all(n.is_integer() and 0 < n < 100_000 for n in stated):
            raise RecordingError(f"{SIZE_FILE} states {stated}; expected {expected}")
        size = tuple(map(int, stated[::-1])) or self._layout.size
        if not size and self._images:
            size = self._image(self._images[0]).shape[:2]
        self.height, self.width = size or (0, 0)

    def _detect_layout(self) -> Layout:
        with self._reading_file(self._events.name), self._open_events() as file:
            sample = file.read(_SAMPLE)
            if len(sample) == _SAMPLE:
                sample = sample[: sample.rfind(b"\n") + 1]
            if not sample.strip():
                raise RecordingError(f"{self._events.name} has no events")
            layout = detect_layout(sample, self.options.columns, self.options.time_unit)
        if layout.guessed:
            self._note(f"{self._events.name} is read as {layout.guessed} (--columns and --time-unit state it)")
        return layout

    def _frames(self) -> Iterator[Item]:
        return (self._frame(frame.stamp, partial(self._image, frame)) for frame in self._images)

    def _camera_infos(self) -> Iterator[Item]:
        for t in [frame.stamp for frame in self._images] or [self.start]:
            yield Item(t, CAMERA_INFO_TOPIC, t, partial(self._camera_info, t))

    def _open_events(self) -> IO[bytes]:
        if isinstance(self._events, Path):
            with self._events.open("rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            if packed:
                return cast(IO[bytes], gzip.open(self._events, "rb"))
        return cast(IO[bytes], self._events.open("rb"))

    def _blocks(self) -> Iterator[Block]:
        with self._reading_file(self._events.name), self._open_events() as file:
            yield from map(Block, read_blocks(file, self._layout, on_cut=self._on_cut))

    def _on_cut(self, line: int) -> None:
        self._note(f"{self._events.name} is cut in line {line}; the events before it are read")

    def _last_event(self) -> int | None:
        """Return the time (ns) at which the recording ends, as far as a few bytes tell."""
        if not isinstance(self._events, Path) or self._events.suffix == ".gz":
            return self._images[-1].stamp if self._images else None
        with self._reading_file(self._events.name), self._events.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            lines = file.read().splitlines()
        # Reading reports a bad last line, with its number.
        with suppress(DecodeError):
            events = parse(lines[-1] + b"\n", layout=self._layout)
            return int(events["t"][-1]) if len(events) else None
        return None

    def _read_frames(self) -> list[Frame]:
        frames: list[Frame] = []
        for number, line in enumerate(self._lines("images.txt"), 1):
            where = f"images.txt, line {number}"
            if not (stripped := line.strip()):
                continue
            match = _FRAME.fullmatch(stripped)
            if not match or int(match[1]) > MAX_SECONDS:
                raise RecordingError(f"{where}: {line[:60]!r}; expected 't name': seconds and a file")
            name = PurePosixPath(match[3])
            if name.is_absolute() or ".." in name.parts:
                raise RecordingError(f"{where}: {name} is outside the recording")
            if len(frames) == MAX_FRAMES:
                raise RecordingError(f"images.txt names more than {MAX_FRAMES} images")
            stamp = int(match[1]) * NS + int((match[2] or "")[:9].ljust(9, "0"))
            frames.append(Frame(stamp, match[3], number))
        return frames

    def _numbers(self, name: str, count: int, expected: str) -> list[float]:
        """Return the numbers in a file; an empty array if it is missing."""
        if not (lines := self._lines(name)):
            return []
        try:
            numbers = [float(n) for n in " ".join(lines).split()]
        except ValueError:
            numbers = []
        if len(numbers) != count:
            raise RecordingError(f"{name}: {lines[0][:60]!r}; expected {expected}")
        return numbers

    def _image(self, frame: Frame) -> np.ndarray:
        where = f"{frame.name} (images.txt, line {frame.line})"
        assert self._root is not None, "only a folder or zip has images.txt"
        file = self._root / frame.name
        with self._reading_file(frame.name):
            if not file.is_file():
                raise RecordingError(f"{where} is missing")
            # A link in a downloaded folder must not lead to other files of the user.
            if isinstance(file, Path) and not file.resolve().is_relative_to(self.path.resolve()):
                raise RecordingError(f"{where} is outside the recording")
            raw = self._read(file, MAX_BYTES)
        try:
            return decode_image(raw)
        except DecodeError as error:
            raise RecordingError(f"{where} {error}") from None

    def _camera_info(self, stamp: int) -> CameraInfoMessage:
        fx, fy, cx, cy, *d = self._calibration
        k = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
        p = np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0])
        r = np.eye(3).reshape(-1)
        return CameraInfoMessage(stamp, "", self.height, self.width, "plumb_bob", np.array(d), k, r, p)

    def _lines(self, name: str) -> list[str]:
        if self._root is None or not (file := self._root / name).is_file():
            return []
        with self._reading_file(name):
            return self._read(file, _LONGEST.get(name, _LONGEST_OTHER)).decode().splitlines()

    def _read(self, file: Path | zipfile.Path, most: int) -> bytes:
        with file.open("rb") as opened:
            raw: bytes = opened.read(most + 1)
        if len(raw) > most:
            raise RecordingError(f"{file.name} has more than {most} bytes")
        return raw

    @contextmanager
    def _reading_file(self, name: str) -> Iterator[None]:
        """Turn the errors of damaged text and archives into a RecordingError."""
        try:
            yield
        except DecodeError as error:
            raise RecordingError(f"{name}, {error}") from None
        except CistaError:
            raise
        except (OSError, UnicodeDecodeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RecordingError(f"{name} cannot be read: {reason_of(error)}") from error
        except (NotImplementedError, RuntimeError) as error:  # another compression method; encrypted
            raise RecordingError(f"{name} cannot be unpacked: {reason_of(error)}") from error


def _is_text(name: str) -> bool:
    return name.endswith((".txt", ".csv"))


def _find_events(archive: zipfile.ZipFile) -> tuple[zipfile.Path | None, zipfile.Path]:
    """Return the folder of a recording in an archive (None if it is a file alone), and the file of its events."""
    texts = [name for name in archive.namelist() if _is_text(name)]
    found = [name for name in texts if PurePosixPath(name).name == "events.txt"]
    if len(found) == 1:
        return zipfile.Path(archive, found[0].removesuffix("events.txt")), zipfile.Path(archive, found[0])
    others = [name for name in texts if PurePosixPath(name).name not in _OTHER_FILES]
    if not found and len(others) == 1:
        return None, zipfile.Path(archive, others[0])
    there = f"{len(found)} times events.txt" if found else f"no events.txt, and {len(others)} other text files"
    raise RecordingError(f"{there} in the archive; expected one")
