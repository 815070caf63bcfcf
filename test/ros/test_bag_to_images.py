"""A recording, played to the node, gives the very images that `cista reconstruct` writes."""

from __future__ import annotations

import csv
import subprocess
import sys

import cv2
import numpy as np
import pytest
from harness import MS, T0, cut, environment, module, pixels, stamp_of, stream
from recordings.makers import write_bag

from cista_ros.recordings import open_recording


def reconstruct(recording, output, weights, *options):
    """What `cista reconstruct` writes: stamps, images and how many network steps each took."""
    command = ["-m", "cista_ros.commands.main", "reconstruct", recording, "-o", output, "--weights", weights, *options]
    # Like the node, in a process of its own: the last bits of a float depend on the number of threads.
    done = subprocess.run([sys.executable, *map(str, command)], env=environment(0), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((output / "frames.csv").open()))
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((output / "frames").glob("*.png"))]
    assert len(rows) == len(images) > 0
    return [int(row["stamp_ns"]) for row in rows], images, [int(row["steps"]) for row in rows]


def play(client, recording, rate=1.0, **parameters):
    """Play to the node, which must not lose or merge anything; return how many events it used."""
    before = client.known()
    client.set(idle_timeout=0.0, **parameters)
    player = client.start(*module("play", recording, "--rate", rate, "--wait-for-images"))
    client.until(lambda: player.popen.poll() is not None)
    assert player.wait() == 0, player.err
    after = client.counts(lambda c: c["pending_events"] == 0 and c["images"] > before["images"])
    client.until(lambda: len(client.images) == after["images"] - before["images"])
    for lost in ("merged_windows", "skipped_windows", "dropped_events", "lost_messages", "failed_windows"):
        assert after[lost] == before[lost]
    return after["used_events"] - before["used_events"]


def assert_same(client, stamps, images):
    assert [stamp_of(message) for message in client.images] == stamps
    for message, image in zip(client.images, images, strict=True):
        assert np.array_equal(pixels(message), image)


@pytest.fixture
def bag(tmp_path):
    """A bag in which the scene grows busier, so that later windows are split over several steps."""
    events = stream(9000, 0.3)
    # Time runs slower and slower for the same number of events.
    events["t"] = T0 + ((events["t"] - T0) / (300 * MS)) ** 0.5 * 300 * MS
    rows = [(int(m.events["t"][-1]), "/dvs/events", m) for m in cut(events)]
    return write_bag(tmp_path / "busy.bag", rows)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        (("--windows", "period", "--period", "0.02"), {"windows": "period", "period": 0.02}),
        (("--windows", "count", "--count", "500"), {"windows": "count", "count": 500}),
    ],
    ids=["period", "count"],
)
def test_images_of_a_bag_are_those_of_the_command(node, small_weights, bag, tmp_path, options, parameters):
    client, _ = node
    stamps, images, steps = reconstruct(bag, tmp_path / "out", small_weights[0], *options)
    assert max(steps) > 1
    assert play(client, bag, **parameters) == 9000
    assert_same(client, stamps, images)


def test_images_of_a_real_bag_are_those_of_the_command(node, bag_and_weights, tmp_path):
    client, _ = node
    bag, weights = bag_and_weights
    with open_recording(bag) as recording:
        events = sum(len(r.message.events) for r in recording.read(frames=False, camera_info=False))
    options = ("--windows", "period", "--period", "0.02")
    stamps, images, _ = reconstruct(bag, tmp_path / "out", weights, *options)
    assert play(client, bag, rate=0.2, period=0.02, weights=str(weights)) == events
    assert_same(client, stamps, images)
