"""Bags: their variants, and everything that can be wrong with one."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from makers import NS, T0, error_of, event_messages, frames, random_events, with_topics, write_bag

from cista_ros.errors import RecordingError
from cista_ros.events import concatenate
from cista_ros.recordings import open_recording
from cista_ros.wire import cdr, ros1
from cista_ros.wire.ros_types import EVENT_ARRAY, CompressedImageMessage, EventMessage, ImageMessage

KINDS = pytest.mark.parametrize("kind", ["ros1", "sqlite3", "mcap"])
EVENTS = random_events(3000)
MESSAGES = event_messages(EVENTS)


def bag(tmp_path, rows, kind="ros1", **options):
    return write_bag(tmp_path / ("a.bag" if kind == "ros1" else "a"), rows, kind, **options)


def events_of(recording, *span):
    return concatenate([r.message.events for r in recording.read(*span, frames=False, camera_info=False)])


@pytest.mark.parametrize(
    ("kind", "compression"),
    [("ros1", "BZ2"), ("ros1", "LZ4"), ("sqlite3", "MESSAGE"), ("sqlite3", "FILE"),
     ("mcap", "STORAGE"), ("mcap", "FILE")],
)  # fmt: skip
def test_compressed_bags(kind, compression, tmp_path):
    path = bag(tmp_path, with_topics(MESSAGES, frames(3)), kind, compression=compression)
    with open_recording(path) as recording:
        np.testing.assert_array_equal(events_of(recording), EVENTS)
        assert len(recording.frame_stamps()) == 3


def test_a_rosbag2_without_message_definitions(tmp_path):
    """So were all sqlite3 bags before ROS 2 Iron."""
    import sqlite3

    path = bag(tmp_path, with_topics(MESSAGES), "sqlite3")
    database = sqlite3.connect(next(path.glob("*.db3")))
    database.execute("DELETE FROM message_definitions")
    database.commit()
    database.close()
    with open_recording(path) as recording:
        np.testing.assert_array_equal(events_of(recording), EVENTS)


@KINDS
def test_one_of_two_cameras(kind, tmp_path):
    other = event_messages(random_events(500, seed=7), 3)
    rows = with_topics(MESSAGES, frames(2))
    rows += [(r + 1, t.replace("dvs", "right"), m) for r, t, m in with_topics(other, frames(4))]
    path = bag(tmp_path, sorted(rows, key=lambda row: row[0]), kind)
    assert error_of(path) == "several topics have events: /dvs/events, /right/events; choose one with --events-topic"
    with open_recording(path, events_topic="/right/events") as recording:
        np.testing.assert_array_equal(events_of(recording), concatenate([m.events for m in other]))
        assert recording.frames_topic == "/right/image_raw" and len(recording.frame_stamps()) == 4
    with open_recording(path, events_topic="/right/events", frames_topic="/dvs/image_raw") as recording:
        assert recording.camera_info_topic == "/dvs/camera_info" and len(recording.frame_stamps()) == 2


def test_unclear_frames_are_an_error_when_asked_for(tmp_path):
    rows = with_topics(MESSAGES) + [(m.stamp, topic, m) for topic in ("/a", "/b") for m in frames(2)]
    path = bag(tmp_path, rows)
    expected = re.escape(f"{path}: several topics have images: /a, /b; choose one with --frames-topic")
    with open_recording(path) as recording:
        assert recording.frames_topic is None
        np.testing.assert_array_equal(events_of(recording), EVENTS)
        with pytest.raises(RecordingError, match=expected):
            recording.read()
        with pytest.raises(RecordingError, match=expected):
            recording.frame_stamps()


@pytest.mark.parametrize("size", [0, 1])
def test_empty_messages_are_skipped(size, tmp_path):
    rows = [(T0 - 1, "/dvs/events", EventMessage(5, "", size, size, EVENTS[:0])), *with_topics(MESSAGES)]
    rows.append((T0 + NS, "/dvs/events", rows[0][2]))
    with open_recording(bag(tmp_path, rows)) as recording:
        assert recording.start == EVENTS["t"][0] and (recording.height, recording.width) == (18, 24)
        np.testing.assert_array_equal(events_of(recording), EVENTS)


def test_reading_to_an_end_does_not_read_the_rest(tmp_path):
    """Two seconds after the events have passed the end; what lies further on may even be damaged."""
    rows = [(T0 + i * NS, "/e", EventMessage(0, "", 18, 24, random_events(50, T0 + i * NS))) for i in range(9)]
    times = [message.events["t"] for _, _, message in rows]
    rows[7] = (rows[7][0], "/e", ("dvs_msgs/msg/EventArray", b"damaged"))
    path = bag(tmp_path, rows)
    with open_recording(path) as recording:
        assert len(events_of(recording, None, 3.5)) == sum(
            np.count_nonzero(t < recording.start + 3.5 * NS) for t in times
        )
        with pytest.raises(RecordingError):
            events_of(recording, None, 4.5)


def test_a_frame_received_after_later_events_is_not_lost(tmp_path):
    late = [(m.stamp + NS, "/dvs/image_raw", m) for m in frames(20)]
    path = bag(tmp_path, sorted(with_topics(MESSAGES) + late, key=lambda row: row[0]))
    with open_recording(path) as recording:
        images = [r for r in recording.read(0.0, 0.5) if r.topic == "/dvs/image_raw"]
    assert [r.message.stamp for r in images] == [m.stamp for m in frames(11)]  # the end belongs to it


def test_reads_a_bag_whose_time_starts_again(tmp_path):
    rows = with_topics(MESSAGES)
    rows += [(received + NS, topic, message) for received, topic, message in rows]
    with open_recording(bag(tmp_path, rows)) as recording:
        np.testing.assert_array_equal(events_of(recording), concatenate([EVENTS, EVENTS]))


THERE = "/dvs/events (dvs_msgs/msg/EventArray)"


@KINDS
@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (with_topics((), frames(1)), {}, "no topic has events"),
        (with_topics(MESSAGES), {"events_topic": "/e"}, f"no topic /e (--events-topic); the recording has {THERE}"),
        (with_topics(MESSAGES), {"frames_topic": "/dvs/events"},
         "topic /dvs/events (--frames-topic) has type dvs_msgs/msg/EventArray"),
        ([(T0 + i, "/dvs/events", EventMessage(0, "", 18, 24, EVENTS[:0])) for i in range(3)], {},
         "topic /dvs/events has no events"),
    ],
    ids=["no-events-topic", "missing-topic", "other-type", "no-event"],
)  # fmt: skip
def test_bags_without_the_topics_are_named(kind, rows, options, expected, tmp_path):
    message = error_of(bag(tmp_path, rows, kind), **options)
    assert message.startswith(expected)
    if expected == "no topic has events":
        assert "/dvs/camera_info (sensor_msgs/msg/CameraInfo), /dvs/image_raw (sensor_msgs/msg/Image)" in message


@KINDS
def test_a_message_that_does_not_decode_is_named(kind, tmp_path):
    rows = with_topics(MESSAGES[:3])
    codec = ros1 if kind == "ros1" else cdr
    raw = codec.encode(MESSAGES[3])
    rows.append((rows[0][0] + NS // 2, "/dvs/events", ("dvs_msgs/msg/EventArray", raw[:-5])))
    message = error_of(bag(tmp_path, rows, kind), read=True)
    left = len(raw) - 5 - raw.index((100).to_bytes(4, "little"), 20) - 4
    assert message == (
        "message 3 of /dvs/events (0.500 s after the bag's start): "
        f"declares 100 events; the {left} bytes that follow hold at most 99"
    )


def test_an_image_that_does_not_decode_is_named_and_does_not_matter_to_events(tmp_path):
    raw = ros1.encode(frames(1)[0]).replace(b"mono8", b"junk8")
    rows = [*with_topics(MESSAGES), (T0 + NS, "/dvs/image_raw", ("sensor_msgs/msg/Image", raw))]
    path = bag(tmp_path, rows)
    assert error_of(path, read=True).startswith("message 0 of /dvs/image_raw (0.9")
    with open_recording(path) as recording:
        np.testing.assert_array_equal(events_of(recording), EVENTS)


@KINDS
@pytest.mark.parametrize("height", [0, 18])
def test_a_sensor_of_size_0(kind, height, tmp_path):
    rows = [(T0, "/dvs/events", EventMessage(0, "", height, 0, EVENTS[:5]))]
    expected = (
        f"message 0 of /dvs/events (0.000 s after the bag's start): declares a 0x{height} sensor; expected a width"
    )
    assert error_of(bag(tmp_path, rows, kind)).startswith(expected)


@pytest.mark.parametrize("kind", ["ros1", "db3_file"])
@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.3, 0.7, 0.99, 0.999])
def test_a_truncated_bag(kind, share, tmp_path):
    path = bag(tmp_path, with_topics(MESSAGES, frames(3)), kind)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    size = path.stat().st_size
    message = error_of(path)
    if kind == "db3_file" and size >= 100:
        assert message == f"truncated: it has {size} of {len(raw)} bytes"
    elif not size:
        assert message == "the file is empty"
    elif size < 8:  # nothing to save
        assert message.startswith("cannot be read as a bag: ") and "reindex" not in message
    else:
        reindex = "rosbag reindex" if kind == "ros1" else "ros2 bag reindex"
        assert message.startswith("cannot be read as a bag: ")
        assert message.endswith(f" (truncated or damaged? `{reindex} {path.name}` may save what is left)")


@pytest.mark.parametrize("compression", [None, "STORAGE"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99, 0.999])
@pytest.mark.parametrize("folder", [False, True])
def test_a_truncated_mcap_is_read_up_to_the_cut(compression, share, folder, tmp_path):
    many = random_events(30_000)  # zstd can be decompressed up to the last block of 128 kB
    path = bag(tmp_path, with_topics(event_messages(many), frames(3)), "mcap", compression=compression)
    file = next(path.glob("*.mcap"))
    raw = file.read_bytes()
    file.write_bytes(raw[: int(len(raw) * share)])
    with open_recording(path if folder else file) as recording:
        events = events_of(recording)
        assert len(events) > 0.5 * share * len(many)
        np.testing.assert_array_equal(events, many[: len(events)])
        assert "mcap recover" in recording.notes[0]


@pytest.mark.parametrize("share", [0, 0.001, 0.01])
def test_an_mcap_cut_before_its_first_message_is_an_error(share, tmp_path):
    path = bag(tmp_path, with_topics(MESSAGES), "mcap_file")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    assert "empty" in (error := error_of(path)) or "magic" in error or "cut before the first message" in error


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_an_empty_storage_identifier_is_replaced_by_the_suffix(kind, tmp_path):
    """`ros2 bag reindex` of Humble writes it."""
    path = bag(tmp_path, with_topics(MESSAGES, frames(3)), kind)
    text = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(re.sub("storage_identifier: .*", "storage_identifier: ''", text))
    with open_recording(path) as recording:
        np.testing.assert_array_equal(events_of(recording), EVENTS)
        assert len(recording.frame_stamps()) == 3


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "other").mkdir()
    elsewhere = bag(tmp_path / "other", with_topics(MESSAGES), "sqlite3") / "a.db3"
    path = bag(tmp_path, with_topics(MESSAGES), "sqlite3")
    (path / "a.db3").unlink()
    (path / "a.db3").symlink_to(elsewhere)
    assert "outside the recording" in error_of(path)
    (tmp_path / "link").symlink_to(tmp_path / "other" / "a")
    with open_recording(tmp_path / "link") as recording:
        np.testing.assert_array_equal(events_of(recording), EVENTS)


@KINDS
@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_compressed_images_are_read_as_frames(kind, extension, tmp_path):
    rows = with_topics(MESSAGES)
    for image in frames(3):
        data = np.asarray(cv2.imencode(extension, image.image)[1]).reshape(-1)
        rows.append((image.stamp, "/dvs/image_raw/compressed", CompressedImageMessage(image.stamp, "", "png", data)))
    path = bag(tmp_path, sorted(rows, key=lambda row: row[0]), kind)
    with open_recording(path) as recording:
        assert len(recording.frame_stamps()) == 3
        images = [r.message for r in recording.read() if isinstance(r.message, ImageMessage)]
    assert [(m.stamp, m.encoding) for m in images] == [(m.stamp, "mono8") for m in frames(3)]
    if extension == ".png":
        np.testing.assert_array_equal([m.image for m in images], [m.image for m in frames(3)])


@KINDS
def test_a_frame_id_that_is_not_utf8_is_noted_once_and_does_not_lose_events(kind, tmp_path):
    codec = ros1 if kind == "ros1" else cdr
    rows = [
        (received, topic, (EVENT_ARRAY, codec.encode(replace(message, frame_id="abcd")).replace(b"abcd", b"a\xa0cd")))
        for received, topic, message in with_topics(MESSAGES)
    ]
    with open_recording(bag(tmp_path, rows, kind)) as recording:
        np.testing.assert_array_equal(events_of(recording), EVENTS)
        assert [note for note in recording.notes if "not UTF-8" in note] == list(recording.notes)


@KINDS
@pytest.mark.parametrize("package", ["prophesee_event_msgs", "our_own_msgs"])
def test_event_arrays_of_other_packages_are_read(kind, package, tmp_path):
    """A known name, or one whose definition has the same fields."""
    codec = ros1 if kind == "ros1" else cdr
    path = tmp_path / ("a.bag" if kind == "ros1" else "a")
    name = f"{package}/msg/EventArray"
    rows = [(r, topic, (name, codec.encode(message))) for r, topic, message in with_topics(MESSAGES)]
    write_bag(path, rows, kind, event_package=package)
    with open_recording(path) as recording:
        np.testing.assert_array_equal(events_of(recording), EVENTS)
        assert recording.events_type == EVENT_ARRAY


def test_swapped_width_and_height_are_noted(tmp_path):
    rows = [(r, t, replace(m, height=m.width, width=m.height)) for r, t, m in with_topics(MESSAGES)]
    with open_recording(bag(tmp_path, rows)) as recording:
        assert "width and height may be swapped" in recording.notes[0]


@pytest.mark.parametrize(("stamp", "shift"), [(0, 0), (T0 - 50_000_000, -50_000_000), (T0 + NS, 0), (T0 - 2 * NS, 0)])
def test_frames_of_another_clock_do_not_move_the_start(stamp, shift, tmp_path):
    rows = with_topics(MESSAGES) + [
        (T0 + i, "/dvs/image_raw", replace(m, stamp=stamp)) for i, m in enumerate(frames(2))
    ]
    with open_recording(bag(tmp_path, sorted(rows, key=lambda row: row[0]))) as recording:
        assert recording.first_event == EVENTS["t"][0]
        assert recording.start == (T0 + shift if shift else recording.first_event)


def test_a_truncated_file_in_a_rosbag2_folder(tmp_path):
    path = bag(tmp_path, with_topics(MESSAGES), "sqlite3")
    file = next(path.glob("*.db3"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RecordingError, match=rf"{file}: truncated: it has \d+ of \d+ bytes"):
        open_recording(path)


def test_a_rosbag2_whose_last_messages_are_in_the_write_ahead_log(tmp_path):
    """As a recorder leaves it that was killed; rosbags would read the bag without them."""
    import shutil
    import sqlite3

    path = bag(tmp_path, with_topics(MESSAGES), "sqlite3")
    file = next(path.glob("*.db3"))
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp, data FROM messages")
    database.commit()
    killed = tmp_path / "killed"
    shutil.copytree(path, killed)
    database.close()
    file = killed / file.name
    with pytest.raises(RecordingError) as caught:
        open_recording(killed)
    assert str(caught.value) == (
        f"{file}: it was not closed when it was recorded: its last messages are still in {file.name}-wal; "
        f"run `sqlite3 {file.name} 'PRAGMA wal_checkpoint(TRUNCATE)'`"
    )
    database = sqlite3.connect(file)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with open_recording(killed) as recording:
        assert len(events_of(recording)) == 6000


def test_a_ros_1_bag_that_was_not_closed(tmp_path):
    path = bag(tmp_path, with_topics(MESSAGES))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"index_pos=") + len(b"index_pos=")
    raw[at : at + 8] = bytes(8)
    path.write_bytes(raw)
    expected = "cannot be read as a bag: it was not closed when it was recorded; run `rosbag reindex a.bag`"
    assert error_of(path) == expected


def test_a_rosbag2_whose_file_is_missing(tmp_path):
    path = bag(tmp_path, with_topics(MESSAGES), "sqlite3")
    next(path.glob("*.db3")).unlink()
    assert "Some database files are missing" in error_of(path)


def test_a_rosbag2_with_broken_metadata(tmp_path):
    path = bag(tmp_path, with_topics(MESSAGES), "mcap")
    (path / "metadata.yaml").write_text("rosbag2_bagfile_information: [1, 2")
    assert error_of(path).startswith("metadata.yaml is not YAML: while parsing")
    (path / "metadata.yaml").write_text("")
    assert error_of(path).startswith("metadata.yaml has no rosbag2_bagfile_information")


def test_a_message_with_a_stray_time_does_not_end_a_reading(tmp_path):
    rows = [(T0 + i * NS // 10, "/e", EventMessage(0, "", 18, 24, random_events(50, T0 + i * NS // 10, NS // 10)))
            for i in range(80)]  # fmt: skip
    stray = EventMessage(0, "", 18, 24, random_events(5, T0 + 10**6 * NS))
    rows.insert(10, (rows[10][0], "/e", stray))
    with open_recording(bag(tmp_path, rows)) as recording:
        assert len(events_of(recording, None, 7.0)) == sum(
            np.count_nonzero(m.events["t"] < recording.start + 7 * NS) for _, _, m in rows
        )
