"""The queue between the two threads, and the thread that runs the network."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_pipeline import H, W, events_at

from cista_ros.errors import EventError
from cista_ros.events import make_events
from cista_ros.networks import SMALL_WEIGHTS, save_network
from cista_ros.node import worker as module
from cista_ros.node.diagnostics import Health, QueueCounts
from cista_ros.node.parameters import POLICIES, Settings
from cista_ros.node.worker import (
    NICENESS,
    FrameMaker,
    Job,
    LoadedNetwork,
    NotReadyError,
    WindowQueue,
    Worker,
    load_and_prepare,
    make_jobs,
    weights_version,
)
from cista_ros.reconstructor import Reconstructor
from cista_ros.windows import Window

PLAIN = Settings(tone_map="none", runtime="eager", device="cpu")
INF = float("inf")


def window(t=0, n=3, first=False):
    return Window(make_events(np.arange(n), np.zeros(n), np.arange(t, t + n), np.ones(n)), t + n - 1, first)


def job(w, maker=None, due=INF):
    """A job that never becomes a frame: the queue only compares makers."""
    return Job((w,), maker, 0.0, due)


def late(*windows, maker=None):
    return [job(w, maker, -INF) for w in windows]


def take_all(queue):
    return list(iter(queue.get, None))


def test_without_jobs_that_are_due_it_is_a_plain_queue():
    queue = WindowQueue("merge")
    windows = [window(0, first=True), window(10), window(20)]
    queue.put([job(w) for w in windows])
    assert len(queue) == 3
    assert [j.window for j in take_all(queue)] == windows
    assert queue.counts == QueueCounts()


def test_merge_joins_what_is_due_with_the_next_and_loses_no_event():
    queue = WindowQueue("merge")
    queue.put([*late(window(0, first=True), window(10)), job(window(20)), job(window(30))])
    oldest, newest = take_all(queue)
    assert oldest.window.events["t"].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert (oldest.window.stamp, oldest.window.first, oldest.window.merged) == (22, True, True)
    assert (newest.window.stamp, newest.window.first, newest.window.merged) == (32, False, False)
    assert queue.counts == QueueCounts(merged_windows=2)


def test_skip_drops_what_is_due_and_passes_on_that_a_stream_began():
    queue = WindowQueue("skip")
    queue.put([*late(window(0, first=True)), job(window(10)), job(window(20))])
    assert [(j.window.stamp, j.window.first) for j in take_all(queue)] == [(12, True), (22, False)]
    assert queue.counts == QueueCounts(skipped_windows=1, skipped_events=3)


def test_a_job_is_due_early_enough_for_the_network_step():
    queue = WindowQueue("merge")
    now = time.monotonic()
    queue.put([job(window(0), due=now + 100), job(window(10), due=now + 300)])
    queue.step_s = 200
    assert len(take_all(queue)) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_the_last_job_is_made_however_late(policy):
    queue = WindowQueue(policy)
    queue.put(late(window(0)))
    assert len(take_all(queue)) == 1 and queue.counts == QueueCounts()


def test_windows_of_two_streams_or_two_networks_are_never_merged():
    queue = WindowQueue("merge")
    queue.put(late(window(0, first=True), window(10), window(0, first=True), window(10)))
    queue.put(late(window(20), maker="other"))
    assert [j.window.stamp for j in take_all(queue)] == [12, 12, 22]
    assert queue.counts == QueueCounts(merged_windows=2)


@pytest.mark.parametrize("policy", POLICIES)
def test_memory_is_bounded_by_skipping_the_oldest(policy, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_EVENTS", 8)
    queue = WindowQueue(policy)
    queue.put([job(window(t, first=not t)) for t in range(0, 40, 10)])
    assert len(queue) == 2
    assert queue.counts == QueueCounts(skipped_windows=2, skipped_events=6)
    # One larger than the bound waits alone.
    queue.put([job(window(40, n=9))])
    (last,) = take_all(queue)
    assert (last.window.stamp, last.window.first) == (48, True)


def test_windows_of_one_long_message_may_wait_as_long_as_it_lasted():
    windows = [window(round(i * 1e8)) for i in range(11)]
    before = time.monotonic()
    jobs = make_jobs(windows, None, 0.3, warm_up=2)
    assert all(0.3 + 1.0 <= j.due - before < 0.3 + 1.0 + 60 for j in jobs)
    assert [j.warm_up for j in jobs] == [True] * 2 + [False] * 9
    assert make_jobs(windows[:1], None, 0.0)[0].due == INF


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5), st.booleans(), st.booleans()),  # events, first, due
        st.tuples(st.just("get")),
        st.tuples(st.just("other maker")),
        st.tuples(st.just("policy"), st.sampled_from(POLICIES)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("policy", POLICIES)
@given(steps=steps)
def test_every_event_and_window_is_taken_skipped_or_pending_in_order(policy, steps):
    queue, maker, taken, t = WindowQueue(policy), 0, [], 0
    puts, firsts = [], set()
    first = True
    for kind, *values in steps:
        if kind == "put":
            n, begins, due = values
            t += 10
            w = window(t, n, first or begins)
            queue.put([job(w, maker, -INF if due else INF)])
            puts.append(w)
            firsts |= {w.stamp} if w.first else set()
            first = False
        elif kind == "get" and queue:
            taken.append(queue.get())
        elif kind == "other maker":
            maker, first = maker + 1, True
        elif kind == "policy":
            queue.policy = values[0]
    counts = queue.counts
    events = sum(len(w.events) for w in puts)
    jobs = taken + take_all(queue)
    assert events == sum(j.events for j in jobs) + counts.skipped_events
    assert len(puts) == len(jobs) + counts.merged_windows + counts.skipped_windows
    stamps = np.concatenate([[], *(j.window.events["t"] for j in jobs)])
    assert np.all(np.diff(stamps) > 0)
    for j in jobs:
        assert not any(w.first for w in j.windows[1:]), "two streams in one window"
    # The first window that is left of a new stream says so, whichever were skipped before it.
    for before, after in zip([None, *jobs], jobs, strict=False):
        begun = any(before is None or s > before.window.stamp for s in firsts if s <= after.windows[0].stamp)
        if begun:
            assert after.windows[0].first


# --- the thread ---


def full_window(first=False):
    return Window(events_at(np.arange(50)), 49, first)


def due_never(w, maker):
    return [Job((w,), maker, time.monotonic(), INF)]


@pytest.fixture
def maker(small_network):
    notes = []
    network = Reconstructor(small_network, H, W, "cpu", runtime="eager")
    made = FrameMaker(LoadedNetwork(small_network, network.device, (), "small", ""), PLAIN, H, W, notes.append)
    made.notes = notes
    return made


@pytest.fixture
def work():
    """A worker, its counts, the frames that it published and the warnings that it logged."""
    published, logged = [], []
    health = Health(logged.append)
    queue = WindowQueue("merge", health.counts.queue)
    worker = Worker(queue, lambda frame, _: published.append(frame), health, lambda: "Set downscale to 2.")
    yield worker, health.counts, published, logged
    assert worker.close()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_the_network_has_a_lower_priority_than_the_thread_that_takes_messages(work):
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert work[0].submit(niceness).result(60) == min(19, niceness() + NICENESS)


def test_windows_become_the_frames_of_the_core(work, maker, small_network):
    worker, counts, published, _ = work
    worker.put(due_never(full_window(first=True), maker))
    until(lambda: counts.used_events == 50)
    expected = Reconstructor(small_network, H, W, "cpu", tone_map="none", runtime="eager").make(full_window())
    np.testing.assert_array_equal(published[0].image, expected.image)
    assert len(maker.notes) == 1 and maker.notes[0].startswith(f"{W}x{H} pixels: runtime eager")
    assert counts.images == 1


def test_a_function_runs_before_the_windows_that_wait_and_its_error_goes_to_the_caller(work, maker):
    worker, counts, _, _ = work
    gate, order = threading.Event(), []
    first = worker.submit(gate.wait)
    worker.put(due_never(full_window(), maker) * 3)
    until(lambda: len(worker.queue) == 3)
    second = worker.submit(lambda: order.append(counts.images))
    third = worker.submit(lambda: 1 // 0)
    gate.set()
    first.result(60)
    second.result(60)
    with pytest.raises(ZeroDivisionError):
        third.result(60)
    until(lambda: counts.images == 3)
    assert order[0] <= 1, "at most the job that was next already"


def test_waiting_windows_can_be_discarded_and_are_counted(work, maker):
    worker, counts, published, _ = work
    gate = threading.Event()
    worker.submit(gate.wait)
    worker.put(due_never(full_window(), maker) * 3)
    worker.queue.discard()
    gate.set()
    worker.submit(int).result(60)
    assert not published
    assert (counts.queue.discarded_windows, counts.queue.discarded_events) == (3, 150)


def test_warm_up_windows_settle_the_state_and_are_not_published(work, maker, small_network):
    worker, counts, published, _ = work
    worker.put(make_jobs([full_window(first=True), full_window(), full_window()], maker, 0, warm_up=2))
    until(lambda: counts.used_events == 150)
    assert (counts.warm_up_windows, counts.images) == (2, 1)
    core = Reconstructor(small_network, H, W, "cpu", tone_map="none", runtime="eager")
    for _ in range(3):
        expected = core.make(full_window())
    np.testing.assert_array_equal(published[0].image, expected.image)


@pytest.mark.parametrize(
    ("prepared", "busy_s", "expected"),
    [(True, 2, "slower than the events"), (True, 0.5, "not keep up for a moment"), (False, 0, "loaded or prepared")],
)
def test_the_warning_of_merged_windows_names_the_cause(work, maker, prepared, busy_s, expected):
    worker, counts, _, logged = work
    gate = threading.Event()
    if prepared:
        worker.submit(maker.prepare).result(60)
        until(lambda: time.monotonic() > maker.ready_at)
        gate.set()
    else:
        worker.submit(gate.wait)
    jobs = [Job((full_window(),), maker, time.monotonic() + busy_s, -INF) for _ in range(3)]
    worker.put(jobs)
    gate.set()
    until(lambda: counts.used_events == 150)
    (line,) = logged
    assert "2 windows merged, 0 skipped" in line and expected in line
    assert ("Set downscale to 2." in line) == prepared


def test_a_size_that_cannot_be_reconstructed_costs_its_windows_and_is_tried_again(work, maker, monkeypatch):
    worker, counts, published, logged = work
    maker.settings = replace(PLAIN, downscale=2)  # of 24x20 pixels it leaves too few
    for i in range(4):
        worker.put(due_never(full_window(), maker))
        until(lambda i=i: counts.not_ready_windows == i + 1)
        maker.settings = PLAIN
    assert counts.not_ready_events == 200 and counts.failed_windows == counts.images == 0, "not tried with every window"
    assert logged == [f"No images: {maker.error}; the node retries every 10 s"]
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 11)
    worker.put(due_never(full_window(), maker))
    until(lambda: counts.images == 1)
    assert (maker.error, len(published)) == (None, 1)


def test_a_window_that_fails_costs_itself_and_the_networks_state(work, maker):
    worker, counts, published, logged = work
    worker.put(due_never(full_window(first=True), maker))
    without_pixels = replace(full_window(), events=np.zeros(50, [("t", np.int64)]))
    worker.put(due_never(without_pixels, maker))
    worker.put(due_never(full_window(), maker))
    until(lambda: counts.images == 2)
    assert (counts.failed_windows, counts.failed_events, counts.used_events) == (1, 50, 100)
    np.testing.assert_array_equal(published[0].image, published[1].image)
    assert len(logged) == 1 and logged[0].startswith("A window of 50 events failed: ")


def test_a_network_that_cannot_even_be_reset_costs_its_runtime_and_not_the_thread(work, maker, monkeypatch):
    worker, counts, _, _ = work
    broken = [True]

    def gpu(original):
        def call(*arguments):
            if broken[0]:
                raise RuntimeError("the GPU has fallen off the bus")
            return original(*arguments)

        return call

    maker.prepare()
    for name in ("make", "reset"):
        monkeypatch.setattr(Reconstructor, name, gpu(getattr(Reconstructor, name)))
    worker.put(due_never(full_window(first=True), maker))
    until(lambda: counts.failed_windows == 1)
    assert maker.ready_at is None
    broken[0] = False
    worker.put(due_never(full_window(), maker))
    until(lambda: counts.images == 1)
    assert len(maker.notes) == 2


def test_a_maker_adopts_settings_and_refuses_impossible_ones(maker, small_network):
    maker.prepare()
    maker.settings = Settings(tone_map="stretch", max_events=7, clip_hot_pixels=True, runtime="eager", device="cpu")
    shown = maker.make(full_window(first=True)).shown
    assert (shown.min(), shown.max()) == (0, 1)
    other = FrameMaker(maker.loaded, Settings(downscale=2), H, W, print)
    with pytest.raises(EventError, match="downscale 2 is not possible on a 24x20 sensor"):
        other.prepare()
    with pytest.raises(NotReadyError, match="downscale 2 is not possible"):
        other.make(full_window())
    assert isinstance(other.error, EventError)


def test_a_replaced_weights_file_has_another_version(tmp_path, small_network):
    path = tmp_path / "mine.safetensors"
    save_network(small_network, path)
    settings = Settings(weights=str(path), device="cpu", runtime="eager")
    loaded, _ = load_and_prepare(settings, None, print)
    assert loaded.version == weights_version(settings)
    path.write_bytes(path.read_bytes())
    assert loaded.version != weights_version(settings)


def test_weights_auto_are_the_small_ones_on_a_cpu():
    loaded, maker = load_and_prepare(Settings(device="cpu", runtime="eager"), None, print)
    assert maker is None
    assert loaded.weights == SMALL_WEIGHTS and "auto" in loaded.note
    assert loaded.version == weights_version(Settings(weights=SMALL_WEIGHTS, device="cpu"))
