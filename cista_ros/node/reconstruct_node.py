"""The node `cista_reconstruct`: events on a topic in, images on a topic out.

The executor's thread decodes messages and cuts windows, which is cheap; a worker thread runs the network and publishes.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from dvs_msgs.msg import EventArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_system_default
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from ..errors import CistaError, DecodeError, DeviceError, EventError, RuntimeUnavailableError
from ..intake import Intake
from ..networks import Network, find_weights, load_network
from ..networks.network import MIN_SIZE
from ..pipeline import ImageMaker, Picture, WindowMaker
from ..reconstructor import Reconstructor, choose_device
from ..runtime import make_runtime
from ..tone_map import make_tone_map
from ..windows import Window
from ..wire.cdr import decode_event_array
from .backlog import Backlog, Job
from .diagnostics import Counts, Troubles, diagnostic_array
from .images import time_message, to_message
from .parameters import Settings, changed_settings, declare_settings
from .subscription import RawSubscription
from .sync import SyncTopic

IDLE_STEP_S = 0.05


@dataclass
class Session:
    """What belongs to one sensor size: its windows and its images."""

    windows: WindowMaker
    images: ImageMaker


class ReconstructNode(Node):
    """Subscribes `events`, publishes `image_raw` and `camera_info`; see docs/topics.md and docs/parameters.md."""

    def __init__(self) -> None:
        super().__init__("cista_reconstruct")
        self._settings = declare_settings(self)
        self._device = choose_device(self._settings.device)
        self._network = self._load(self._settings, self._device)
        self._counts = Counts()
        self._session: Session | None = None
        self._backlog = Backlog(self._settings.max_queued_windows, self._settings.overload_policy)
        self._counts.backlog = self._backlog.counts
        self._camera_info: CameraInfo | None = None
        self._camera_binning = 1, 1
        self._frame_id = ""
        self._last_message = time.monotonic()
        self._messages_seen = 0
        self._idle_steps = 0
        self._latency = 0.0
        self._troubles = Troubles(self.get_logger())
        self._troubles_told = 0

        self._image_publisher = self.create_publisher(Image, "image_raw", 10)
        self._info_publisher = self.create_publisher(CameraInfo, "camera_info", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._events = RawSubscription(self, EventArray, "events", self._on_events, self._on_lost)
        # Raw: rclpy lets bytes that it cannot deserialise end the process.
        self.create_subscription(
            CameraInfo, "events/camera_info", self._on_camera_info, qos_profile_system_default, raw=True
        )
        self._sync = SyncTopic(self, self._on_stamp, self._counts, self._troubles)
        self._sync.want(self._settings.windows == "sync")
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.add_on_set_parameters_callback(self._on_parameters)
        # Steady: neither must stop because simulated time does.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(IDLE_STEP_S, self._flush_if_idle, clock=steady)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._worker = threading.Thread(target=self._work, name="reconstruct", daemon=True)
        self._worker.start()
        self.get_logger().info(
            f"{self._settings.weights} on {self._device}:"
            f" {self._events.topic_name} -> {self._image_publisher.topic_name}"
        )

    # --- the executor's thread: messages -> windows ---

    def _on_events(self, data: bytes) -> None:
        self._last_message = time.monotonic()
        self._counts.messages += 1
        try:
            message = decode_event_array(data)
        except DecodeError as error:
            self._counts.malformed_messages += 1
            self._troubles.add("malformed", f"Skipped a message on {self._events.topic_name}: {error}")
            return
        if self._session is None:
            try:
                self._session = self._begin(message.height, message.width)
            except (EventError, DeviceError, RuntimeUnavailableError) as error:
                self._counts.wrong_size_messages += 1
                self._troubles.add("size", f"Skipped a message on {self._events.topic_name}: {error}")
                return
        intake = self._session.windows.intake
        if (message.height, message.width) != (intake.height, intake.width):
            self._counts.wrong_size_messages += 1
            self._troubles.add(
                "size",
                f"Skipped a message of {message.width}x{message.height} pixels on {self._events.topic_name}: it was"
                f" {intake.width}x{intake.height} before. Call ~/reset to take the new size.",
            )
            return
        self._frame_id = message.frame_id
        before = replace(intake.counts)
        self._enqueue(self._session.windows.push(message.events))
        if intake.counts.time_jumps > before.time_jumps:
            self._troubles.tell("jump", "Time jumped back: a new stream begins.")
        outside, late = intake.counts.outside - before.outside, intake.counts.late - before.late
        if outside or late:
            self._troubles.add(
                "events",
                f"Dropped {outside} events outside the {intake.width}x{intake.height} sensor and {late} older than"
                f" those before them, on {self._events.topic_name}",
            )

    def _on_stamp(self, stamp: int) -> None:
        if self._session:
            self._enqueue(self._session.windows.add_stamp(stamp))
        else:
            self._sync.stamps.add(stamp)

    def _begin(self, height: int, width: int) -> Session:
        intake = Intake(height, width, self._counts.intake)
        return Session(
            WindowMaker(intake, self._settings.windower(height, width, self._sync.stamps)),
            self._image_maker(self._network, self._settings, height, width),
        )

    def _image_maker(self, network: Network, s: Settings, height: int, width: int) -> ImageMaker:
        device = choose_device(s.device)
        reconstructor = Reconstructor(
            network, height, width, device, s.max_events or None, s.hot_pixels, s.runtime, downscale=s.downscale
        )
        self.get_logger().info(f"{width}x{height} pixels: {reconstructor.runtime_note}")
        return ImageMaker(reconstructor, make_tone_map(s.tone_map))

    def _enqueue(self, windows: list[Window]) -> None:
        skipped = self._backlog.counts.skipped_windows
        merged = self._backlog.counts.merged_windows
        for window in windows:
            self._backlog.put(Job((window,), self._session.images, self._frame_id))
        skipped = self._backlog.counts.skipped_windows - skipped
        merged = self._backlog.counts.merged_windows - merged
        if skipped or merged:
            self._troubles.add(
                "overload",
                f"The network is slower than the events: {skipped} windows skipped, {merged} merged just now",
            )

    def _flush_if_idle(self) -> None:
        # Counted in steps of this timer, not by the clock: while this thread was busy, messages may have come that it
        # has not taken yet.
        idle = self._counts.messages == self._messages_seen
        self._messages_seen = self._counts.messages
        self._idle_steps = self._idle_steps + 1 if idle else 0
        timeout = self._settings.idle_timeout
        if self._session and timeout and self._idle_steps * IDLE_STEP_S >= timeout:
            self._enqueue(self._session.windows.flush())

    def _on_camera_info(self, data: bytes) -> None:
        try:
            info = deserialize_message(data, CameraInfo)
            self._camera_binning = info.binning_x, info.binning_y
            self._camera_info = info
        except Exception as error:  # rclpy does not say which
            self._counts.malformed_messages += 1
            self._troubles.add("camera_info", f"Skipped a camera_info: {error}")

    def _on_lost(self, count: int) -> None:
        self._counts.lost_messages += count
        self._troubles.add("lost", f"{count} messages of {self._events.topic_name} were lost on the way here")

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session:
            self._enqueue(self._session.windows.flush())
        self._session = None
        self._counts.resets += 1
        response.success, response.message = True, "the next message begins a new stream, of whatever size"
        return response

    # --- the worker thread: windows -> images ---

    def _work(self) -> None:
        while job := self._backlog.get():
            try:
                self._publish(job.images.make(job.window), job)
                self._counts.used_events += job.events
            except Exception as error:  # whatever the network, the driver or the middleware says: the node goes on
                self._counts.failed_windows += 1
                self._counts.failed_events += job.events
                job.images.reset()
                self._troubles.add("failed", f"A window of {job.events} events failed: {type(error).__name__}: {error}")
            # While it waits, it must not hold the events of the last window.
            del job

    def _publish(self, picture: Picture, job: Job) -> None:
        image = to_message(picture.shown, self._settings.encoding, picture.stamp, job.frame_id)
        self._image_publisher.publish(image)
        if info := self._camera_info:
            info.header = image.header
            factor = self._settings.downscale
            # Zero means one, says its definition.
            info.binning_x, info.binning_y = (max(1, n) * factor if factor > 1 else n for n in self._camera_binning)
            self._info_publisher.publish(info)
        self._counts.images += 1
        self._latency = time.monotonic() - job.since

    # --- parameters, diagnostics, end ---

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            self._apply(changed_settings(self._settings, parameters))
        except CistaError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, new: Settings) -> None:
        """Take new settings over, or raise and leave all as it was."""
        old = self._settings
        device = choose_device(new.device)
        session, images = self._session, None
        if new.network_choice != old.network_choice:
            # A network of its own: the worker may still use the other one.
            network = self._load(new, device)
            if session:
                intake = session.windows.intake
                images = self._image_maker(network, new, intake.height, intake.width)
            self._network, self._device = network, device
        self._settings = new
        self._backlog.limit, self._backlog.policy = new.max_queued_windows, new.overload_policy
        self._sync.want(new.windows == "sync")
        if session is None:
            return
        if images:
            self._enqueue(session.windows.restart())
            session.images = images
        if new.tone_map != old.tone_map:
            session.images.tone_map = make_tone_map(new.tone_map)
        session.images.reconstructor.max_events = new.max_events or None
        session.images.reconstructor.hot_pixels = new.hot_pixels
        if new.window_choice != old.window_choice:
            intake = session.windows.intake
            self._enqueue(session.windows.recut(new.windower(intake.height, intake.width, self._sync.stamps)))

    @staticmethod
    def _load(settings: Settings, device: torch.device) -> Network:
        network = load_network(find_weights(settings.weights))
        try:
            network = network.to(device)
            if not settings.runtime.endswith("compile"):  # for which a try takes as long as the real thing
                make_runtime(settings.runtime, network, MIN_SIZE, MIN_SIZE, device)
            return network
        except RuntimeError as error:  # out of memory, driver too old …
            raise DeviceError(f"{settings.weights} cannot be put on {device}: {error}") from None

    def _publish_diagnostics(self) -> None:
        silent = time.monotonic() - self._last_message
        troubles = self._counts.troubles()
        level, text = DiagnosticStatus.OK, "reconstructing"
        if self._counts.messages == 0 or silent > max(1.0, self._settings.idle_timeout):
            level, text = DiagnosticStatus.WARN, f"no events on {self._events.topic_name}"
            if other := self._events.other_types():
                self._troubles.add(
                    "type", f"{self._events.topic_name} bears {other}; this node takes dvs_msgs/msg/EventArray"
                )
        elif troubles > self._troubles_told:
            level, text = DiagnosticStatus.WARN, self._troubles.last
        self._troubles_told = troubles
        values: dict[str, object] = {
            **self._counts.values(),
            **self._sync.values(),
            "queued_windows": self._backlog.pending()[0],
            "latency_ms": round(1000 * self._latency, 3),
            "device": self._device,
            "weights": self._settings.weights,
            "last_error": self._troubles.last,
        }
        stamp = time_message(self.get_clock().now().nanoseconds)
        name = f"{self.get_fully_qualified_name()}: reconstruction"
        self._diagnostics.publish(diagnostic_array(stamp, name, level, text, values))

    def close(self) -> None:
        """Stop the worker, after the window it is at, and tell what came of everything."""
        self._backlog.close()
        self._worker.join(timeout=10)
        if self._worker.is_alive():
            # A network step that hangs must not keep the process from ending, nor stay unsaid.
            self.get_logger().error("The worker did not end within 10 s.")
        self.get_logger().info(self._counts.summary())
