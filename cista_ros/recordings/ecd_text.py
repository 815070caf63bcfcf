"""The Event Camera Dataset's text layout (Mueggler et al. 2017), as a folder or zipped; a zip is never unpacked.

events.txt "t x y p"; optionally images.txt "t images/frame_00000000.png" with those images, and calib.txt
"fx fy cx cy k1 k2 p1 p2 k3". Times are in seconds. size.txt may tell the sensor's "width height" where images do not.
"""

from __future__ import annotations

import heapq
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ..errors import CistaError, DecodeError, RecordingError
from ..events import NS, concatenate, no_events
from ..wire.event_packet import PacketCounts
from ..wire.ros_types import EVENT_ARRAY, CameraInfoMessage, EventMessage, ImageMessage
from .event_text import MAX_SECONDS, parse, read_blocks
from .image_file import MAX_BYTES, decode_image, encoding_of
from .recording import Item, ReadOptions, Recording

EVENTS_TOPIC, FRAMES_TOPIC, CAMERA_INFO_TOPIC = "/dvs/events", "/dvs/image_raw", "/dvs/camera_info"
DATASET_SIZE = 180, 240  # height and width of the dataset's camera, a DAVIS240C
SIZE_FILE = "size.txt"  # ours: "width height" of the sensor, where no image tells it
CHUNK_NS = NS // 30  # what a driver sends in one message
CHUNK_EVENTS = 200_000
# An archive of a few bytes can unpack to any number of them: so much of it is taken for frames and calibration.
MAX_FRAMES = 1 << 20
_LONGEST = {"images.txt": 64 * MAX_FRAMES}
_LONGEST_OTHER = 4096
_STAMP = re.compile(r"([0-9]{1,10})(?:\.([0-9]*))?")


class Frame(NamedTuple):
    """A line of images.txt."""

    stamp: int  # ns
    name: str
    line: int


def open_file(path: Path, options: ReadOptions) -> EcdTextRecording:
    """Open ECD text, a folder or a zip; raises RecordingError."""
    return EcdTextRecording(path, events_topic=options.events_topic, frames_topic=options.frames_topic)


class EcdTextRecording(Recording):
    """ECD text: its topics bear the names of the dataset's bags, and its frame_id is empty.

    The sensor's size is what size.txt says, else that of the first image, else 240x180. Events come in chunks of at
    most 1/30 s, received with their last event; a camera info comes with each frame (once, at the start, if there are
    none). `duration` lasts to the last event of a folder, and to the last frame of a zip.
    """

    def __init__(self, path: Path, *, events_topic: str | None = None, frames_topic: str | None = None) -> None:
        self.path = path
        self.packet_counts = PacketCounts()  # text has none
        self._zip: zipfile.ZipFile | None = None
        self._root: Path | zipfile.Path = path
        with self._reading("the archive"):
            if path.is_file():
                self._zip = zipfile.ZipFile(path)
        try:
            self._root = _root_of(self._zip, path) if self._zip else path
            self._open()
            self._check_names(events_topic, frames_topic)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._frames = self._read_frames()
        self.events_topic, self.events_type = EVENTS_TOPIC, EVENT_ARRAY
        self.frames_topic = FRAMES_TOPIC if self._frames else None
        self._calibration = self._read_calibration()
        self.camera_info_topic = None if self._calibration is None else CAMERA_INFO_TOPIC
        self.height, self.width = self._read_size() or self._first_image_size() or DATASET_SIZE
        first = next((int(block["t"][0]) for block in self._blocks() if len(block)), None)
        if first is None:
            raise RecordingError(f"{self.path}: events.txt holds no event")
        self._set_start(first, self._frames[0].stamp if self._frames else None)
        last = self._last_time()
        self.duration = None if last is None else (last - self.start) / NS

    def _check_names(self, events_topic: str | None, frames_topic: str | None) -> None:
        for asked, there, argument in (
            (events_topic, self.events_topic, "events_topic"),
            (frames_topic, self.frames_topic, "frames_topic"),
        ):
            if asked not in (None, there):
                topics = ", ".join(filter(None, (self.events_topic, self.frames_topic, self.camera_info_topic)))
                raise RecordingError(f"{self.path}: no topic {asked} ({argument}); the recording has {topics}")

    def close(self) -> None:
        if self._zip:
            self._zip.close()

    def _items(self, frames: bool, camera_info: bool) -> Iterator[Item]:
        streams = [self._chunks()]  # of equal times the first stream's goes first
        if frames:
            streams.append(Item(f.stamp, FRAMES_TOPIC, f.stamp, partial(self._image, f)) for f in self._frames)
        if camera_info and self._calibration is not None:
            stamps = [frame.stamp for frame in self._frames] or [self.start]
            streams.append(Item(t, CAMERA_INFO_TOPIC, t, partial(self._camera_info, t)) for t in stamps)
        return heapq.merge(*streams, key=lambda item: item.received)

    def _frame_stamps(self) -> Iterator[int]:
        return (frame.stamp for frame in self._frames)

    def _chunks(self) -> Iterator[Item]:
        """The events, cut wherever a 1/30 s ends; a chunk is also ended when it grows large."""
        pending = no_events()
        for block in self._blocks():
            events = concatenate([pending, block])
            cuts = np.flatnonzero(np.diff((events["t"] - self.start) // CHUNK_NS)) + 1
            *complete, pending = np.split(events, cuts)
            if len(pending) >= CHUNK_EVENTS:
                complete.append(pending)
                pending = no_events()
            yield from map(self._chunk, complete)
        if len(pending):
            yield self._chunk(pending)

    def _chunk(self, events: np.ndarray) -> Item:
        message = EventMessage(int(events["t"][0]), "", self.height, self.width, events)
        return Item(int(events["t"][-1]), EVENTS_TOPIC, 0, lambda: message)

    def _blocks(self) -> Iterator[np.ndarray]:
        with self._reading("events.txt"), (self._root / "events.txt").open("rb") as file:
            yield from read_blocks(file)

    def _last_time(self) -> int | None:
        """The time at which the recording ends, as far as it can be had without reading all of it."""
        if self._zip:
            return self._frames[-1].stamp if self._frames else None
        with self._reading("events.txt"), (self._root / "events.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().splitlines()
        # Whoever reads that far will be told of a bad last line, with its number.
        with suppress(DecodeError):
            return int(parse(lines[-1] + b"\n")["t"][-1]) if lines[-1].strip() else None
        return None

    def _read_frames(self) -> list[Frame]:
        frames = []
        for number, line in enumerate(self._lines("images.txt"), 1):
            fields = line.split(maxsplit=1)
            if not fields:
                continue
            stamp = _nanoseconds(fields[0])
            if stamp is None or len(fields) < 2:
                raise RecordingError(
                    f"{self.path}: images.txt, line {number}: {line[:60]!r}; expected 't name': seconds and a file"
                )
            name = fields[1].strip()
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise RecordingError(f"{self.path}: images.txt, line {number}: {name} lies outside the recording")
            if len(frames) == MAX_FRAMES:
                raise RecordingError(f"{self.path}: images.txt names more than {MAX_FRAMES} images")
            frames.append(Frame(stamp, name, number))
        return frames

    def _first_image_size(self) -> tuple[int, int] | None:
        return self._image(self._frames[0]).image.shape[:2] if self._frames else None

    def _read_size(self) -> tuple[int, int] | None:
        lines = self._lines(SIZE_FILE)
        if not lines:
            return None
        numbers = lines[0].split()
        if len(numbers) != 2 or not all(n.isascii() and n.isdigit() and 0 < len(n) < 6 and int(n) for n in numbers):
            raise RecordingError(f"{self.path}: {SIZE_FILE}: {lines[0][:60]!r}; expected 'width height' in pixels")
        return int(numbers[1]), int(numbers[0])

    def _image(self, frame: Frame) -> ImageMessage:
        where = f"{self.path}: {frame.name} (images.txt, line {frame.line})"
        file = self._root / frame.name
        with self._reading(frame.name):
            if not file.is_file():
                raise RecordingError(f"{where} is missing")
            # A link that came with a folder must not lead to other files of whoever reads it.
            if isinstance(file, Path) and not file.resolve().is_relative_to(self.path.resolve()):
                raise RecordingError(f"{where} lies outside the recording")
            raw = self._read(file, MAX_BYTES)
        try:
            image = decode_image(raw)
        except DecodeError as error:
            raise RecordingError(f"{where} {error}") from None
        return ImageMessage(frame.stamp, "", encoding_of(image), image)

    def _read_calibration(self) -> np.ndarray | None:
        lines = self._lines("calib.txt")
        if not lines:
            return None
        try:
            numbers = np.array(" ".join(lines).split(), np.float64)
        except ValueError:
            numbers = np.empty(0)
        if len(numbers) != 9:
            raise RecordingError(f"{self.path}: calib.txt: {lines[0][:60]!r}; expected fx fy cx cy k1 k2 p1 p2 k3")
        return numbers

    def _camera_info(self, stamp: int) -> CameraInfoMessage:
        fx, fy, cx, cy = self._calibration[:4]
        k = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
        p = np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0])
        d, r = self._calibration[4:], np.eye(3).reshape(-1)
        return CameraInfoMessage(stamp, "", self.height, self.width, "plumb_bob", d, k, r, p)

    def _lines(self, name: str) -> list[str]:
        file = self._root / name
        if not file.is_file():
            return []
        with self._reading(name):
            return self._read(file, _LONGEST.get(name, _LONGEST_OTHER)).decode().splitlines()

    def _read(self, file: Path | zipfile.Path, most: int) -> bytes:
        with file.open("rb") as opened:
            raw = opened.read(most + 1)
        if len(raw) > most:
            raise RecordingError(f"{self.path}: {file.name} has more than {most} bytes")
        return raw

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Turn what damaged text and archives raise into a RecordingError."""
        try:
            yield
        except DecodeError as error:
            raise RecordingError(f"{self.path}: {name}, {error}") from None
        except CistaError:
            raise
        except (OSError, UnicodeDecodeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RecordingError(f"{self.path}: {name} cannot be read: {error}") from error
        except (NotImplementedError, RuntimeError) as error:  # another compression method; encrypted
            raise RecordingError(f"{self.path}: {name} cannot be unpacked: {error}") from error


def _nanoseconds(text: str) -> int | None:
    """Seconds with any number of decimals as whole nanoseconds; None if it is no such number, or too large."""
    match = _STAMP.fullmatch(text)
    if not match or int(match[1]) > MAX_SECONDS:
        return None
    return int(match[1]) * NS + int((match[2] or "")[:9].ljust(9, "0"))


def _root_of(archive: zipfile.ZipFile, path: Path) -> zipfile.Path:
    """Where events.txt lies in an archive: at its root or below one folder."""
    found = [name for name in archive.namelist() if PurePosixPath(name).name == "events.txt" and name.count("/") <= 1]
    if len(found) != 1:
        several = f"{len(found)} times events.txt" if found else "no events.txt"
        raise RecordingError(f"{path}: {several} in the archive; expected one, at its root or below one folder")
    return zipfile.Path(archive, found[0].removesuffix("events.txt"))
