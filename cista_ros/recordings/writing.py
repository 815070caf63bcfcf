"""Events and frames of one event camera -> a recording: ROS 1 bag, rosbag2 (sqlite3 or mcap) or ECD text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ..errors import RecordingError
from ..wire import Codec, cdr, ros1
from ..wire.messages import EVENT_ARRAY, KINDS, NS, CameraInfoMessage, EventMessage, ImageMessage, Message

FORMATS = ("ros1", "ros2", "ros2-mcap", "ecd-text")
_TOPICS = {EventMessage: "/dvs/events", ImageMessage: "/dvs/image_raw", CameraInfoMessage: "/dvs/camera_info"}
_DVS_MSGS = {
    "dvs_msgs/msg/Event": "uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity",
    EVENT_ARRAY: "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events",
}


class RecordingWriter(ABC):
    """Writes messages in the order given; topics are named as in the Event Camera Dataset's bags."""

    @abstractmethod
    def write(self, received: int, message: Message) -> None:
        """Add a message that was received at this time, in nanoseconds, not before the one added last."""


@contextmanager
def write_recording(path: str | Path, format: str) -> Iterator[RecordingWriter]:
    """Open a new recording of one of FORMATS; it is whole when the context ends.

    Raises:
        RecordingError: the path exists, or cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise RecordingError(f"{path}: exists already; a recording is not written over")
    try:
        if format == "ecd-text":
            with _EcdText(path) as writer:
                yield writer
        else:
            yield from _bag(path, format)
    except (OSError, rosbag1.WriterError, rosbag2.WriterError) as error:
        raise RecordingError(f"{path}: could not be written ({error})") from None


def _bag(path: Path, format: str) -> Iterator[RecordingWriter]:
    if format == "ros1":
        # Chunks compressed one by one, as rosbag record -j does: events shrink to about a third.
        bag = rosbag1.Writer(path)
        bag.set_compression(rosbag1.Writer.CompressionFormat.BZ2)
        store = get_typestore(Stores.ROS1_NOETIC)
    else:
        plugin = rosbag2.StoragePlugin.MCAP if format == "ros2-mcap" else rosbag2.StoragePlugin.SQLITE3
        bag = rosbag2.Writer(path, version=8, storage_plugin=plugin)
        store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in _DVS_MSGS.items():
        store.register(get_types_from_msg(text, name))
    with bag:
        yield _Bag(bag, store, ros1 if format == "ros1" else cdr)


class _Bag(RecordingWriter):
    def __init__(self, bag: rosbag1.Writer | rosbag2.Writer, store: object, wire: Codec) -> None:
        self._bag, self._store, self._wire = bag, store, wire
        self._connections: dict[type, object] = {}

    def write(self, received: int, message: Message) -> None:
        if type(message) not in self._connections:
            topic, kind = _TOPICS[type(message)], KINDS[type(message)]
            self._connections[type(message)] = self._bag.add_connection(topic, kind, typestore=self._store)
        self._bag.write(self._connections[type(message)], received, self._wire.encode(message))


class _EcdText(RecordingWriter):
    """events.txt, images.txt, images/ and calib.txt, times in seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __enter__(self) -> _EcdText:
        (self._folder / "images").mkdir(parents=True)
        self._events = open(self._folder / "events.txt", "w")
        self._images = open(self._folder / "images.txt", "w")
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()
        self._images.close()

    def write(self, received: int, message: Message) -> None:
        if isinstance(message, EventMessage):
            e = message.events
            columns = (e["t"] // NS, e["t"] % NS, e["x"], e["y"], e["p"])
            np.savetxt(self._events, np.stack([c.astype(np.int64) for c in columns], 1), "%d.%09d %d %d %d")
        elif isinstance(message, ImageMessage):
            name = f"images/frame_{self._count:08d}.png"
            if not cv2.imwrite(str(self._folder / name), message.image):
                raise OSError(f"{name} could not be written")
            self._images.write(f"{message.stamp // NS}.{message.stamp % NS:09d} {name}\n")
            self._count += 1
        elif not (calibration := self._folder / "calib.txt").exists():
            k = message.k
            calibration.write_text(" ".join(f"{v:g}" for v in (k[0], k[4], k[2], k[5], *message.d)) + "\n")
