#!/usr/bin/env python3
"""Measure the time from event message to image: node_latency.py [--runtime …] [--json FILE].

This process is the camera and the viewer; the node runs in another. Every message holds the events of exactly one image
(windows by count), so that the stamp of an image identifies its message. The time runs from before the message is
published until the image has arrived here, decoded by rclpy.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from dvs_msgs.msg import EventArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from cista_ros.benchmark.machine import describe_machine
from cista_ros.events import make_events
from cista_ros.reconstructor import choose_device
from cista_ros.windows import default_max_events
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import EventMessage

WARM_UP = 20
START_S, IMAGE_S = 120, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", action="append")
    parser.add_argument("--runtime", action="append")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", default="240x180", help="WIDTHxHEIGHT")
    parser.add_argument("--rate", type=float, default=30, help="messages a second")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--max-latency", type=float, help="the node's max_latency; default: its own")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = describe_machine(choose_device(options.device))
    rows = []
    for weights in options.weights or ["cista-tc", "cista-tc-small"]:
        for runtime in options.runtime or ["auto"]:
            rows.append(measure(options, weights, runtime))
            print(json.dumps(rows[-1]), flush=True)
    if options.json:
        content = {"machine": machine, "command": shlex.join(sys.argv), "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def measure(options: argparse.Namespace, weights: str, runtime: str) -> dict:
    """Measure one node over a number of images, after warming up."""
    width, height = map(int, options.size.split("x"))
    rate, max_latency = options.rate, options.max_latency
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    domain = 1 + os.getpid() % 100
    count = default_max_events(height, width)
    parameters = {"weights": weights, "runtime": runtime, "device": options.device, "lazy": False}
    parameters |= {"windows": "count", "count": count}
    if max_latency is not None:
        parameters["max_latency"] = max_latency
    assignments = [word for k, v in parameters.items() for word in ("-p", f"{k}:={v}")]
    topics = ("-r", "events:=/dvs/events", "-r", "events/camera_info:=/dvs/camera_info")
    command = [sys.executable, "-m", "cista_ros.node.programs", "reconstruct", "--ros-args", *topics, *assignments]
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("measure", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    arrived: dict[int, float] = {}

    def on_image(message: Image) -> None:
        stamp = message.header.stamp
        arrived[stamp.sec * 10**9 + stamp.nanosec] = time.perf_counter()

    node.create_subscription(Image, "/image_raw", on_image, QoSProfile(depth=1000))
    publisher = node.create_publisher(EventArray, "/dvs/events", QoSProfile(depth=1000))

    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env={**os.environ, "ROS_DOMAIN_ID": str(domain)}, stderr=said)
        try:

            def until(condition, seconds: float) -> None:
                deadline = time.monotonic() + seconds
                while not condition():
                    if process.poll() is not None or time.monotonic() > deadline:
                        said.seek(0)
                        raise SystemExit(f"{shlex.join(command)} did not answer; it said:\n{said.read()}")
                    executor.spin_once(timeout_sec=0.01)

            until(lambda: publisher.get_subscription_count() and node.count_publishers("/image_raw"), START_S)
            met = time.monotonic()  # the other side may learn of us a moment later
            until(lambda: time.monotonic() > met + 1, START_S)
            rng = np.random.default_rng(0)
            period = round(1e9 / rate)
            t0, sent = time.time_ns(), {}
            due = time.perf_counter()
            for i in range(WARM_UP + options.images):
                t = t0 + i * period + np.sort(rng.integers(0, period, count))
                x, y, p = (rng.integers(0, n, count) for n in (width, height, 2))
                data = cdr.encode(EventMessage(int(t[-1]), "camera", height, width, make_events(x, y, t, p)))
                while (left := due + i / rate - time.perf_counter()) > 0:
                    executor.spin_once(timeout_sec=left)
                sent[int(t[-1])] = time.perf_counter()
                publisher.publish(data)
                if i < WARM_UP:  # one by one: the first waits for the network to be made ready
                    until(lambda stamp=int(t[-1]): stamp in arrived, START_S)
                    due = time.perf_counter() - i / rate
            until(lambda: max(sent) in arrived, IMAGE_S)
        finally:
            process.terminate()
            process.wait()
        said.seek(0)
        chosen = [line.partition("pixels: ")[2] for line in said.read().splitlines() if "pixels: runtime" in line]
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
    # Under overload windows are merged: those without an image are reported, not counted as fast.
    times = [1e3 * (arrived[stamp] - at) for stamp, at in list(sent.items())[WARM_UP:] if stamp in arrived]
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    return {
        "weights": weights,
        "runtime": (chosen or [runtime])[-1],
        "height": height,
        "width": width,
        "messages_a_second": rate,
        "max_latency": "default" if max_latency is None else max_latency,
        "events_a_message": count,
        "messages": options.images,
        "images": len(times),
        "ms_p50": p50,
        "ms_p95": p95,
        "ms_p99": p99,
        "ms_min": min(times),
    }


if __name__ == "__main__":
    main()
