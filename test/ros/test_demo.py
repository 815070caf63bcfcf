"""`cista demo`: player, node and recorder together; their pictures and their sums."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from harness import MS, T0, H, W, cut, offline, stream
from recordings.makers import write_bag

from cista_ros.commands.demo import DemoError, _sustained_rate
from cista_ros.commands.main import app
from cista_ros.reconstructor import Reconstructor
from cista_ros.tone_map import to_mono8


def run(*arguments) -> None:
    app(["demo", *map(str, arguments)], standalone_mode=False)


def test_demo_writes_images_contact_sheet_and_sums(small_weights, tmp_path):
    bag = write_bag(tmp_path / "small.bag", [(m.stamp, "/dvs/events", m) for m in cut(stream())])
    output = tmp_path / "demo"
    (output / "frames").mkdir(parents=True)
    (output / "frames" / "00000099.png").write_bytes(b"of an earlier run")
    run(bag, "-o", output, "--weights", small_weights[0], "--period", 0.02)
    expected = offline(small_weights[1], stream())
    frames = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((output / "frames").glob("*.png"))]
    assert len(frames) == len(expected)
    assert all(np.array_equal(frame, to_mono8(p.shown)) for frame, p in zip(frames, expected, strict=True))
    assert len(list((output / "events").glob("*.png"))) == len(frames)
    sheet = cv2.imread(str(output / "contact_sheet.png"))
    assert sheet.shape[0] > H * len(frames) / 6 and sheet.shape[1] > 2 * W
    assert sheet.std() > 10
    summary = json.loads((output / "summary.json").read_text())
    assert summary["images"] == len(expected)
    assert summary["events"] == {"sent": 3000, "received": 3000, "used": 3000, "dropped": 0}
    assert [frame["stamp_ns"] for frame in summary["frames"]] == [p.stamp for p in expected]
    assert sum(frame["events"] for frame in summary["frames"]) == 3000
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert summary["rmw"].startswith("rmw_")
    assert summary["diagnostics"]["merged_windows"] == summary["diagnostics"]["lost_messages"] == "0"


def test_the_speed_is_what_the_machine_sustains_where_a_recording_is_busiest(small_weights, tmp_path, monkeypatch):
    # A machine that takes 10 ms for each step of the network, whatever else runs on it.
    make, seconds = Reconstructor.make, [0.0]

    def timed(self, window):
        frame = make(self, window)
        seconds[0] += 0.01 * frame.steps
        return frame

    monkeypatch.setattr(Reconstructor, "make", timed)
    monkeypatch.setattr("time.perf_counter", lambda: seconds[0])
    # A tenth of a second in which each window takes one step, and then, in one recording, one of twelve steps each.
    quiet, busy = stream(500, 0.1), stream(100_000, 0.1, t0=T0 + 100 * MS)
    rates = []
    for name, parts in (("quiet", [quiet]), ("busy", [quiet, busy])):
        messages = [m for part in parts for m in cut(part)]
        bag = write_bag(tmp_path / f"{name}.bag", [(m.stamp, "/dvs/events", m) for m in messages])
        rates.append(_sustained_rate(bag, str(small_weights[0]), "cpu", 0.002))
    assert rates == pytest.approx([0.002 / (2 * 0.01), 0.002 / (2 * 0.12)])


def test_demo_says_which_process_failed(small_weights, tmp_path, monkeypatch):
    bag = write_bag(tmp_path / "small.bag", [(m.stamp, "/dvs/events", m) for m in cut(stream())])
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_of_another_world")
    with pytest.raises(DemoError, match=r"(?s)a process ended early; the end of its log:.*rmw_of_another_world"):
        run(bag, "-o", tmp_path / "demo", "--weights", small_weights[0])
