"""ROS 1 bags and rosbag2 (sqlite3, mcap): rosbags finds the messages, our codecs decode their bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from rosbags import rosbag1, rosbag2

from ..errors import CistaError, DecodeError, RecordingError
from ..events import NS
from ..wire import cdr, ros1
from ..wire.codec import DECODED
from ..wire.event_packet import EventStream, PacketCounts
from ..wire.ros_types import EVENT_TYPES, EventMessage
from .bag_files import BagPath, check_files
from .bag_packing import bound_chunks, bound_mcap, unpack_message
from .recording import Item, ReadOptions, Recording
from .topics import find_topics

T = TypeVar("T")


def open_file(path: Path, options: ReadOptions) -> RosbagRecording:
    """Open a ROS 1 bag, a rosbag2 folder or one of its files; raises RecordingError."""
    return RosbagRecording(
        path,
        events_topic=options.events_topic,
        frames_topic=options.frames_topic,
        event_time=options.event_time,
    )


def _is_ros1(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        head = file.read(8)
    return head == b"#ROSBAG " or (path.suffix == ".bag" and head[1:5] != b"MCAP")


class RosbagRecording(Recording):
    """A bag with a topic of one of EVENT_TYPES; `duration` is by receiving time, from the bag's index.

    The readers are used directly, not through rosbags' AnyReader, which refuses bags without message definitions
    (sqlite3 before Iron) and parses those of all topics.
    """

    def __init__(
        self,
        path: Path,
        *,
        events_topic: str | None = None,
        frames_topic: str | None = None,
        event_time: str = "sensor",
    ) -> None:
        self.path = path
        self._event_time = event_time
        is_ros1 = _is_ros1(path)
        self._wire = ros1 if is_ros1 else cdr
        self._packed_messages = False
        self.packet_counts = PacketCounts()
        self._held = ExitStack()
        try:
            with self._reading():
                self._open((rosbag1 if is_ros1 else rosbag2).Reader)
                self._find(events_topic, frames_topic)
        except BaseException:
            self.close()
            raise

    def _open(self, reader: type[rosbag1.Reader | rosbag2.Reader]) -> None:
        def scratch() -> Path:
            return Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="cista-")))

        bound_mcap()
        self._reader = reader(BagPath(check_files(self.path, scratch)))
        self._reader.open()
        self._held.callback(self._reader.close)
        if isinstance(self._reader, rosbag1.Reader):
            bound_chunks(self._reader)
        elif self._reader.compression_mode == "message":
            # rosbags is to hand the messages over as they lie in the file: they are unpacked here.
            storage = self._reader.storage
            storage.metadata = storage.metadata._replace(compression_mode=None)
            self._packed_messages = True

    def _find(self, events_topic: str | None, frames_topic: str | None) -> None:
        types = {c.topic: c.msgtype for c in self._reader.connections}
        if not all(isinstance(text, str) for text in (*types, *types.values())):
            raise RecordingError("a topic's name or type is not text")
        try:
            topics = find_topics(types, events_topic, frames_topic)
        except RecordingError as error:
            raise RecordingError(f"{self.path}: {error}") from None
        self.events_topic, self.frames_topic, self.camera_info_topic = topics.events, topics.frames, topics.camera_info
        self.events_type = types[topics.events]
        read = self.events_topic, self.frames_topic, self.camera_info_topic
        self.other_topics = tuple(sorted(types.keys() - set(read)))
        self._no_frames = topics.unclear_frames and f"{self.path}: {topics.unclear_frames}"
        first = self._first_events()
        self.height, self.width = first.height, first.width
        self.first_event = int(first.events["t"][0])
        self.start = min([self.first_event, *self._first_frame_stamp()])
        self.duration = self._reader.duration / NS

    def _first_events(self) -> EventMessage:
        for item in self._topics(self.events_topic):
            message = item.decode()
            if len(message.events):
                return message
        raise RecordingError(f"{self.path}: topic {self.events_topic} holds no event")

    def _first_frame_stamp(self) -> list[int]:
        return [item.stamp for item, _ in zip(self._topics(self.frames_topic), range(1), strict=False)]

    def close(self) -> None:
        self._held.close()

    def _items(self, frames: bool, camera_info: bool) -> Iterator[Item]:
        optional = (self.frames_topic, frames), (self.camera_info_topic, camera_info)
        return self._topics(self.events_topic, *(topic for topic, wanted in optional if wanted))

    def _frame_stamps(self) -> Iterator[int]:
        return (item.stamp for item in self._topics(self.frames_topic))

    def _topics(self, *wanted: str | None) -> Iterator[Item]:
        connections = [c for c in self._reader.connections if c.topic in wanted and c.msgtype in DECODED]
        if not connections:  # to rosbags an empty choice means all
            return
        seen = dict.fromkeys(wanted, 0)
        streams = {kind: EventStream(kind, self._wire, self._event_time, self.packet_counts) for kind in EVENT_TYPES}
        with self._reading():
            for connection, received, raw in self._reader.messages(connections):
                if type(received) is not int or not isinstance(raw, bytes):
                    raise RecordingError(f"a message of {connection.topic} is not bytes, or its time no whole number")
                if self._packed_messages:
                    raw = unpack_message(raw)
                apply = partial(self._apply, connection.topic, seen[connection.topic], received, raw)
                seen[connection.topic] += 1
                stamp = 0 if connection.topic == self.events_topic else apply(self._wire.decode_stamp)
                kind = connection.msgtype
                decode = streams[kind].decode if kind in streams else partial(self._wire.decode, kind)
                yield Item(received, connection.topic, stamp, partial(apply, decode))

    def _apply(self, topic: str, index: int, received: int, raw: bytes, decode: Callable[[bytes], T]) -> T:
        """Decode a message, or raise RecordingError that says which one cannot be decoded."""
        try:
            return decode(raw)
        except DecodeError as error:
            after = (received - self._reader.start_time) / NS
            raise RecordingError(
                f"{self.path}: message {index} of {topic} ({after:.3f} s after the bag's start): {error}"
            ) from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what rosbags raises into a RecordingError.

        On damaged files it lets through errors of its parsers (struct, yaml, sqlite, lz4, zstd, assertions ...), so
        that no list of types would be complete.
        """
        try:
            yield
        except CistaError as error:
            if str(error).startswith(f"{self.path}"):
                raise
            raise RecordingError(f"{self.path}: {error}") from None
        except Exception as error:
            raise RecordingError(f"{self.path}: cannot be read as a bag: {self._explain(error)}") from error

    def _explain(self, error: Exception) -> str:
        reason = " ".join((str(error) or type(error).__name__).split()).removesuffix(".")
        if isinstance(error, OSError) and error.errno:
            return reason
        if "not indexed" in reason:
            return f"it was not closed when it was recorded; run `rosbag reindex {self.path.name}`"
        reindex = "rosbag reindex" if self._wire is ros1 else "ros2 bag reindex"
        return f"{reason} (truncated or damaged? `{reindex} {self.path.name}` may save what is left)"
