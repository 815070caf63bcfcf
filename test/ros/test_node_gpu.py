"""The node on a GPU, on the stand-in of cuda_standin.py: its own code and that of torch in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import TOPICS, module, offline, pixels, stream

from cista_ros.tone_map import to_mono8

STAND_IN = str(Path(__file__).parents[1] / "cuda_standin.py")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a real GPU does not equal the CPU to the bit")


def test_images_equal_those_of_the_cpu_also_after_changes_while_running(client, small_weights):
    weights, network = small_weights
    parameters = (
        f"weights:={weights}",
        "device:=cuda",
        "period:=0.02",
        "idle_timeout:=0.3",
        "max_latency:=0.0",
    )
    options = [word for assignment in parameters for word in ("-p", assignment)]
    command = module("reconstruct", "--ros-args", *TOPICS, *options)
    process = client.start(STAND_IN, *command[1:])
    client.until_ready(process)
    events = stream()
    expected = offline(network, events, runtime="eager")
    for precision in ("fp32", "bf16", "fp32"):
        assert client.set(precision=precision)[0].successful
        client.reset()
        client.send(events)
        client.until(lambda: len(client.images) == len(expected))
        for message, frame in zip(client.images, expected, strict=True):
            assert precision == "bf16" or np.array_equal(pixels(message), to_mono8(frame.shown))
        client.images.clear()
    counts = client.counts(lambda counts: counts.get("pending_events") == 0)
    assert counts["device"] == "cuda" and counts["failed_windows"] == 0
    assert float(counts["device_memory_mb"]) > 0 and float(counts["device_memory_total_mb"]) == 8192
    assert "runtime cuda-graph fp32" in process.err + process.out
    assert process.stop() == 0 and "Traceback" not in process.err
