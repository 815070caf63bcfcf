"""The player: everything that a recording holds arrives, in order and in its own time."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from dvs_msgs.msg import EventArray
from harness import MS, cut, module, stream
from rclpy.qos import QoSProfile
from recordings.makers import T0, frames, random_events, with_topics, write_any, write_bag
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from cista_ros.events import concatenate
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import CAMERA_INFO, EVENT_ARRAY, IMAGE, EventMessage

EVENTS = random_events(2000, duration=600 * MS)
FRAMES = frames(12)


class Listener:
    """What arrives of a recording, decoded, in order, with the time of arrival."""

    def __init__(self, client, qos=None):
        self.events, self.frames, self.infos, self.arrivals = [], [], [], []
        qos = qos or QoSProfile(depth=1000)
        client.node.create_subscription(
            Image, "/dvs/image_raw", lambda data: self.frames.append(cdr.decode(IMAGE, data)), qos, raw=True
        )
        client.node.create_subscription(
            CameraInfo, "/dvs/camera_info", lambda data: self.infos.append(cdr.decode(CAMERA_INFO, data)), qos, raw=True
        )
        # Last: a node that has discovered this one has discovered those before it.
        client.node.create_subscription(EventArray, "/dvs/events", self._on_events, qos, raw=True)

    def _on_events(self, data):
        self.arrivals.append(time.monotonic())
        self.events.append(cdr.decode(EVENT_ARRAY, data))

    def all_events(self):
        return concatenate([message.events for message in self.events])


def play(path, *options):
    """Return the command that plays to any subscriber, not only to a reconstruction node."""
    return module("play", path, "--wait-for-nodes", 0, "--wait-for-subscribers", 1, *options)


def stamp_of_time(time) -> int:
    return time.sec * 10**9 + time.nanosec


def counts_of(process) -> dict[str, int]:
    return json.loads(process.out)


@pytest.mark.parametrize("kind", ["ros1", "sqlite3", "text"])
def test_all_events_frames_and_camera_infos_arrive_equal_and_in_order(client, tmp_path, kind):
    path = write_any(tmp_path, kind, EVENTS, FRAMES)
    listener = Listener(client)
    player = client.start(*play(path, "--rate", 5, "--json"))
    client.until(lambda: player.popen.poll() is not None)
    client.until(lambda: len(listener.infos) == len(listener.frames) == len(FRAMES))
    assert player.wait() == 0, player.err
    assert np.array_equal(listener.all_events(), EVENTS)
    assert {(m.height, m.width, m.frame_id) for m in listener.events} == {(18, 24, "")}
    assert [m.stamp for m in listener.frames] == [m.stamp for m in listener.infos] == [m.stamp for m in FRAMES]
    assert all(np.array_equal(got.image, m.image) for got, m in zip(listener.frames, FRAMES, strict=True))
    assert all(info.k[0] == 20 and info.d[0] == -0.1 for info in listener.infos)
    n = len(listener.events) + 2 * len(FRAMES)
    assert counts_of(player) == {"messages": n, "events": len(EVENTS), "images": len(FRAMES), "triggers": 0}


def test_nothing_is_published_before_a_subscriber_comes_and_nothing_is_lost_then(client, tmp_path):
    path = write_any(tmp_path, "ros1", EVENTS)
    player = client.start(*play(path, "--rate", 1000, "--wait-for-subscribers", 2))
    first = Listener(client)
    client.until(lambda: "Waiting for 2 subscribers on /dvs/events (/test_client)" in player.err)
    assert not first.events
    second = Listener(client)
    client.until(lambda: player.popen.poll() is not None)
    client.until(lambda: len(second.events) == 30)
    assert np.array_equal(first.all_events(), EVENTS)
    assert np.array_equal(second.all_events(), EVENTS)


def test_rate_stretches_time(client, tmp_path):
    path = write_any(tmp_path, "ros1", EVENTS)
    listener = Listener(client)
    player = client.start(*play(path, "--rate", 0.4))
    client.until(lambda: player.popen.poll() is not None)
    # 1.5 s; what comes late makes it no shorter than this, unless the machine stood still.
    assert listener.arrivals[-1] - listener.arrivals[0] > 0.9


def test_loop_plays_again_until_a_signal(client, tmp_path):
    path = write_any(tmp_path, "ros1", EVENTS)
    listener = Listener(client)
    player = client.start(*play(path, "--rate", 20, "--loop", "--json"))
    client.until(lambda: len(listener.events) > 70)
    assert player.stop(signal.SIGINT) == 0
    assert "Traceback" not in player.err
    assert counts_of(player)["messages"] >= len(listener.events)
    first, second = listener.events[:30], listener.events[30:60]
    assert all(np.array_equal(a.events, b.events) for a, b in zip(first, second, strict=True))


def test_start_and_end_cut_exactly(client, tmp_path):
    path = write_any(tmp_path, "ros1", EVENTS, FRAMES)
    listener = Listener(client)
    player = client.start(*play(path, "--rate", 5, "--start", 0.2, "--end", 0.35))
    client.until(lambda: player.popen.poll() is not None and len(listener.frames) == 4)
    start = min(int(EVENTS["t"][0]), T0)
    inside = (EVENTS["t"] >= start + 200 * MS) & (EVENTS["t"] < start + 350 * MS)
    assert np.array_equal(listener.all_events(), EVENTS[inside])
    assert [m.stamp for m in listener.frames] == [T0 + i * 50 * MS for i in (4, 5, 6, 7)]


def test_a_node_on_simulated_time_lives_in_the_recordings_time(client, small_weights, tmp_path):
    path = write_any(tmp_path, "ros1", EVENTS, FRAMES)
    clock, headers = [], []
    client.node.create_subscription(Clock, "/clock", lambda m: clock.append(stamp_of_time(m.clock)), 1000)
    client.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: headers.append(m.header.stamp), 10)
    node = client.start_node(f"weights:={small_weights[0]}", "use_sim_time:=true", "period:=0.1")
    Listener(client)
    player = client.start(*module("play", path, "--rate", 0.2, "--clock", "--wait-for-subscribers", 2))
    client.until(lambda: player.popen.poll() is not None and len(client.images) == 6)
    client.counts(lambda counts: counts["pending_events"] == 0 and counts["used_events"] == len(EVENTS))
    assert np.all(np.diff(clock) >= 0)
    assert len(clock) > 60
    assert T0 - 100 * MS <= clock[0] < clock[-1] <= T0 + 700 * MS
    assert headers[-1].sec == clock[-1] // 10**9
    assert node.stop() == 0


@pytest.fixture
def small_bag(tmp_path):
    return write_bag(tmp_path / "small.bag", [(m.stamp, "/dvs/events", m) for m in cut(stream(6000))])


def test_it_waits_for_an_active_node_whoever_else_subscribes_and_then_for_its_images(client, small_weights, small_bag):
    Listener(client)
    player = client.start(*module("play", small_bag, "--rate", 5, "--wait-for-images"))
    waiting = "Waiting for an active reconstruction node on /dvs/events (other subscribers: /test_client)"
    client.until(lambda: waiting in player.err)
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.002")
    client.until(lambda: player.popen.poll() is not None)
    assert player.wait() == 0, player.err
    assert process.stop() == 0
    assert "6000 used for 100 images, 0 dropped, 0 pending" in process.err


def test_a_node_that_is_not_active_is_named_and_waited_for(client, small_weights, small_bag):
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.002", "autostart:=false", active=False)
    player = client.start(*module("play", small_bag, "--wait-for-images"))
    client.until(lambda: "/cista_reconstruct is unconfigured and not subscribed to /dvs/events" in player.err)
    assert client.transition("configure") and client.transition("activate")
    client.until(lambda: player.popen.poll() is not None)
    assert player.wait() == 0, player.err
    assert process.stop() == 0
    assert "6000 used for 100 images, 0 dropped, 0 pending" in process.err


def test_playback_slows_down_for_a_node_that_falls_behind(client, full_weights, small_bag):
    process = client.start_node(f"weights:={full_weights}", "period:=0.0005", "runtime:=eager")
    rows = [(m.stamp, "/dvs/events", m) for m in cut(stream(20_000, 3.0))]
    long_bag = write_bag(small_bag.with_name("long.bag"), rows)
    player = client.start(*module("play", long_bag, "--rate", 2, "--wait-for-images"))
    client.until(lambda: "Playing slower than rate 2: /cista_reconstruct is behind" in player.err)
    player.stop()
    assert process.stop() == 0


def test_a_window_that_nothing_closes_is_closed_at_the_end(client, small_weights, small_bag):
    process = client.start_node(f"weights:={small_weights[0]}", "period:=0.15", "idle_timeout:=0.0")
    player = client.start(*module("play", small_bag, "--rate", 5, "--wait-for-images"))
    client.until(lambda: player.popen.poll() is not None)
    assert player.wait() == 0, player.err
    assert process.stop() == 0
    assert "6000 used for 2 images, 0 dropped, 0 pending" in process.err


def test_a_node_that_joins_late_is_told_what_it_missed_and_one_that_dies_fails_the_player(
    client, small_weights, small_bag
):
    rows = [(m.stamp, "/dvs/events", m) for m in cut(stream(20_000, 3.0))]
    long_bag = write_bag(small_bag.with_name("long.bag"), rows)
    player = client.start(*play(long_bag, "--rate", 0.05, "--wait-for-images"))
    listener = Listener(client)
    client.until(lambda: len(listener.events) > 3)
    process = client.start_node(f"weights:={small_weights[0]}")
    client.until(lambda: "/cista_reconstruct became active late: " in player.err)
    process.stop(signal.SIGKILL)
    player.stop()


def test_malformed_diagnostics_are_skipped(client, small_bag):
    Listener(client)
    client.node.destroy_subscription(next(s for s in client.node.subscriptions if s.topic_name == "/diagnostics"))
    diagnostics = client.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    player = client.start(*play(small_bag, "--rate", 0.2, "--wait-for-images"))
    client.until(diagnostics.get_subscription_count)
    diagnostics.publish(b"\0\1\0\0 no diagnostics")
    client.until(lambda: player.popen.poll() is not None)
    assert player.wait() == 0, player.err
    assert "Skipped 1 malformed diagnostics so far" in player.err


def test_bad_input_ends_with_code_2_and_one_clear_line(client, tmp_path):
    empty = write_bag(tmp_path / "empty.bag", with_topics([EventMessage(T0, "", 18, 24, EVENTS[:0])]))
    good = write_any(tmp_path, "ros1", EVENTS)
    late = EVENTS.copy()
    late["t"] += (1 << 31) * 10**9 - T0
    after_2038 = write_bag(tmp_path / "late.bag", with_topics([EventMessage((1 << 31) * 10**9, "", 18, 24, late)]))
    cut = tmp_path / "cut.bag"
    cut.write_bytes(good.read_bytes()[:3000])
    bad = {
        (tmp_path / "none.bag",): "none.bag: no such file or folder",
        (cut,): "cut.bag: cannot be read as a bag",
        (empty,): "topic /dvs/events ",
        (after_2038,): "late.bag: cannot publish a message on /dvs/events: 2147483648 does not fit",
        (after_2038, "--clock"): "late.bag: cannot publish a message on /dvs/events: ",
        (good, "--events-topic", "/left/events"): "no topic /left/events ",
        (good, "--start", 100): "no message between --start and --end",
        (good, "--rate", 0): "argument --rate: 0 is not a positive number",
        (good, "--start", -1): "argument --start",
        (good, "--wait-for-subscribers", -1): "argument --wait-for-subscribers",
    }
    processes = [client.start(*module("play", "--wait-for-nodes", 0, *arguments)) for arguments in bad]
    for process, reason in zip(processes, bad.values(), strict=True):
        assert process.wait() == 2, process.err
        assert reason in process.err.splitlines()[-1]
        assert "Traceback" not in process.err
