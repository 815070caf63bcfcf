"""A network that is too slow for its camera: no message is lost, every window is accounted for, memory stays flat."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest
from harness import PATIENCE_S, module, stream

CAMERA = str(Path(__file__).with_name("camera.py"))
EVENTS = 75_000


@pytest.mark.parametrize(("policy", "messages"), [("merge", 240), ("skip", 60)])
def test_overload_loses_no_message_and_counts_every_window(client, full_weights, policy, messages):
    # One step an image, which with the full network takes longer than the 33 ms to the next message.
    process = client.start_node(
        f"weights:={full_weights}",
        f"overload_policy:={policy}",
        "max_latency:=0.1",
        "sensor_width:=240",
        "sensor_height:=180",
        f"max_events:={EVENTS}",
    )
    camera = client.start(CAMERA, str(messages), str(EVENTS), "30")
    client.counts(lambda counts: counts["messages"] > messages // 2)
    middle = process.resident_mb()
    counts = client.counts(lambda c: c["messages"] >= messages and c["pending_events"] == 0)
    end = process.resident_mb()
    assert camera.wait() == 0, camera.err
    assert counts["messages"] == int(camera.out) == messages
    assert counts["lost_messages"] == 0
    assert counts["received_events"] == messages * EVENTS
    assert counts["received_events"] == counts["used_events"] + counts["dropped_events"]
    # The camera's messages and the node's windows are both 1/30 s, and begin together.
    assert counts["images"] + counts["merged_windows"] + counts["skipped_windows"] == messages
    assert counts["queued_windows"] == counts["failed_windows"] == 0
    client.until(lambda: len(client.images) == counts["images"])
    if policy == "merge":
        assert counts["merged_windows"] > 0
        assert counts["dropped_events"] == counts["skipped_windows"] == 0
    else:
        assert counts["skipped_windows"] > 0
        assert counts["dropped_events"] == counts["skipped_windows"] * EVENTS
    line = r"slower than the events: \d+ windows merged, \d+ skipped. Set downscale to 2, or max_latency above 0.1 s"
    assert re.search(line, process.err)
    assert end < 1.3 * middle + 100, f"{middle:.0f} MB in the middle, {end:.0f} MB at the end"
    assert process.stop() == 0


def signal_until_it_ends(process, number):
    """Again and again, as impatient people and `ros2 launch` do."""
    for _ in range(100 * PATIENCE_S):
        if process.popen.poll() is not None:
            break
        process.popen.send_signal(number)
        time.sleep(0.01)
    return process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_busy_node_in_order(client, full_weights, number):
    process = client.start_node(f"weights:={full_weights}", "period:=0.001")
    client.send(stream(40_000, 0.2, 180, 240), height=180, width=240)
    client.until(lambda: client.images)
    assert signal_until_it_ends(process, number) == 0
    assert "Traceback" not in process.err and "invalid" not in process.err, process.err
    summary = process.err.splitlines()[-1]
    used, pending, dropped, images, skipped = (
        int(re.search(pattern, summary)[1])
        for pattern in (r"(\d+) used", r"(\d+) pending", r"(\d+) dropped", r"for (\d+) images", r"skipped (\d+)")
    )
    assert used + pending + dropped == int(re.search(r"(\d+) events:", summary)[1]) > 0
    assert pending > 0 and images > 0 and skipped == 0


def test_signals_end_an_idle_node_in_order(client, small_weights):
    process = client.start_node(f"weights:={small_weights[0]}")
    assert signal_until_it_ends(process, signal.SIGTERM) == 0
    *_, last = process.err.splitlines()
    assert "0 messages (0 malformed, 0 of the wrong size, 0 lost); 0 events: 0 used for 0 images" in last
    assert "Traceback" not in process.err and "invalid" not in process.err, process.err


def test_signals_while_the_node_is_still_starting_end_it_in_order(client, small_weights):
    starting = {
        number: client.start(*module("reconstruct", "--ros-args", "-p", f"weights:={small_weights[0]}"))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number, process in starting.items():
        # Its signal handlers are in place before it loads what takes long.
        client.until(lambda: handles(process, number))  # noqa: B023
        process.popen.send_signal(number)
    for process in starting.values():
        assert process.wait() == 0
        assert "Traceback" not in process.err


def handles(process, number) -> bool:
    """Whether a process has a handler for a signal, by the kernel's word."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    terminate = caught >> (signal.SIGTERM - 1) & 1  # Python itself handles SIGINT from its first moment
    return bool(terminate and caught >> (number - 1) & 1)
