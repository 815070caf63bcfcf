"""What the tests of real ROS 2 processes share: child processes, a client in this process, recordings and the
images expected from them.

Every test has its own ROS domain, visible on this machine only, so that parallel runs do not interfere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from dvs_msgs.msg import EventArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from cista_ros.event_filter import EventFilter
from cista_ros.events import make_events
from cista_ros.networks import Cista, CistaConfig, load_network, save_network
from cista_ros.node.process import PARENT_VARIABLE
from cista_ros.reconstructor import Reconstructor
from cista_ros.tone_map import to_mono8
from cista_ros.window_maker import WindowMaker
from cista_ros.windows import PeriodWindows
from cista_ros.wire import cdr
from cista_ros.wire.ros_types import EventMessage

ROOT = Path(__file__).parents[2]
H, W, MS = 20, 24, 1_000_000
T0 = 1_700_000_000_000_000_000
# Long enough for a machine that is busy with other things; no test waits for it to pass.
PATIENCE_S = 300
ASK_AGAIN_S = 1
TOPICS = ("-r", "events:=/dvs/events", "-r", "events/camera_info:=/dvs/camera_info")


def environment(domain: int, **more: str) -> dict[str, str]:
    """Return the environment of a process in a ROS domain that no other machine sees, which ends with this one."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    ours = {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "AMENT_PREFIX_PATH": os.environ.get("AMENT_PREFIX_PATH") or sys.prefix,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "ROS_HOME": tempfile.gettempdir(),
        PARENT_VARIABLE: str(os.getpid()),
    }
    return {**os.environ, **ours, **more}


class Process:
    """A child process; its output is in `out` and `err`."""

    # With its own session, Linux (autogroup) schedules it like a service, independently of the tests.
    own_session = False

    def __init__(self, command: list[str], domain: int, **env: str) -> None:
        self._out, self._err = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 (it lives as we do)
        self.popen = subprocess.Popen(
            [sys.executable, *command],
            stdout=self._out,
            stderr=self._err,
            env=environment(domain, **env),
            start_new_session=self.own_session,
        )

    @property
    def out(self) -> str:
        return _text(self._out)

    @property
    def err(self) -> str:
        return _text(self._err)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.popen.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.popen.wait(PATIENCE_S)

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.popen.pid}/task"))

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


def _text(file) -> str:
    # pread, because the child writes at the position that it shares with us.
    return os.pread(file.fileno(), 1 << 22, 0).decode()


def module(name: str, *arguments: str) -> list[str]:
    """Return the command line, after Python, of a program of the package."""
    return ["-m", "cista_ros.node.programs", name, *map(str, arguments)]


class Counts(dict):
    """Diagnostic values by their names, as numbers where they are."""


class Client:
    """A node in this process that publishes events and receives what the reconstruction node publishes."""

    def __init__(self, domain: int, namespace: str = "", qos: QoSProfile | None = None) -> None:
        self.domain = domain
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("test_client", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.statuses: list = []
        self.stamps: list[int] = []  # of the diagnostics
        self.processes: list[Process] = []
        deep = QoSProfile(depth=1000)
        self.image_subscription = self.node.create_subscription(
            Image, f"{namespace}/image_raw", self.images.append, deep
        )
        self.node.create_subscription(CameraInfo, f"{namespace}/camera_info", self.infos.append, deep)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self.events = self.node.create_publisher(EventArray, "/dvs/events", qos or QoSProfile(depth=1000))
        self.camera_info = self.node.create_publisher(CameraInfo, "/dvs/camera_info", 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses += message.status
        self.stamps.append(stamp_of(message))

    def start(self, *command: str, **env: str) -> Process:
        process = Process(list(command), self.domain, **env)
        self.processes.append(process)
        return process

    def start_node(self, *parameters: str, arguments: tuple[str, ...] = (), active: bool = True, **env: str) -> Process:
        """Start the reconstruction node and wait until both sides know each other's topics, if it is to be active.

        It makes all images, however late they are on a busy machine, unless the parameters say otherwise.
        """
        assignments = "lazy:=false", "max_latency:=0.0", *parameters
        options = [word for assignment in assignments for word in ("-p", assignment)]
        process = self.start(*module("reconstruct", "--ros-args", *TOPICS, *arguments, *options), **env)
        if active:
            self.until_ready(process)
        return process

    def until_ready(self, process: Process, name: str = "/cista_reconstruct") -> None:
        # Who answers us knows the reader of our answers, so also our subscriptions, which are older; and the events'
        # subscriber is waited for from our side.
        # A reply gets lost where the server knows our request's writer but not yet our reply's reader: asked again.
        client = self.node.create_client(GetParameters, f"{name}/get_parameters")
        self.until(client.service_is_ready)
        answered = []
        for _ in range(PATIENCE_S // ASK_AGAIN_S):
            future = client.call_async(GetParameters.Request(names=["weights"]))
            future.add_done_callback(answered.append)
            asked = time.monotonic()
            self.until(lambda asked=asked: answered or time.monotonic() - asked > ASK_AGAIN_S)
            if answered:
                break
        self.node.destroy_client(client)
        assert answered, process.err
        self.until(lambda: self.events.get_subscription_count() and self.camera_info.get_subscription_count())
        assert process.popen.poll() is None, process.err

    def until(self, condition, seconds: float = PATIENCE_S) -> None:
        """Let callbacks run until a condition holds; fails, with what the processes said, if it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self._situation()
            self.executor.spin_once(timeout_sec=0.02)

    def expect(self, frames) -> None:
        """Wait for the images of these frames; they must have the same pixels in mono8."""
        self.until(lambda: len(self.images) == len(frames))
        for message, frame in zip(self.images, frames, strict=True):
            assert np.array_equal(pixels(message), to_mono8(frame.shown))

    def _situation(self) -> str:
        logs = "\n".join(f"[{p.popen.poll()}] {p.out[-3000:]} {p.err[-3000:]}" for p in self.processes)
        return f"timed out with {len(self.images)} images; processes logged:\n{logs}"

    def call(self, kind, name: str, request):
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        self.node.destroy_client(client)
        return future.result()

    def set(self, name: str = "/cista_reconstruct", **values):
        """Set parameters; returns the results in order."""
        parameters = [Parameter(key, value=value).to_parameter_msg() for key, value in values.items()]
        return self.call(SetParameters, f"{name}/set_parameters", SetParameters.Request(parameters=parameters)).results

    def transition(self, label: str, name: str = "/cista_reconstruct") -> bool:
        """Have the node go through a transition of its life cycle; whether it did."""
        request = ChangeState.Request(transition=Transition(label=label))
        return self.call(ChangeState, f"{name}/change_state", request).success

    def reset(self) -> None:
        assert self.call(Trigger, "/cista_reconstruct/reset", Trigger.Request()).success

    def counts(self, condition=lambda counts: True) -> Counts:
        """The values of the next diagnostics that fulfil a condition."""
        self.statuses.clear()
        self.until(lambda: any(condition(values(status)) for status in self.statuses))
        return next(v for v in map(values, self.statuses) if condition(v))

    def known(self) -> Counts:
        """The values of the last diagnostics; of the next if there were none yet."""
        return values(self.statuses[-1]) if self.statuses else self.counts()

    def send(self, events: np.ndarray, every_ms: int = 10, **fields) -> int:
        """Publish events in messages of `every_ms`; return the number of messages."""
        messages = cut(events, every_ms, **fields)
        for message in messages:
            self.events.publish(cdr.encode(message))
        return len(messages)

    def close(self) -> None:
        for process in self.processes:
            process.end()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def values(status) -> Counts:
    pairs = ((item.key, item.value) for item in status.values)
    return Counts({key: int(value) if value.lstrip("-").isdigit() else value for key, value in pairs})


def stream(n=3000, seconds=0.2, height=H, width=W, seed=0, t0=T0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = t0 + np.sort(rng.integers(0, round(seconds * 1e9), n))
    return make_events(rng.integers(0, width, n), rng.integers(0, height, n), t, rng.integers(0, 2, n))


def cut(events: np.ndarray, every_ms=10, height=H, width=W, frame_id="dvs") -> list[EventMessage]:
    """Return the messages of a driver, each of `every_ms` of events."""
    cells = (events["t"] - events["t"][0]) // (round(every_ms * MS))
    parts = [events[cells == cell] for cell in np.unique(cells)]
    return [EventMessage(int(part["t"][-1]), frame_id, height, width, part) for part in parts]


def offline(network, events, height=H, width=W, windower=lambda: PeriodWindows(20 * MS), tone_map="natural", **options):
    """The pictures that the core makes of events, without ROS, by the runtime that the node chooses by default."""
    maker = WindowMaker(EventFilter(height, width), windower)
    reconstructor = Reconstructor(network, height, width, "cpu", windows=maker, tone_map=tone_map, **options)
    return reconstructor.push(events) + reconstructor.flush()


def save_random(path: Path, **config):
    """Write a network of random, repeatable weights; returns (path, network)."""
    torch.manual_seed(1)
    save_network(Cista(CistaConfig(**config)), path)
    return path, load_network(path)


def stamp_of(message) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def pixels(message: Image) -> np.ndarray:
    dtype = {"mono8": "u1", "mono16": "<u2", "32FC1": "<f4"}[message.encoding]
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)
