"""Counts that add up in every report, rates, and warnings that are logged once in a while."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

from cista_ros.node.health import Counts, Speed, Warnings

DROPPED = "outside", "late", "stray", "hot", "noise", "skipped", "discarded", "failed", "not_ready"


def test_each_report_adds_up_while_another_thread_counts():
    counts, ended = Counts(), threading.Event()
    counts.event_filter.received = 1 << 40

    def work():
        while not ended.is_set():
            counts.used_events += 1
            counts.failed_events += 1

    worker = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        worker.start()
        reports = [counts.values() for _ in range(500)]
    finally:
        ended.set()
        worker.join()
        sys.setswitchinterval(interval)
    assert reports[-1]["used_events"] > reports[0]["used_events"]
    for report in reports:
        dropped = sum(report[f"{name}_events"] for name in DROPPED)
        assert report["dropped_events"] == dropped
        assert report["received_events"] == report["used_events"] + dropped + report["pending_events"]


def test_rates_and_quantiles_cover_the_time_since_the_last_call(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    speed = Speed()
    for latency in (0.001, 0.002, 0.009):
        speed.add(latency)
    now[0] += 2
    rates = speed.rates(500)
    assert (rates.event_rate, rates.image_rate) == (250, 1.5)
    assert (rates.latency_ms_p50, rates.latency_ms_p95, rates.latency_ms_max) == pytest.approx((2, 8.3, 9))
    now[0] += 0.01
    assert speed.rates(600) == rates, "those of an instant mean nothing"
    now[0] += 0.99
    later = speed.rates(600)
    assert (later.event_rate, later.image_rate) == (100, 0) and np.isnan(later.latency_ms_p50)


def test_each_kind_of_warning_is_logged_once_in_five_seconds(monkeypatch):
    now, logged = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    warnings = Warnings(logged.append)
    for text in "ab":
        warnings.add("one", text)
    warnings.log("two", "c")
    assert (logged, warnings.last) == (["a", "c"], "b")
    now[0] += 5
    warnings.add("one", "d")
    assert (logged, warnings.last, warnings.age()) == (["a", "c", "d"], "d", 0)
