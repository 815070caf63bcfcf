"""Counts that add up in every report, rates, warnings that are logged once in a while, and the memory in use."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cista_ros.node.diagnostics import Counts, Speed, Warnings, memory

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


BURST = """
import numpy as np
from cista_ros.node.diagnostics import Trim, resident_mb

trim = Trim()
trim()
before = resident_mb()
# Too small for pages of their own. Every fourth stays in use, so that the heap cannot simply end earlier.
arrays = [np.ones(100_000, np.uint8) for _ in range(4000)]
arrays = arrays[::4]
kept = resident_mb()
trim()
print(kept - before, resident_mb() - before, all(a.all() for a in arrays))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_memory_of_a_burst_is_given_back_and_what_is_in_use_stays():
    # In a process of its own: other tests leave blocks in use that share pages with these.
    said = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True).stdout
    kept, left, intact = said.split()
    assert float(kept) > 250 and 50 < float(left) < 200 and intact == "True"


def test_the_reported_memory_is_the_systems_figure():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert memory(None)["process_memory_mb"] == pytest.approx(int(status["VmRSS"].split()[0]) / 1024, rel=0.05)


def test_a_failed_gpu_does_not_hide_the_process_memory(monkeypatch):
    def failed(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", failed)
    found = memory(torch.device("cuda"))
    assert list(found) == ["process_memory_mb"] and found["process_memory_mb"] > 50
