"""ROS 1 bags and rosbag2 (sqlite3, mcap): rosbags finds the messages, our codecs decode their bytes."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ..errors import DecodeError, RecordingError
from ..events import NS
from ..wire import cdr, ros1
from ..wire.codec import DECODED
from ..wire.event_packet import EventStream
from ..wire.ros_types import (
    COMPRESSED_IMAGE,
    EVENT_ARRAY,
    EVENT_ARRAY_MD5,
    EVENT_TYPES,
    EmptyMessageError,
    EventMessage,
    ImageMessage,
    Message,
)
from .image_file import decode_image_message
from .mcap_scan import McapScan, is_cut
from .recording import Item, Recording
from .topics import find_topics

T = TypeVar("T")
_NOT_UTF8 = re.compile("[\ufffd\udc80-\udcff]")  # what the codecs decode bytes to that are not UTF-8
_SUFFIXES = {b"#ROSBAG ": ".bag", b"\x89MCAP0\r\n": ".mcap", b"SQLite f": ".db3"}


class RosbagRecording(Recording):
    """A ROS 1 bag, a rosbag2 folder or one of its files; `duration` is the time between its first and last message.

    rosbags' readers are used directly. Its AnyReader refuses bags without message definitions (sqlite3 before Iron),
    and parses those of all topics.
    """

    _damage, _kind = (Exception,), "a bag"  # rosbags' parsers let many types of errors through

    def _open(self) -> None:
        self._readers: list[Any] = []  # rosbag1.Reader, rosbag2.Reader or McapScan, in time order
        if self.path.is_file():
            self._wire = ros1 if _suffix(self.path) == ".bag" else cdr
            return self._open_file(self.path)
        self._wire = cdr
        for file in self.path.iterdir():
            if not file.resolve().is_relative_to(self.path.resolve()):
                raise RecordingError(f"{file.name} is a link to {file.resolve()}, outside the recording")
        about = _metadata(self.path)
        files = sorted([*self.path.glob("*.mcap"), *self.path.glob("*.db3")], key=_number)
        # `ros2 bag reindex` of Humble leaves storage_identifier empty, a recorder that was killed cuts the last file.
        if files and (not about.get("storage_identifier") or (files[-1].suffix == ".mcap" and is_cut(files[-1]))):
            for file in files:
                self._open_file(file)
            return None
        for file in files:
            _check_complete(file, file.suffix)
        return self._add(rosbag2.Reader(self.path))

    def _open_file(self, file: Path) -> None:
        suffix = _suffix(file)
        if suffix == ".mcap" and is_cut(file):
            scan = McapScan(file)
            self._readers.append(scan)
            return self._note(
                f"{file.name} is cut at byte {scan.read_to}; the {scan.duration / NS:.3f} s before that are read"
                f" (`mcap recover {file.name} -o OUT.mcap` writes a complete file)"
            )
        _check_complete(file, suffix)
        if file.suffix != suffix:  # rosbags goes by the suffix
            link = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="cista-"))) / f"recording{suffix}"
            link.symlink_to(file.resolve())
            file = link
        return self._add(rosbag1.Reader(file) if suffix == ".bag" else rosbag2.Reader(file))

    def _add(self, reader: rosbag1.Reader | rosbag2.Reader) -> None:
        self._readers.append(self._held.enter_context(reader))

    def _find_start(self) -> None:
        connections = [connection for reader in self._readers for connection in reader.connections]
        self._types = {connection.topic: _type_of(connection) for connection in connections}
        topics = find_topics(self._types, self.options.events_topic, self.options.frames_topic)
        self.events_topic, self.frames_topic, self.camera_info_topic = topics.events, topics.frames, topics.camera_info
        self.events_type = EVENT_TYPES[self._types[topics.events]]
        read = self.events_topic, self.frames_topic, self.camera_info_topic
        self.other_topics = tuple(sorted(self._types.keys() - set(read)))
        self._no_frames = topics.unclear_frames and f"{self.path}: {topics.unclear_frames}"
        if topics.note:
            self._note(topics.note)
        first = self._first_events()
        self.height, self.width = first.height, first.width
        self._set_start(int(first.events["t"][0]), next((i.stamp for i in self._topics(self.frames_topic)), None))
        end = max(reader.start_time + reader.duration for reader in self._readers)
        self.duration = (end - min(reader.start_time for reader in self._readers)) / NS

    def _first_events(self) -> EventMessage:
        for item in self._topics(self.events_topic):
            try:
                message = item.decode()
            except EmptyMessageError:
                continue
            if isinstance(message, EventMessage) and len(message.events):
                self._check_size(message)
                return message
        raise RecordingError(f"{self.path}: topic {self.events_topic} has no events")

    def _check_size(self, message: EventMessage) -> None:
        x, y = int(message.events["x"].max()), int(message.events["y"].max())
        if (x >= message.width or y >= message.height) and x < message.height and y < message.width:
            self._note(
                f"events up to x={x}, y={y} lie outside the {message.width}x{message.height} sensor of"
                f" {self.events_topic}, but inside {message.height}x{message.width}: width and height may be swapped"
            )

    def _items(self, frames: bool, camera_info: bool) -> Iterator[Item]:
        optional = (self.frames_topic, frames), (self.camera_info_topic, camera_info)
        return self._topics(self.events_topic, *(topic for topic, wanted in optional if wanted))

    def _frame_stamps(self) -> Iterator[int]:
        return (item.stamp for item in self._topics(self.frames_topic))

    def _topics(self, *wanted: str | None) -> Iterator[Item]:
        decoders: dict[str, Callable[[bytes], Message]] = {}
        for topic, kind in self._types.items():
            if topic in wanted and kind in EVENT_TYPES:
                decoders[topic] = EventStream(kind, self._wire, self.options.event_time, self.packet_counts).decode
            elif topic in wanted and kind in DECODED:
                decoders[topic] = partial(self._decode, kind)
        seen = dict.fromkeys(decoders, 0)
        with self._reading():
            for reader in self._readers:
                connections = [c for c in reader.connections if c.topic in decoders]
                if not connections:  # for rosbags, an empty list means all
                    continue
                for connection, received, raw in reader.messages(connections):
                    topic = connection.topic
                    apply = partial(self._apply, topic, seen[topic], received, raw)
                    seen[topic] += 1
                    stamp = 0 if self._types[topic] in EVENT_TYPES else apply(self._wire.decode_stamp)
                    yield Item(received, topic, stamp, partial(apply, decoders[topic]))

    def _decode(self, kind: str, raw: bytes) -> Message:
        message: Any = self._wire.decode(kind, raw)
        image: Message = decode_image_message(message) if kind == COMPRESSED_IMAGE else message
        return image

    def _apply(self, topic: str, index: int, received: int, raw: bytes, decode: Callable[[bytes], T]) -> T:
        """Decode a message, or raise RecordingError that names it."""
        try:
            message = decode(raw)
        except EmptyMessageError:
            raise
        except DecodeError as error:
            after = (received - min(reader.start_time for reader in self._readers)) / NS
            raise RecordingError(
                f"{self.path}: message {index} of {topic} ({after:.3f} s after the bag's start): {error}"
            ) from None
        if isinstance(message, EventMessage | ImageMessage) and _NOT_UTF8.search(message.frame_id):
            self._note(f"the frame_id of messages on {topic} is not UTF-8")
        return message

    def _explain(self, error: Exception) -> str:
        reason = " ".join((str(error) or type(error).__name__).split()).removesuffix(".")
        if isinstance(error, OSError) and error.errno:
            return reason
        if "not indexed" in reason:
            return f"it was not closed when it was recorded; run `rosbag reindex {self.path.name}`"
        if self.path.is_file() and _head(self.path) not in _SUFFIXES:
            return "its first bytes are not those of a bag"
        reindex = "rosbag reindex" if self.path.suffix == ".bag" else "ros2 bag reindex"
        recover = " or `mcap recover`" if self.path.suffix == ".mcap" else ""
        return f"{reason} (truncated or damaged? `{reindex} {self.path.name}`{recover} may save what is left)"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _suffix(path: Path) -> str:
    """Return the suffix of a file by its content, or its own."""
    return _SUFFIXES.get(_head(path), path.suffix)


def _number(file: Path) -> tuple[int, str]:
    """Sort key for the files of a rosbag2: the number at the end of the name."""
    match = re.search(r"_(\d+)$", file.stem)
    return int(match[1]) if match else 0, file.name


def _metadata(folder: Path) -> dict[str, Any]:
    """Return the contents of metadata.yaml."""
    try:
        content = yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:  # the last for odd scalars
        raise RecordingError(f"metadata.yaml is not YAML: {error}") from None
    about = content.get("rosbag2_bagfile_information") if isinstance(content, dict) else None
    if not isinstance(about, dict):
        raise RecordingError("metadata.yaml has no rosbag2_bagfile_information")
    return about


def _type_of(connection: Any) -> str:
    """Return the type of a connection. A type with the fields of dvs_msgs/EventArray is that, whatever its name."""
    name = str(connection.msgtype)
    if name in DECODED or not name.endswith("/EventArray"):
        return name
    digest = connection.digest
    if not isinstance(connection.owner, rosbag1.Reader):
        store = get_typestore(Stores.ROS1_NOETIC)
        try:
            types = get_types_from_msg(connection.msgdef.data, name)
            store.register({key: fields for key, fields in types.items() if key not in store.types})
            digest = store.generate_msgdef(name)[1]
        except Exception:  # no definition, or one that rosbags cannot parse
            return name
    return EVENT_ARRAY if digest == EVENT_ARRAY_MD5 else name


def _check_complete(path: Path, suffix: str) -> None:
    """Raise RecordingError if a .db3 file is shorter than its header says, or has unmerged messages beside it.

    rosbags opens it as immutable. Without an error, the missing part of the last page then reads as zeros, and messages
    in the write-ahead log are left out. Header fields: https://www.sqlite.org/fileformat2.html, section 1.3.
    """
    if suffix != ".db3":
        return
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) == 100 and header.startswith(b"SQLite format 3\0"):
        (page_size,), (pages,) = struct.unpack_from(">H", header, 16), struct.unpack_from(">I", header, 28)
        expected = (65536 if page_size == 1 else page_size) * pages
        counts_are_current = header[24:28] == header[92:96]
        if counts_are_current and path.stat().st_size < expected:
            raise RecordingError(f"{path}: truncated: it has {path.stat().st_size} of {expected} bytes")
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise RecordingError(
            f"{path}: it was not closed when it was recorded: its last messages are still in {log.name}; "
            f"run `sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'`"
        )
