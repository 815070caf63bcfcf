"""Bags of every kind with places changed, in the file or in what rosbags unpacks, and metadata.yaml with lines changed.

All that a damaged bag may end with is RecordingError; what is read are messages with arrays no larger than the file.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

from bounds import expect
from files import Folder
from makers import NS, event_messages, frames, random_events, with_topics, write_bag
from source import Source, patched

from cista_ros.errors import RecordingError
from cista_ros.recordings import open_recording
from cista_ros.wire.event_packet import PacketEncoder
from cista_ros.wire.ros_types import EventMessage, ImageMessage

MODULES = (
    "cista_ros.recordings.rosbag",
    "cista_ros.recordings.bag_files",
    "cista_ros.recordings.bag_packing",
    "cista_ros.recordings.sqlite_file",
    "cista_ros.recordings.topics",
)
KINDS = (
    ("ros1", None), ("ros1", "LZ4"), ("ros1", "BZ2"), ("mcap", None), ("mcap", "STORAGE"), ("mcap", "FILE"),
    ("mcap", "MESSAGE"), ("sqlite3", None), ("sqlite3", "FILE"), ("sqlite3", "MESSAGE"),
)  # fmt: skip
# What a line of metadata.yaml, or a cell of a table, may be instead.
VALUES = (
    "", "0", "-1", "99999999999999999999", "1e400", "[]", "{}", "null", "true", "*a", "&a [1]", "'\\0'", "2020-99-99",
    "../../etc/passwd", "/etc/passwd", "..", "[[[[[[", "!!python/name:os.system", "zstd", "file", "message", "none",
    "sqlite3", "mcap", "dvs_msgs/msg/EventArray", "'x'", "!!binary a", "? [1] : 2", "\t", "[a, b]",
)  # fmt: skip
SQL = (
    "UPDATE messages SET data = 'text'", "UPDATE messages SET data = NULL", "UPDATE messages SET data = 5",
    "UPDATE messages SET timestamp = 'now'", "UPDATE messages SET timestamp = 1.5",
    "UPDATE messages SET timestamp = -9223372036854775808", "UPDATE messages SET topic_id = 9",
    "UPDATE topics SET name = x'00'", "UPDATE topics SET type = 7", "UPDATE topics SET name = ''",
    "UPDATE topics SET offered_qos_profiles = '[1, {}]'", "UPDATE topics SET serialization_format = 'json'",
    "UPDATE topics SET offered_qos_profiles = '&a [*a]'", "DELETE FROM messages", "DELETE FROM topics",
    "UPDATE schema SET schema_version = 'x'", "UPDATE schema SET schema_version = 3", "DROP TABLE schema",
    "DROP TABLE message_definitions", "UPDATE message_definitions SET encoding = 'x'",
    "ALTER TABLE messages RENAME COLUMN data TO other", "ALTER TABLE topics ADD COLUMN c AS (random())",
    "CREATE VIEW v AS SELECT 1", "CREATE TRIGGER t AFTER INSERT ON topics BEGIN SELECT 1; END",
    "UPDATE messages SET data = zeroblob(3)", "CREATE INDEX i ON messages(abs(timestamp))",
)  # fmt: skip
SEEDS = [
    bytes([kind, flags, 3 * kind]) + bytes([1, 7 * kind, 1, 0, 2, 3, 4]) * 4
    for kind in range(len(KINDS))
    for flags in range(8)
]
_FOLDER = Folder("bags")


@cache
def _bag(kind: str, compression: str | None) -> tuple[Path, dict[str, bytes]]:
    """A valid bag, and the content of its files."""
    events = random_events(40, duration=NS // 4)
    rows = with_topics(event_messages(events, 3), frames(2))
    encoder = PacketEncoder("mono")
    rows += [(row[0], "/other/events", encoder.encode(row[2], i)) for i, row in enumerate(rows[:3]) if _is_events(row)]
    rows = sorted(rows, key=lambda row: row[0])
    name = f"{kind}-{compression}"
    path = write_bag(_FOLDER.path / (f"{name}.bag" if kind == "ros1" else name), rows, kind, compression)
    files = [path] if path.is_file() else sorted(path.iterdir())
    return path, {file.name: file.read_bytes() for file in files}


def _is_events(row: tuple[int, str, object]) -> bool:
    return isinstance(row[2], EventMessage)


def check(data: bytes) -> None:
    """Break a bag and read it."""
    source = Source(data)
    kind, compression = source.pick(KINDS)
    flags = source.number()
    _, files = _bag(kind, compression)
    files = dict(files)
    storage = next(name for name in files if name != "metadata.yaml")
    if flags & 1 and "metadata.yaml" in files:
        files["metadata.yaml"] = _other_lines(files["metadata.yaml"], source)
    if flags & 2 and (kind, compression) == ("sqlite3", None):
        files[storage] = _other_cells(files[storage], source)
    if not flags & 4:
        files[storage] = patched(files[storage], source, 6)
    if flags & 8 and "metadata.yaml" in files:
        files["metadata.yaml"] = patched(files["metadata.yaml"], source)
    if kind == "ros1":
        path = _FOLDER.write("a.bag", files[storage])
    else:
        path = _FOLDER.write_all("a", files)
        if flags & 16 and compression != "FILE":
            path = path / storage
    size = sum(map(len, files.values()))
    expect(
        RecordingError, lambda: _read(path, 2000 * size + (1 << 24), "/dvs/events" if flags & 32 else "/other/events")
    )


def _other_lines(text: bytes, source: Source) -> bytes:
    lines = text.decode().splitlines()
    for _ in range(1 + source.below(3)):
        at = source.below(len(lines))
        key, colon, _ = lines[at].partition(": ")
        lines[at] = f"{key}{colon}{source.pick(VALUES)}"
    return "\n".join(lines).encode()


def _other_cells(database: bytes, source: Source) -> bytes:
    path = _FOLDER.write("work.db3", database)
    connection = sqlite3.connect(path)
    for _ in range(1 + source.below(3)):
        try:
            connection.execute(source.pick(SQL))
        except sqlite3.Error:
            continue
    connection.commit()
    connection.close()
    return path.read_bytes()


def _read(path: Path, most: int, events_topic: str) -> None:
    with open_recording(path, events_topic=events_topic) as recording:
        for recorded in recording.read():
            message = recorded.message
            if isinstance(message, EventMessage):
                assert message.events.nbytes <= most
            elif isinstance(message, ImageMessage):
                assert message.image.nbytes <= most
        recording.frame_stamps()
