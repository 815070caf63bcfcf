"""Write events and frames of one event camera to a recording in one of FORMATS."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ..errors import RecordingError
from ..events import NS
from ..wire import Codec, cdr, ros1
from ..wire.ros_types import (
    EVENT_ARRAY,
    EVENT_PACKET,
    FIELDS,
    KINDS,
    CameraInfoMessage,
    EventMessage,
    ImageMessage,
    Message,
    PacketMessage,
)
from .event_file import EVENTS_TOPIC, FRAMES_TOPIC
from .recording import RecordingWriter
from .text import CAMERA_INFO_TOPIC, SIZE_FILE

FORMATS = ("ros1", "ros2", "ros2-mcap", "ecd-text", "raw", "hdf5")
EVENTS_ONLY = ("raw", "hdf5")  # formats without images and camera infos
METADATA_VERSIONS = (8, 9)  # of a rosbag2; 9 is read by Kilted and later only
ECD_TOPICS: Mapping[type, str] = {
    EventMessage: EVENTS_TOPIC,
    PacketMessage: EVENTS_TOPIC,
    ImageMessage: FRAMES_TOPIC,
    CameraInfoMessage: CAMERA_INFO_TOPIC,
}
_BLOCK = 1 << 14  # events formatted at once


@contextmanager
def write_recording(
    path: str | Path,
    format: str,
    *,
    topics: Mapping[type, str] = ECD_TOPICS,
    metadata_version: int = 8,
    compression: str = "bz2",
) -> Iterator[RecordingWriter]:
    """Open a new recording of one of FORMATS. It appears at its path when the context ends without an error.

    Until then it is in the hidden folder `.NAME.part` beside it. ECD text named *.zip is zipped.

    Args:
        topics: by type of message; of bags only. By default as in the Event Camera Dataset's.
        metadata_version: one of METADATA_VERSIONS, of a rosbag2.
        compression: of a ROS 1 bag's chunks, as rosbag record does it: "bz2" (slow, events shrink to about a third) or
            "lz4".

    Raises:
        RecordingError: the path exists, its folder does not, or it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise RecordingError(f"{path}: already exists; recordings are not overwritten")
    if not path.parent.is_dir():
        raise RecordingError(f"{path.parent}: no such folder")
    folder = path.with_name(f".{path.name}.part")
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    part = folder / path.name
    try:
        folder.mkdir()
        with _open(part, format, topics, metadata_version, compression) as writer:
            yield writer
        part.rename(path)
    except (OSError, sqlite3.Error, rosbag1.WriterError, rosbag2.WriterError) as error:
        raise RecordingError(f"{path}: could not be written ({error})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(
    path: Path, format: str, topics: Mapping[type, str], version: int, compression: str
) -> AbstractContextManager[RecordingWriter]:
    if format == "ecd-text":
        return _zipped(path) if path.suffix == ".zip" else _EcdText(path)
    if format == "raw":
        from .prophesee import RawWriter

        return RawWriter(path)
    if format == "hdf5":
        from .hdf5 import Hdf5Writer

        return Hdf5Writer(path)
    return _Bag(path, format, topics, version, compression)


class _Bag(RecordingWriter):
    def __init__(self, path: Path, format: str, topics: Mapping[type, str], version: int, compression: str) -> None:
        self._bag: Any  # the writers of both packages have the same methods
        if format == "ros1":
            self._bag = rosbag1.Writer(path)
            self._bag.set_compression(rosbag1.Writer.CompressionFormat[compression.upper()])
        else:
            plugin = rosbag2.StoragePlugin.MCAP if format == "ros2-mcap" else rosbag2.StoragePlugin.SQLITE3
            self._bag = rosbag2.Writer(path, version=cast(Literal[8, 9], version), storage_plugin=plugin)
        self._topics = topics
        self._wire: Codec = ros1 if format == "ros1" else cdr
        self._store = get_typestore(Stores.ROS1_NOETIC if format == "ros1" else Stores.ROS2_HUMBLE)
        event = "uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity"
        self._store.register(get_types_from_msg(event, "dvs_msgs/msg/Event"))
        for name in (EVENT_ARRAY, EVENT_PACKET):
            fields = [["std_msgs/Header", "header"], *FIELDS[name]]
            self._store.register(get_types_from_msg("\n".join(map(" ".join, fields)), name))
        self._connections: dict[type, object] = {}
        self._bag.open()

    def __exit__(self, *error: Any) -> None:
        self._bag.__exit__(*error)

    def write(self, received: int, message: Message) -> None:
        kind = type(message)
        if kind not in self._connections:
            connection = self._bag.add_connection(self._topics[kind], KINDS[kind], typestore=self._store)
            self._connections[kind] = connection
        raw = self._wire.encode(message)
        try:
            self._bag.write(self._connections[kind], received, raw)
        except (struct.error, OverflowError):
            raise ValueError(f"it was received at {received} ns, which this format cannot hold") from None


class _EcdText(RecordingWriter):
    """events.txt, images.txt, images/ and calib.txt, times in seconds; size.txt if the first image has another size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images_written = 0
        self._size: tuple[int, int] | None = None
        self._image_size: tuple[int, int] | None = None  # of the first image
        (folder / "images").mkdir(parents=True)
        self._events = (folder / "events.txt").open("wb")
        self._images = (folder / "images.txt").open("w")

    def __exit__(self, *error: Any) -> None:
        self._events.close()
        self._images.close()
        if self._size and self._size != self._image_size:
            (self._folder / SIZE_FILE).write_text(f"{self._size[1]} {self._size[0]}\n")

    def write(self, received: int, message: Message) -> None:
        if isinstance(message, EventMessage):
            self._size = self._size or (message.height, message.width)
            self._events.writelines(format_events(message.events))
        elif isinstance(message, ImageMessage):
            if message.stamp < 0:
                raise ValueError(f"an image's stamp {message.stamp} ns lies before 1970, which images.txt cannot hold")
            self._image_size = self._image_size or message.image.shape[:2]
            name = f"images/frame_{self._images_written:08d}.png"
            if not cv2.imwrite(str(self._folder / name), _bgr(message)):
                raise OSError(f"{name} could not be written")
            self._images.write(f"{message.stamp // NS}.{message.stamp % NS:09d} {name}\n")
            self._images_written += 1
        elif isinstance(message, CameraInfoMessage) and not (calib := self._folder / "calib.txt").exists():
            if message.distortion_model not in ("", "plumb_bob") or len(message.d) > 5:
                raise ValueError(f"calib.txt cannot hold {len(message.d)} coefficients of {message.distortion_model}")
            k, d = message.k, [*message.d, 0, 0, 0, 0, 0][:5]
            calib.write_text(" ".join(f"{v:.17g}" for v in (k[0], k[4], k[2], k[5], *d)) + "\n")


def _bgr(message: ImageMessage) -> np.ndarray:
    """Return the image in OpenCV's order of channels."""
    match message.encoding.removesuffix("16").removesuffix("8"):
        case "mono" | "bgr" | "bgra":
            return message.image
        case "rgb" | "rgba":
            order = cv2.COLOR_RGB2BGR if message.image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
            return cv2.cvtColor(message.image, order)
    raise ValueError(f"ECD text cannot hold images of encoding {message.encoding}")


@contextmanager
def _zipped(path: Path) -> Iterator[RecordingWriter]:
    """Write ECD text to a folder and zip that: several files of a zip cannot be written at once."""
    with tempfile.TemporaryDirectory(prefix=f"{path.stem}-", dir=path.parent) as folder:
        with _EcdText(Path(folder) / path.stem) as writer:
            yield writer
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file in sorted(Path(folder).rglob("*")):
                archive.write(file, file.relative_to(folder))


def format_events(events: np.ndarray) -> Iterator[bytes]:
    """Yield events (N,) as lines of text, in blocks; `event_text.parse` is the inverse.

    Raises ValueError for a time below 0.
    """
    for at in range(0, len(events), _BLOCK):
        block = events[at : at + _BLOCK]
        seconds, ns = np.divmod(block["t"], NS)
        if seconds.min() < 0:
            raise ValueError("a time before 0, which text cannot hold")
        values, which = np.unique(seconds, return_inverse=True)  # few differ in a block
        millions, rest = np.divmod(ns.astype(np.uint32), np.uint32(1_000_000))
        three, groups = _table(range(1000), b"0"), (millions, *np.divmod(rest, np.uint32(1000)))
        whole, coordinates = _digits(values.tolist())[which], _table(range(1 << 16))
        blank, dot, end = (np.full((len(block), 1), ord(c), np.uint8) for c in " .\n")
        x, y, p = coordinates[block["x"]], coordinates[block["y"]], (block["p"] + np.uint8(ord("0")))[:, None]
        text = np.concatenate([whole, dot, *(three[group] for group in groups), blank, x, blank, y, blank, p, end], 1)
        yield text[text != 0].tobytes()


def _digits(numbers: Sequence[int], fill: bytes = b"\0") -> npt.NDArray[np.uint8]:
    """Return the digits of ascending numbers (N,) as characters (N, digits of the last), after `fill`."""
    width = len(str(numbers[-1]))
    return np.frombuffer(b"".join((b"%d" % n).rjust(width, fill) for n in numbers), np.uint8).reshape(-1, width)


_table = cache(_digits)  # of a range
