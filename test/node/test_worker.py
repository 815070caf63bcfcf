"""The worker's thread: errands before windows, a runtime that is made when needed, failures that cost a window only."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from test_pipeline import H, W, events_at

from cista_ros.errors import EventError
from cista_ros.networks import SMALL_WEIGHTS
from cista_ros.node.backlog import Backlog, Job
from cista_ros.node.counts import Counts, Recent
from cista_ros.node.image_source import ImageSource, LoadedNetwork, NotReadyError, load, weights_version
from cista_ros.node.parameters import Settings
from cista_ros.node.worker import NICENESS, Worker
from cista_ros.reconstructor import Reconstructor
from cista_ros.windows import Window

PLAIN = Settings(tone_map="none", runtime="eager", device="cpu")


class Told:
    """What the node's Troubles are told."""

    def __init__(self):
        self.kinds = []

    def add(self, kind, text):
        self.kinds.append((kind, text))


def window(first=False):
    return Window(events_at(np.arange(50)), 49, first)


@pytest.fixture
def source(small_network):
    told = []
    loaded = LoadedNetwork(
        small_network, Reconstructor(small_network, H, W, "cpu").device, (), "small", "weights small"
    )
    made = ImageSource(loaded, PLAIN, H, W, told.append)
    made.told = told
    return made


@pytest.fixture
def work():
    """A worker, its counts, what was published and what troubles were told."""
    counts, published, troubles = Counts(), [], Told()
    backlog = Backlog(10, "merge", counts.backlog)
    worker = Worker(backlog, lambda picture, job: published.append(picture), counts, lambda _: None, troubles)
    yield worker, counts, published, troubles
    assert worker.close()


def test_the_network_steps_back_behind_the_thread_that_takes_messages(work):
    worker = work[0]

    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert worker.submit(niceness).result(10) == min(19, niceness() + NICENESS)


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_windows_become_the_pictures_of_the_core(work, source, small_network):
    worker, counts, published, _ = work
    worker.backlog.put(Job((window(first=True),), source, "dvs"))
    until(lambda: counts.used_events == 50)
    expected = Reconstructor(small_network, H, W, "cpu", tone_map="none", runtime="eager").make(window())
    np.testing.assert_array_equal(published[0].image, expected.image)
    assert source.told == [f"{W}x{H} pixels: {source._maker.runtime_note}"]
    assert counts.images == 1


def test_errands_go_before_windows_and_their_errors_to_who_asked(work, source):
    worker, counts, _, _ = work
    gate, order = threading.Event(), []
    first = worker.submit(gate.wait)
    worker.backlog.put(Job((window(),), source, "dvs"))
    second = worker.submit(lambda: order.append(counts.images))
    third = worker.submit(lambda: 1 // 0)
    gate.set()
    first.result(30)
    second.result(30)
    with pytest.raises(ZeroDivisionError):
        third.result(30)
    until(lambda: counts.images == 1)
    assert order == [0]


def test_what_waits_can_be_discarded_and_is_counted(work, source):
    worker, counts, published, _ = work
    gate = threading.Event()
    worker.submit(gate.wait)
    for _ in range(3):
        worker.backlog.put(Job((window(),), source, "dvs"))
    worker.backlog.discard()
    gate.set()
    worker.submit(int).result(30)
    assert not published
    assert (counts.backlog.discarded_windows, counts.backlog.discarded_events) == (3, 150)


def test_a_size_for_which_there_is_no_runtime_costs_its_windows_and_is_tried_again(work, source, monkeypatch):
    worker, counts, published, troubles = work
    source.adjust(replace(PLAIN, downscale=2))  # of 24x20 pixels it leaves too few
    for i in range(4):
        worker.backlog.put(Job((window(),), source, "dvs"))
        until(lambda i=i: counts.not_ready_windows == i + 1)
        source.adjust(PLAIN)
    assert counts.not_ready_events == 200 and counts.failed_windows == counts.images == 0, "not tried with every window"
    kind, text = troubles.kinds[0]
    assert kind == "not ready"
    assert text == f"No images: {source.error}; tried again every 10 s"
    monkeypatch.setattr(source, "_retry_at", time.monotonic())
    worker.backlog.put(Job((window(),), source, "dvs"))
    until(lambda: counts.images == 1)
    assert (source.error, len(published)) == (None, 1)


def test_a_window_that_fails_costs_itself_and_what_the_network_remembers(work, source):
    worker, counts, published, troubles = work
    worker.backlog.put(Job((window(first=True),), source, "dvs"))
    without_pixels = replace(window(), events=np.zeros(50, [("t", np.int64)]))
    worker.backlog.put(Job((without_pixels,), source, "dvs"))
    worker.backlog.put(Job((window(),), source, "dvs"))
    until(lambda: counts.images == 2)
    assert (counts.failed_windows, counts.failed_events, counts.used_events) == (1, 50, 100)
    np.testing.assert_array_equal(published[0].image, published[1].image)
    assert [kind for kind, _ in troubles.kinds] == ["failed"]
    assert troubles.kinds[0][1].startswith("A window of 50 events failed: ")


def test_a_network_that_cannot_even_be_reset_costs_its_runtime_and_not_the_thread(work, source, monkeypatch):
    worker, counts, _, _ = work

    def broken(*_):
        raise RuntimeError("the GPU has fallen off the bus")

    source.prepare()
    monkeypatch.setattr(source._maker, "make", broken)
    monkeypatch.setattr(source._maker, "reset", broken)
    worker.backlog.put(Job((window(first=True),), source, "dvs"))
    worker.backlog.put(Job((window(),), source, "dvs"))
    until(lambda: counts.images == 1)
    assert (counts.failed_windows, counts.used_events) == (1, 50)


def test_a_source_takes_over_settings_and_refuses_those_that_cannot_be(source, small_network):
    source.prepare()
    source.adjust(Settings(tone_map="stretch", max_events=7, hot_pixels=True, runtime="eager", device="cpu"))
    shown = source.make(window(first=True)).shown
    assert (shown.min(), shown.max()) == (0, 1)
    other = ImageSource(source.loaded, Settings(downscale=2), H, W, print)
    with pytest.raises(EventError, match="downscale 2 is not possible on a 24x20 sensor"):
        other.prepare()
    with pytest.raises(NotReadyError, match="downscale 2 is not possible"):
        other.make(window())
    assert isinstance(other.error, EventError)


def test_weights_are_loaded_and_told_from_those_that_replace_them(tmp_path, small_network):
    from cista_ros.networks import save_network

    path = tmp_path / "mine.safetensors"
    save_network(small_network, path)
    settings = Settings(weights=str(path), device="cpu", runtime="eager")
    loaded = load(settings)
    assert loaded.version == weights_version(settings)
    path.write_bytes(path.read_bytes())
    assert loaded.version != weights_version(settings)


def test_weights_auto_are_the_small_ones_on_a_cpu():
    loaded = load(Settings(device="cpu", runtime="eager"))
    assert loaded.weights == SMALL_WEIGHTS and "auto" in loaded.note
    assert loaded.version == weights_version(Settings(weights=SMALL_WEIGHTS, device="cpu"))


def test_rates_and_quantiles_are_of_the_time_since_they_were_last_taken():
    recent = Recent()
    recent.take(1000)
    for latency in (0.001, 0.002, 0.009):
        recent.add(latency)
    time.sleep(0.05)
    rates = recent.take(1500)
    assert 0 < rates.event_rate <= 500 / 0.05
    assert rates.event_rate / 500 == pytest.approx(rates.image_rate / 3)
    assert rates.latency_ms_p50 == pytest.approx(2)
    assert rates.latency_ms_p95 == pytest.approx(8.3)
    assert rates.latency_ms_max == pytest.approx(9)
    empty = recent.take(1500)
    assert (empty.event_rate, empty.image_rate) == (0, 0) and np.isnan(empty.latency_ms_p50)
