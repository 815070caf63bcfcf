"""Recordings made for the tests: the same events, frames and camera infos in every format that is read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from cista_ros.errors import RecordingError
from cista_ros.events import TRIGGER_DTYPE, concatenate, make_events
from cista_ros.recordings import open_recording
from cista_ros.wire import cdr, ros1
from cista_ros.wire.event_packet import PacketEncoder
from cista_ros.wire.ros_types import KINDS, CameraInfoMessage, EventMessage, ImageMessage

NS = 10**9
HEIGHT, WIDTH = 18, 24
T0 = 1_468_939_993 * NS + 67_416_019  # the start of a real recording: a float64 of seconds does not hold it
INTERFACES = Path(__file__).parents[2] / "msg"
FORMATS = ["ros1", "sqlite3", "mcap", "db3_file", "mcap_file", "text", "zip"]


def random_events(n, t0=T0, duration=NS, seed=0):
    rng = np.random.default_rng(seed)
    t = t0 + np.sort(rng.integers(0, duration, n))
    return make_events(rng.integers(0, WIDTH, n), rng.integers(0, HEIGHT, n), t, rng.random(n) < 0.5)


def event_messages(events, count=30):
    return [EventMessage(int(e["t"][0]), "", HEIGHT, WIDTH, e) for e in np.array_split(events, count)]


def frames(count, t0=T0, period=NS // 20):
    rng = np.random.default_rng(1)
    return [
        ImageMessage(t0 + i * period, "", "mono8", rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8))
        for i in range(count)
    ]


def camera_info(stamp):
    k = np.array([20, 0, 12.5, 0, 21, 9.25, 0, 0, 1])
    p = np.array([20, 0, 12.5, 0, 0, 21, 9.25, 0, 0, 0, 1, 0])
    d = np.array([-0.1, 0.09, -0.0003, 0.00017, 0])
    return CameraInfoMessage(stamp, "", HEIGHT, WIDTH, "plumb_bob", d, k, np.eye(3).reshape(-1), p)


def received(message):
    return int(message.events["t"][-1]) if isinstance(message, EventMessage) and len(message.events) else message.stamp


def with_topics(events=(), images=()):
    """[(time received, topic, message)] of an ECD recording, with a camera info beside each frame."""
    rows = [(received(m), "/dvs/events", m) for m in events]
    rows += [(m.stamp, "/dvs/image_raw", m) for m in images]
    rows += [(m.stamp, "/dvs/camera_info", camera_info(m.stamp)) for m in images]
    return sorted(rows, key=lambda row: row[0])


def write_bag(path, rows, kind="ros1", compression=None, event_package="dvs_msgs"):
    """Write rows of (received, topic, message); a message may be (type, raw bytes). `kind` is one of FORMATS."""
    is_ros1 = kind == "ros1"
    store = get_typestore(Stores.ROS1_NOETIC if is_ros1 else Stores.ROS2_HUMBLE)
    for file in INTERFACES.glob("*/msg/*.msg"):
        package = file.parents[1].name.replace("dvs_msgs", event_package)
        text = file.read_text().replace("dvs_msgs/", f"{event_package}/")
        store.register(get_types_from_msg(text, f"{package}/msg/{file.stem}"))
    if is_ros1:
        writer = rosbag1.Writer(path)
        if compression:
            writer.set_compression(rosbag1.Writer.CompressionFormat[compression])
    else:
        plugin = rosbag2.StoragePlugin.MCAP if kind.startswith("mcap") else rosbag2.StoragePlugin.SQLITE3
        writer = rosbag2.Writer(path, version=8, storage_plugin=plugin)
        if compression:
            writer.set_compression(rosbag2.CompressionMode[compression], rosbag2.CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for time, topic, message in rows:
            if isinstance(message, tuple):
                typename, raw = message
            else:
                typename, raw = KINDS[type(message)], (ros1 if is_ros1 else cdr).encode(message)
            if (topic, typename) not in connections:
                connections[topic, typename] = writer.add_connection(topic, typename, typestore=store)
            writer.write(connections[topic, typename], time, raw)
    return next(path.glob("*.mcap" if kind == "mcap_file" else "*.db3")) if kind.endswith("_file") else path


def rig(seconds=2, fps=25, delay=12_000_000, jitter=0, drift=0.0, missed_pulses=(), missed_frames=(), seed=0):
    """Rows of an event camera (evt3) whose input sees the pulses of a frame camera, and {trigger time: frame stamp}.

    Sensor time begins at 100 ms, when the host has T0; `drift` is how much faster the host's clock is. A frame comes
    `delay` after its pulse; the pulses last 5 ms.
    """
    rng = np.random.default_rng(seed)

    def to_host(t):
        return T0 + round((int(t) - NS // 10) * (1 + drift))

    n = seconds * fps
    rises = NS // 10 + 7_013_000 + np.arange(n) * (NS // fps)
    t = NS // 10 + np.sort(rng.integers(0, seconds * 10**6, 20_000 * seconds)) * 1000
    events = make_events(rng.integers(0, WIDTH, len(t)), rng.integers(0, HEIGHT, len(t)), t, rng.random(len(t)) < 0.5)
    seen = np.array([rise for i, rise in enumerate(rises) if i not in missed_pulses])
    triggers = np.zeros(2 * len(seen), TRIGGER_DTYPE)
    triggers["t"] = np.stack([seen, seen + 5_000_000], 1).ravel()
    triggers["p"][::2] = True
    encoder, rows, truth = PacketEncoder("evt3"), [], {}
    for seq, begin in enumerate(range(NS // 10, NS // 10 + seconds * NS, NS // 100)):
        part, edges = (a[(a["t"] >= begin) & (a["t"] < begin + NS // 100)] for a in (events, triggers))
        packet = encoder.encode(EventMessage(to_host(part["t"][0]), "dvs", HEIGHT, WIDTH, part, None, edges), seq)
        rows.append((to_host(begin + NS // 100), "/dvs/events", packet))
    for i, rise in enumerate(rises):
        if i not in missed_frames:
            stamp = to_host(rise) + delay + round(rng.normal(0, jitter) if jitter else 0)
            image = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
            rows.append((stamp + 3_000_000, "/dvs/image_raw", ImageMessage(stamp, "cam", "mono8", image)))
            truth |= {int(rise): stamp} if i not in missed_pulses else {}
    return sorted(rows, key=lambda row: row[0]), truth


def text_of(events):
    return "".join(f"{e['t'] // NS}.{e['t'] % NS:09d} {e['x']} {e['y']} {int(e['p'])}\n" for e in events)


def write_text(folder, events, images=(), calibration="20 21 12.5 9.25 -0.1 0.09 -0.0003 0.00017 0\n"):
    (folder / "images").mkdir(parents=True)
    (folder / "events.txt").write_text(text_of(events))
    lines = []
    for i, message in enumerate(images):
        name = f"images/frame_{i:08d}.png"
        cv2.imwrite(str(folder / name), message.image)
        lines.append(f"{message.stamp // NS}.{message.stamp % NS:09d} {name}\n")
    if lines:
        (folder / "images.txt").write_text("".join(lines))
    if calibration:
        (folder / "calib.txt").write_text(calibration)
    return folder


def write_zip(path, folder, below=""):
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, below + str(file.relative_to(folder)))
    return path


def write_any(folder, kind, events, images=()):
    """A recording of one of FORMATS in a new folder."""
    if kind in ("text", "zip"):
        text = write_text(folder / "text", events, images)
        return text if kind == "text" else write_zip(folder / "text.zip", text, below="sequence/")
    rows = with_topics(event_messages(events), images)
    return write_bag(folder / ("bag.bag" if kind == "ros1" else "bag"), rows, kind)


def messages_of(path, **options):
    """(recording, its messages)."""
    with open_recording(path, **options) as recording:
        return recording, [recorded.message for recorded in recording.read()]


def events_of(messages):
    return concatenate([m.events for m in messages if isinstance(m, EventMessage)])


def images_of(messages):
    return [m for m in messages if isinstance(m, ImageMessage)]


def error_of(path, *, read=False, **topics):
    """The error, without the path, of opening a recording, or of reading it."""
    with pytest.raises(RecordingError) as caught:
        recording = open_recording(path, **topics)
        with recording:
            assert read, "expected an error on opening"
            list(recording.read())
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")
