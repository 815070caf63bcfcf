"""What all formats have in common: the same recording comes back from each of them."""

import math
import tracemalloc
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from makers import (
    FORMATS,
    HEIGHT,
    NS,
    T0,
    WIDTH,
    camera_info,
    event_messages,
    frames,
    random_events,
    with_topics,
    write_any,
    write_bag,
)

from cista_ros.events import concatenate
from cista_ros.recordings import event_file, open_recording
from cista_ros.recordings.convert import convert
from cista_ros.wire.event_packet import PacketEncoder
from cista_ros.wire.ros_types import CameraInfoMessage, EventMessage, ImageMessage

EVENTS, FRAMES = random_events(3000), frames(20)
SAMPLE = Path(__file__).parents[2] / "cista_ros/samples/landscape.bag"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "recordings"


@pytest.fixture(scope="module", params=FORMATS)
def path(request, tmp_path_factory):
    return write_any(tmp_path_factory.mktemp(request.param), request.param, EVENTS, FRAMES)


def events_of(recording, *span):
    return concatenate([r.message.events for r in recording.read(*span, frames=False, camera_info=False)])


def test_describes_the_recording(path):
    with open_recording(path) as recording:
        assert recording.path == path
        assert (recording.height, recording.width) == (HEIGHT, WIDTH)
        assert recording.start == T0
        assert recording.events_topic == "/dvs/events"
        assert recording.frames_topic == "/dvs/image_raw"
        assert recording.camera_info_topic == "/dvs/camera_info"
        assert recording.duration == pytest.approx(1, abs=0.06)


def test_reads_every_event_frame_and_camera_info(path):
    with open_recording(path) as recording:
        recorded = list(recording.read())
    np.testing.assert_array_equal(
        concatenate([r.message.events for r in recorded if isinstance(r.message, EventMessage)]), EVENTS
    )
    images = [r.message for r in recorded if isinstance(r.message, ImageMessage)]
    assert [(m.stamp, m.encoding) for m in images] == [(m.stamp, "mono8") for m in FRAMES]
    np.testing.assert_array_equal([m.image for m in images], [m.image for m in FRAMES])
    infos = [r.message for r in recorded if isinstance(r.message, CameraInfoMessage)]
    assert [m.stamp for m in infos] == [m.stamp for m in FRAMES]
    expected = camera_info(0)
    for name in ("height", "width", "distortion_model", "d", "k", "r", "p", "binning", "roi"):
        np.testing.assert_array_equal(getattr(infos[0], name), getattr(expected, name), err_msg=name)
    topics = {EventMessage: "/dvs/events", ImageMessage: "/dvs/image_raw", CameraInfoMessage: "/dvs/camera_info"}
    assert all(r.topic == topics[type(r.message)] for r in recorded)


def test_messages_come_in_the_order_received_and_events_not_before_they_happened(path):
    with open_recording(path) as recording:
        recorded = list(recording.read())
    assert all(a.received <= b.received for a, b in pairwise(recorded))
    assert all(r.received >= r.message.events["t"].max() for r in recorded if isinstance(r.message, EventMessage))


@pytest.mark.parametrize(
    "span", [(None, 0.3), (0.25, 0.5), (0.9, None), (0.4999, 0.5), (2.0, 3.0), (-1.0, 0.0), (0.25, math.inf)]
)
def test_a_span_is_cut_exactly(path, span):
    start, end = (s if s is None else T0 + round(min(s, 9.0) * NS) for s in span)

    def inside(t, to_end=0):
        return (t >= (T0 if start is None else start)) & (t < (np.iinfo(np.int64).max if end is None else end + to_end))

    stamps = np.array([m.stamp for m in FRAMES])
    stamps = stamps[inside(stamps, 1)]  # a frame at the end belongs to it
    with open_recording(path) as recording:
        np.testing.assert_array_equal(events_of(recording, *span), EVENTS[inside(EVENTS["t"])])
        recorded = list(recording.read(*span))
        np.testing.assert_array_equal(recording.frame_stamps(*span), stamps)
    images = [r.message.stamp for r in recorded if isinstance(r.message, ImageMessage)]
    np.testing.assert_array_equal(images, stamps)
    assert all(len(r.message.events) for r in recorded if isinstance(r.message, EventMessage))


def test_kinds_can_be_left_out(path):
    with open_recording(path) as recording:
        assert {type(r.message) for r in recording.read(camera_info=False)} == {EventMessage, ImageMessage}
        assert {type(r.message) for r in recording.read(frames=False)} == {EventMessage, CameraInfoMessage}


def test_can_be_read_again_after_an_incomplete_read(path):
    with open_recording(path) as recording:
        list(islice(recording.read(), 3))
        np.testing.assert_array_equal(events_of(recording), EVENTS)
        np.testing.assert_array_equal(events_of(recording), EVENTS)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_recording_may_have_events_only(kind, tmp_path):
    with open_recording(write_any(tmp_path, kind, EVENTS)) as recording:
        assert recording.frames_topic is None
        assert recording.start == EVENTS["t"][0]
        assert recording.frame_stamps().dtype == np.int64 and len(recording.frame_stamps()) == 0
        assert len(concatenate([r.message.events for r in recording.read() if r.topic == "/dvs/events"])) == 3000


@pytest.mark.parametrize("kind", ["ros1", "sqlite3", "mcap", "text", "zip"])
def test_memory_does_not_grow_with_the_length(kind, tmp_path, monkeypatch):
    """A recording four times as long (of bags 13 or 16 MB) is read with the same peak of memory."""

    def peak(name, n):
        (tmp_path / name).mkdir()
        events = random_events(n, duration=n * 20_000)
        if kind in ("text", "zip"):
            path = write_any(tmp_path / name, kind, events)
        else:
            rows = with_topics(event_messages(events, n // 1000))
            path = write_bag(tmp_path / name / ("bag.bag" if kind == "ros1" else "bag"), rows, kind)
        tracemalloc.start()
        with open_recording(path) as recording:
            total = largest = 0
            for recorded in recording.read(camera_info=False):
                total += len(recorded.message.events)
                largest = max(largest, len(recorded.message.events))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == n and largest <= 2000
        return peak

    monkeypatch.setattr(event_file, "CHUNK_EVENTS", 10_000)
    n = 50_000 if kind in ("text", "zip") else 250_000
    short, long = peak("short", n), peak("long", 4 * n)
    assert long < 1.25 * short, (short, long)


def test_the_sample_is_the_same_as_text(tmp_path):
    with open_recording(SAMPLE) as bag:
        convert(bag, tmp_path / "text", "ecd-text")
    with open_recording(SAMPLE) as bag, open_recording(tmp_path / "text") as text:
        assert (bag.height, bag.width) == (text.height, text.width)
        np.testing.assert_array_equal(events_of(bag), events_of(text))
        np.testing.assert_array_equal(bag.frame_stamps(), text.frame_stamps())
        images = [[r.message.image for r in f.read() if isinstance(r.message, ImageMessage)] for f in (bag, text)]
        np.testing.assert_array_equal(*images)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/recordings is not here")
def test_a_real_bag_is_the_same_as_text():
    with (
        open_recording(SHARED / "slider_depth_start.bag") as bag,
        open_recording(SHARED / "slider_depth_start") as text,
    ):
        of_bag, of_text = events_of(bag), events_of(text)
        assert len(of_bag) == len(of_text) == 50_000
        assert (bag.height, bag.width) == (text.height, text.width) == (180, 240)
        of_bag["t"] -= bag.start
        of_text["t"] -= text.start
        np.testing.assert_array_equal(of_bag, of_text)
        # The text's frame times have six decimals.
        np.testing.assert_allclose(bag.frame_stamps() - bag.start, text.frame_stamps() - text.start, atol=1000)
        images = [[r.message.image for r in f.read() if isinstance(r.message, ImageMessage)] for f in (bag, text)]
        assert len(images[0]) == 5
        np.testing.assert_array_equal(*images)
        infos = [next(r.message for r in f.read() if isinstance(r.message, CameraInfoMessage)) for f in (bag, text)]
        np.testing.assert_allclose(infos[0].k, infos[1].k)
        np.testing.assert_allclose(infos[0].d, infos[1].d)


def test_packets_that_are_missing_are_counted_while_reading(tmp_path):
    events = random_events(900, 0)
    events["t"] = events["t"] // 1000 * 1000
    encoder = PacketEncoder("evt3")
    sent = [encoder.encode(EventMessage(i, "", 18, 24, part), i) for i, part in enumerate(np.array_split(events, 9))]
    rows = [(p.seq, "/e", p) for p in sent if p.seq not in (3, 6)]
    with open_recording(write_bag(tmp_path / "a.bag", rows)) as recording:
        got = events_of(recording)
        assert recording.packet_counts.missing_packets == 2
        assert len(got) + recording.packet_counts.unplaced_events == 700
        assert str(recording.packet_counts).startswith("2 packets missing")
        events_of(recording)
        assert recording.packet_counts.missing_packets == 2, "of the last reading alone"
