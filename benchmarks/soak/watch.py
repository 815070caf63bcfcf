"""Common parts of the soak tests: processes of the node and the camera, an observer of topics, and the result line."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from harness import TOPICS, Process, module, stamp_of, values
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from traffic import read_counts

from cista_ros.benchmark.machine import describe_machine
from cista_ros.node.process import free_domain

NODE = "/cista_reconstruct"
HERE = Path(__file__).parent
PREFER = bool(os.environ.get("PREFER"))
PREFERENCE = -5  # like nice, for a whole session
RATE = 200_000  # events per second
PARAMETERS = "weights:=cista-tc-small", "period:=0.1", "max_events:=1000000"
UNUSABLE = "outside", "late", "stray", "skipped", "discarded", "failed", "not_ready"

Row = dict[str, float]


class Watcher:
    """Subscribe to a node's images and diagnostics in this process, and record statistics."""

    def __init__(self, domain: int, name: str = NODE, own_name: str = "watcher") -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node(own_name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.name = name
        self.images = self.stamps_back = 0
        self.latencies: list[float] = []  # ms from an image's stamp, its last event, to its arrival
        self.counts: dict[str, Any] = {}
        self.reports = 0
        self.levels = {"OK": 0, "WARN": 0, "ERROR": 0}
        self.errors: set[str] = set()
        self._stamp = 0
        namespace = name.rpartition("/")[0]
        self.subscription = self.node.create_subscription(
            Image, f"{namespace}/image_raw", self._on_image, QoSProfile(depth=1000)
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)

    def _on_image(self, message: Image) -> None:
        stamp = stamp_of(message)
        self.images += 1
        self.stamps_back += stamp <= self._stamp
        self._stamp = stamp
        self.latencies.append((time.time_ns() - stamp) / 1e6)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(f"{self.name}: "):
                self.counts, self.reports = values(status), self.reports + 1
                self.levels[("OK", "WARN", "ERROR")[status.level[0]]] += 1
                if status.level == b"\2":
                    self.errors.add(status.message)

    def spin(self, seconds: float) -> None:
        """Run callbacks for some seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> bool:
        """Run callbacks until a condition holds; return whether it did in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.executor.spin_once(timeout_sec=0.05)
        return True

    def settled(self, seconds: float = 60.0) -> bool:
        """Wait until two successive reports say that the node has nothing left to do."""

        def quiet() -> bool:
            seen = self.counts.get("messages"), self.reports
            return self.until(lambda: self.reports >= seen[1] + 2, 10) and (
                self.counts.get("pending_events") == 0 and self.counts.get("messages") == seen[0]
            )

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if quiet():
                return True
        return False

    def call(self, kind: Any, name: str, request: Any, seconds: float = 60.0) -> Any:
        """Return a service's response; ask again if it is lost."""
        client: Any = self.node.create_client(kind, name)
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if self.until(client.service_is_ready, 10):
                    future = client.call_async(request)
                    if self.until(future.done, 20):
                        return future.result()
            raise TimeoutError(f"{name} never answered")
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


class Soak:
    """The processes of one soak test, in a separate ROS domain on this machine only."""

    def __init__(self, folder: Path) -> None:
        Process.own_session = True
        self.folder, self.domain = folder, free_domain()
        self.watcher = Watcher(self.domain)
        self.processes: list[Process] = []
        self.cameras: list[Process] = []
        self.began = time.monotonic()
        self.load: list[float] = []

    def start_node(self, *parameters: str, arguments: tuple[str, ...] = (), wait: bool = True, **env: str) -> Process:
        """Start a reconstruction node and wait until it is active."""
        options = [word for assignment in parameters for word in ("-p", assignment)]
        process = Process(module("reconstruct", "--ros-args", *TOPICS, *arguments, *options), self.domain, **env)
        self.processes.append(process)
        if wait:
            before = self.watcher.reports
            active = lambda: self.watcher.reports > before and self.watcher.counts["state"] == "active"  # noqa: E731
            if not self.watcher.until(active):
                raise RuntimeError(f"the node did not start:\n{process.err}")
        _prefer(process)
        return process

    def start_camera(self, *arguments: Any, counts: str = "sent", **env: str) -> Process:
        """Start traffic.py, which counts in `sent()`."""
        command = [str(HERE / "traffic.py"), str(self.folder / counts), *map(str, arguments)]
        process = Process(command, self.domain, **env)
        self.processes.append(process)
        self.cameras.append(process)
        _prefer(process)
        return process

    def sent(self, counts: str = "sent") -> dict[str, int]:
        """Return what the cameras sent, over all restarts."""
        path = self.folder / counts
        return read_counts(path) if path.exists() else dict.fromkeys(("sent_events", "sent_messages"), 0)

    def spin_while(self, process: Process, each: Callable[[], None] = lambda: None, seconds: float = 10.0) -> None:
        """Run callbacks until a process ends, and call `each` periodically."""
        while process.popen.poll() is None:
            self.watcher.until(lambda: process.popen.poll() is not None, seconds)
            self.load.append(os.getloadavg()[0])
            each()
        if process.popen.returncode:
            raise RuntimeError(process.err)

    def watch(self, node: Process, camera: Process, every: float = 5.0, **shown: Callable[..., Any]) -> list[Row]:
        """Sample the node until the camera ends, and print the samples with what `shown` returns."""
        rows: list[Row] = []

        def each() -> None:
            rows.append(sample(node))
            say(**rows[-1], images=self.watcher.images, **{name: value() for name, value in shown.items()})

        self.spin_while(camera, each, every)
        return rows

    def settle(self, seconds: float = 60.0) -> tuple[dict[str, Any], dict[str, int], dict[str, bool]]:
        """Wait until the node has nothing left to do; return its counts, what was sent, and the first criteria."""
        settled = self.watcher.settled(seconds)
        counts = self.watcher.counts
        return counts, self.sent(), {"settled": settled, "identity": accounted(counts)}

    def wait_for_images(self, count: int, what: str, *processes: Process) -> None:
        """Wait for more images; RuntimeError with the ends of the processes' logs if they do not come."""
        watcher, before = self.watcher, self.watcher.images
        if not watcher.until(lambda: watcher.images >= before + count):
            logs = "\n".join(process.err[-2000:] for process in processes)
            raise RuntimeError(f"no images {what}: {watcher.counts}\n{logs}")

    def close(self) -> None:
        for process in self.processes:
            process.end()
        self.watcher.close()


def _prefer(process: Process) -> None:
    """Let the scheduler prefer a process to other programs, if PREFER is set (needs root)."""
    if PREFER:
        Path(f"/proc/{process.popen.pid}/autogroup").write_text(str(PREFERENCE))


@contextmanager
def soak():
    """A Soak in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        this = Soak(Path(folder))
        try:
            yield this
        finally:
            this.close()


def sample(process: Process) -> dict[str, float]:
    """Return the resources that a process holds."""
    return {
        "resident_mb": round(process.resident_mb(), 1),
        "threads": process.threads(),
        "open_files": len(os.listdir(f"/proc/{process.popen.pid}/fd")),
    }


def ended_in_order(process: Process) -> bool:
    """Stop a process with SIGINT; return whether it ended with code 0 and without a traceback."""
    return process.stop() == 0 and "Traceback" not in process.err


def quantiles(latencies: list[float]) -> list[float]:
    """p50, p95 and maximum, in whole ms."""
    return [round(float(q)) for q in np.quantile(latencies, (0.5, 0.95, 1))] if latencies else []


def slope(hours: list[float], numbers: list[float]) -> float:
    """Return the least-squares slope per hour."""
    return round(float(np.polyfit(hours, numbers, 1)[0]), 2) if len(hours) > 2 else 0.0


def accounted(counts: dict[str, Any]) -> bool:
    """Return whether every received event is used, dropped for a reason, or pending."""
    gone = sum(counts[f"{cause}_events"] for cause in UNUSABLE)
    return bool(counts["received_events"] == counts["used_events"] + gone + counts["pending_events"])


def lost_by_cause(counts: dict[str, Any]) -> dict[str, int]:
    """Return the non-zero loss counts of the node."""
    names = [f"{cause}_events" for cause in UNUSABLE]
    names += ["unplaced_events", "lost_messages", "malformed_messages", "wrong_size_messages", "missing_packets"]
    names += ["unknown_words", "merged_windows", "skipped_windows", "failed_windows", "not_ready_windows"]
    names += ["time_jumps", "gaps"]
    return {name: counts[name] for name in names if counts.get(name)}


def unchanged(before: Row, after: Row, whose: str = "") -> dict[str, bool]:
    """Return the criteria that a process holds no more resources than before."""
    more = [name for name in ("threads", "open_files") if after[name] > before[name]]
    return {
        f"{whose}memory within 5 %": after["resident_mb"] < 1.05 * before["resident_mb"],
        f"{whose}threads and open files as they were": not more,
    }


def all_used(counts: dict[str, Any], sent: dict[str, int]) -> bool:
    """Return whether every event that was sent has been received and is part of an image."""
    return bool(sent["sent_events"] == counts["received_events"] == counts["used_events"])


def conclude(this: Soak, node: Process, idea: str, held: dict[str, bool], **numbers: Any) -> int:
    """Stop the node, print the result line, and return the exit code."""
    held = {**held, "ended in order": ended_in_order(node)}
    counts = this.watcher.counts
    machine = describe_machine(torch.device("cpu"))
    load = this.load or list(os.getloadavg()[:1])
    line = {
        "soak": idea,
        "command": shlex.join(["python", *(os.path.relpath(word) if "/" in word else word for word in sys.argv)]),
        "machine": f"{machine['processor']}, {machine['cores']} cores, {platform.release()}",
        "load_average": {"median": round(float(np.median(load)), 1), "max": round(max(load), 1)},
        "seconds": round(time.monotonic() - this.began, 1),
        "sent": this.sent(),
        "received_events": counts.get("received_events"),
        "used_events": counts.get("used_events"),
        "messages": counts.get("messages"),
        "images": counts.get("images"),
        "lost": lost_by_cause(counts) if counts else {},
        # Of events with wall-clock time.
        "latency_ms_p50_p95_max": quantiles([ms for ms in this.watcher.latencies if abs(ms) < 1e6]),
        "preferred": PREFER,
        **numbers,
        "held": held,
        "all_held": all(held.values()),
    }
    print(json.dumps(line, default=lambda number: number.item()), flush=True)
    return int(not all(held.values()))


def say(**numbers: Any) -> None:
    """Print progress."""
    print(json.dumps(numbers), file=sys.stderr, flush=True)
