"""What the node counted adds up in every report, also while the worker goes on counting."""

from __future__ import annotations

import sys
import threading

from cista_ros.node.counts import Counts

DROPPED = "outside", "late", "stray", "skipped", "discarded", "failed", "not_ready"


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
