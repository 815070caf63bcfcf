"""`cista info` reports what a recording was made with."""

import json
import shutil
import tracemalloc
from functools import partial

import numpy as np
import pytest
from recordings.makers import HEIGHT, NS, T0, WIDTH, event_messages, frames, random_events, with_topics, write_bag

from cista_ros.commands.info import describe
from cista_ros.events import TRIGGER_DTYPE, concatenate, make_events
from cista_ros.recordings import open_recording
from cista_ros.wire.event_packet import PacketEncoder
from cista_ros.wire.ros_types import EventMessage


@pytest.fixture
def info(cista):
    return partial(cista, "info")


@pytest.fixture
def described(info):
    """Describe a recording by `--json`."""

    def run(path):
        done = info(path, "--json")
        assert done.code == 0, done.err
        (found,) = json.loads(done.out)
        return found

    return run


def burst(t, n, x, y):
    return make_events(np.full(n, x), np.full(n, y), t, np.ones(n))


def test_events_frames_gaps_disorder_and_hot_pixels_are_counted(described, tmp_path):
    events = random_events(3000)
    events["p"] = np.arange(3000) % 4 == 0
    hot = burst(T0 + np.arange(0, NS, NS // 1000), 1000, 3, 2)  # a pixel that fires 1000 times a second
    later = random_events(500, t0=T0 + 2 * NS, duration=NS // 10)
    stream = concatenate([events, hot])
    stream = concatenate([stream[np.argsort(stream["t"], kind="stable")], later])
    stream["x"][-1] = WIDTH + 1
    messages = event_messages(stream, 45)
    swapped = messages[9].events.copy()
    swapped[[4, 5]] = swapped[[5, 4]]
    messages[9] = EventMessage(messages[9].stamp, "", HEIGHT, WIDTH, swapped)
    found = described(write_bag(tmp_path / "a.bag", with_topics(messages, frames(20))))
    assert found["sensor"] == {"width": WIDTH, "height": HEIGHT}
    assert found["topics"]["frames"] == "/dvs/image_raw" and found["topics"]["encodings"] == ["array"]
    e, first = found["events"], int(stream["t"][0])
    assert (e["count"], e["messages"], e["first_ns"], e["last_ns"]) == (4500, 45, first, int(stream["t"][-1]))
    assert e["positive_share"] == pytest.approx(stream["p"].mean())
    assert (e["out_of_order"], e["outside_sensor"], e["gaps"]) == (1, 1, 1)
    assert e["furthest_back"] == pytest.approx(float(swapped["t"][4] - swapped["t"][5]) / NS)
    (gap,) = e["longest_gaps"]
    assert gap["seconds"] == pytest.approx((later["t"][0] - stream["t"][-501]) / NS)
    assert (e["hot_pixels"], e["hottest"], e["hot_share"] > 0.2) == (1, [[3, 2]], True)
    bins = np.bincount((np.delete(stream, -1)["t"] - T0 // 10**7 * 10**7) // 10**7)
    assert e["peak_rate"] == 100 * bins.max()
    f = found["frames"]
    assert (f["count"], f["rate"], f["width"], f["height"], f["encoding"]) == (20, 20.0, WIDTH, HEIGHT, "mono8")
    assert f["first_after_events"] == pytest.approx((T0 - first) / NS)
    assert found["notes"] == []


def test_triggers_and_packets_are_counted(described, tmp_path):
    events = random_events(900, 0)
    events["t"] = events["t"] // 1000 * 1000
    triggers = np.array(
        [(i * NS // 50 * 1000 // 1000, 2, edge) for i in range(1, 50) for edge in (1, 0)], TRIGGER_DTYPE
    )
    encoder, rows = PacketEncoder("evt3"), []
    for i, part in enumerate(np.array_split(events, 9)):
        among = triggers[(triggers["t"] > (events["t"][i * 100 - 1] if i else -1)) & (triggers["t"] <= part["t"][-1])]
        packet = encoder.encode(EventMessage(i, "", HEIGHT, WIDTH, part, None, among), i)
        rows += [(i, "/e", packet)] * (i != 4)
    found = described(write_bag(tmp_path / "a.bag", rows))
    edges = found["triggers"]["2"]
    assert 40 < edges["rate"] < 50 and 40 < edges["rising"] < 49
    assert found["events"]["packets"]["missing_packets"] == 1 and found["topics"]["encodings"] == ["evt3"]


def test_all_topics_with_events_are_described_and_frames_of_another_clock_are_explained(info, tmp_path):
    left, right = event_messages(random_events(300)), event_messages(random_events(200, seed=1))
    rows = [(m.stamp, "/left/events", m) for m in left] + [(m.stamp, "/right/events", m) for m in right]
    rows += [(m.stamp, "/left/image_raw", m) for m in frames(5, t0=T0 + 500 * NS)]
    path = write_bag(tmp_path / "a.bag", sorted(rows, key=lambda row: row[0]))
    code, out, _ = info(path)
    assert code == 0
    assert "/left/events" in out and "300 in 30 messages" in out and "200 in 30 messages" in out
    assert "--time-offset 499.99" in out and "frames and events are on different clocks" in out
    assert "/right/events" in info(path, "--events-topic", "/right/events")[1]


def test_files_that_cannot_be_read_are_named_and_the_others_described(info, tmp_path, recording_bag):
    (tmp_path / "bad.raw").write_bytes(b"% evt 3.0\n")
    code, out, err = info(tmp_path / "bad.raw", recording_bag, tmp_path / "none.bag")
    assert code == 2 and str(recording_bag) in out and "frames" in out
    assert [line.split(": ")[2] for line in err.splitlines() if "error" in line] == [
        str(tmp_path / "bad.raw"),
        str(tmp_path / "none.bag"),
    ]


def test_a_folder_stands_for_the_recordings_in_it(info, tmp_path, recording_bag):
    (tmp_path / "day" / "one").mkdir(parents=True)
    for name in ("a", "one/b"):
        shutil.copy(recording_bag, tmp_path / "day" / f"{name}.bag")
    (tmp_path / "empty").mkdir()
    code, out, err = info(tmp_path / "empty", tmp_path / "day", "--json")
    assert code == 2 and f"{tmp_path / 'empty'}: no recordings in this folder" in err
    assert [row["path"] for row in json.loads(out)] == [str(tmp_path / "day" / name) for name in ("a.bag", "one/b.bag")]


def test_memory_does_not_grow_with_the_length(tmp_path):
    def peak(n):
        messages = event_messages(random_events(n, duration=n * 20_000), n // 1000)
        with open_recording(write_bag(tmp_path / f"{n}.bag", with_topics(messages))) as recording:
            tracemalloc.start()
            assert describe(recording)["events"]["count"] == n
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    assert peak(1_200_000) < 1.25 * peak(300_000)
