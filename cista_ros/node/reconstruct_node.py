"""The node `cista_reconstruct`: events on a topic in, images on a topic out.

The executor's thread decodes messages and cuts windows, which is cheap; a worker thread runs the network and publishes.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from ..errors import CistaError
from ..reconstructor import Frame, choose_device
from ..windows import Window
from .backlog import Backlog, Job
from .counts import Counts, Recent
from .diagnostics import Troubles
from .image_source import ImageSource, LoadedNetwork, load, try_out, weights_version
from .inputs import IDLE_STEP_S, Inputs
from .outputs import Outputs
from .parameters import (
    Settings,
    SettingsError,
    changed_settings,
    declare_autostart,
    declare_settings,
    faster_settings,
)
from .process import Stop
from .reporter import REPORT_S, Reporter, Situation
from .worker import Worker, free_memory

WAIT_STEP_S = 0.005


class ReconstructNode(LifecycleNode):
    """Subscribes `events`, publishes `image_raw` and more; see docs/topics.md and docs/parameters.md.

    A managed node: configuring loads the network, activating subscribes, deactivating stops, cleaning up frees memory.

    Args:
        stop: once set, nothing is waited for any more.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__("cista_reconstruct")
        self._stop = stop
        self._autostart = declare_autostart(self)
        self._settings = declare_settings(self)
        self._counts, self._recent = Counts(), Recent()
        self._troubles = Troubles(self.get_logger())
        self._failure: CistaError | None = None
        self._inputs = Inputs(self, self._settings, self._counts, self._troubles, self._enqueue)
        # From configuring to cleaning up:
        self._outputs: Outputs | None = None
        self._worker: Worker | None = None
        self._loaded: LoadedNetwork | None = None
        self._images: ImageSource | None = None
        self._phase = "unconfigured"
        self._reporter = Reporter(self, self._counts, self._recent, self._troubles, self._inputs)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.add_on_set_parameters_callback(self._on_parameters)
        # Steady: neither must stop because simulated time does.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(IDLE_STEP_S, self._on_step, clock=steady)
        self.create_timer(REPORT_S, self._report, clock=steady)

    def start(self) -> None:
        """Configure and activate, if `autostart` says so. Raises CistaError if that is not possible."""
        if self._autostart:
            for trigger in (self.trigger_configure, self.trigger_activate):
                if trigger() != TransitionCallbackReturn.SUCCESS:
                    if self._stop.is_set():
                        return
                    raise self._failure or SettingsError("the node could not be started; see the log")
            self._autostart = False

    # --- life cycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and offer the images' topics."""
        return self._transition("inactive", self._configure, self._clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the events, unless nobody wants images yet."""
        return self._transition("active", self._activate, self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; windows that are not images yet are dropped and counted."""
        return self._transition("inactive", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back all memory."""
        return self._transition("unconfigured", self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivating and cleaning up."""
        return self._transition("finalized", self._clean_up)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that failed for a reason that nobody foresaw: as if never configured."""
        return self._transition("unconfigured", self._clean_up)

    def _transition(
        self, phase: str, do: Callable[[], None], undo: Callable[[], None] = lambda: None
    ) -> TransitionCallbackReturn:
        try:
            do()
        except CistaError as error:
            undo()
            self._failure = error
            self._troubles.last = str(error)
            if not self._autostart:  # there it ends the process, with this as its last words
                self.get_logger().error(f"Not {phase}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it
            self.get_logger().fatal(f"Not {phase}: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR
        self._phase = phase
        self.get_logger().info(phase.capitalize())
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        choose_device(self._settings.device)  # quick to fail
        backlog = Backlog(self._settings.max_queued_windows, self._settings.overload_policy, self._counts.backlog)
        self._worker = Worker(backlog, self._publish, self._counts, self._recent.add, self._troubles)
        settings = self._settings
        self._loaded = self._in_worker(lambda: load(settings))
        self._outputs = Outputs(self, self._troubles)

    def _activate(self) -> None:
        assert self._outputs and self._loaded
        self._subscribe_if_wanted()
        topics = f"{self._inputs.topic_name} -> {self._outputs.topic_name}"
        self.get_logger().info(f"{self._loaded.note} on {self._loaded.device}: {topics}")

    def _deactivate(self) -> None:
        self._inputs.unsubscribe()
        for window in self._inputs.end_stream():
            self._counts.backlog.discarded_windows += 1
            self._counts.backlog.discarded_events += len(window.events)
        if self._worker:
            self._worker.backlog.discard()
            self._in_worker(lambda: None)  # which comes after the window it is at

    def _clean_up(self) -> None:
        if self._worker and (self._phase == "active" or self._inputs.subscribed):
            self._deactivate()
        self._end_worker()
        if self._outputs:
            self._outputs.destroy()
        self._outputs = self._loaded = self._images = None
        free_memory()

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker and not worker.close():
            # A network step that hangs must not keep the process from ending, nor stay unsaid.
            self.get_logger().error("The worker did not end within 10 s.")

    def _in_worker(self, do: Callable[[], Any]) -> Any:
        """Have something done in the worker's thread and wait for it, while messages and reports go on."""
        assert self._worker
        future = self._worker.submit(do)
        while not concurrent.futures.wait([future], WAIT_STEP_S).done:
            if self._stop.is_set():
                raise SettingsError("the node is ending")
            self._inputs.take_waiting()
            if self._reporter.due:
                self._report()
        return future.result()

    # --- the way of the windows ---

    def _on_step(self) -> None:
        if self._phase == "active":
            self._inputs.flush_if_idle()
            try:
                self._subscribe_if_wanted()
            except CistaError as error:
                self._troubles.add("subscribe", f"{self._inputs.topic_name} cannot be subscribed: {error}")

    def _subscribe_if_wanted(self) -> None:
        assert self._outputs
        wanted = not self._settings.on_demand or self._outputs.wanted
        if wanted and not self._inputs.subscribed:
            self._inputs.subscribe()
        elif not wanted and self._inputs.subscribed:
            self._inputs.unsubscribe()
            self._enqueue(self._inputs.end_stream())

    def _enqueue(self, windows: list[Window]) -> None:
        if not windows:
            return
        assert self._worker and self._loaded
        counts, backlog = self._counts.backlog, self._worker.backlog
        skipped, merged = counts.skipped_windows, counts.merged_windows
        images = self._images_for_input()
        for window in windows:
            backlog.put(Job((window,), images, self._inputs.frame_id))
        skipped, merged = counts.skipped_windows - skipped, counts.merged_windows - merged
        if skipped or merged:
            self._troubles.add(
                "overload",
                f"The network is slower than the events: {skipped} windows skipped, {merged} merged just now."
                f" Faster: {faster_settings(self._settings, self._loaded.weights)}",
            )

    def _images_for_input(self) -> ImageSource:
        """What makes the images of the sensor size that comes in now."""
        height, width = self._inputs.size
        if self._images is None or (self._images.height, self._images.width) != (height, width):
            assert self._loaded
            self._images = ImageSource(self._loaded, self._settings, height, width, self.get_logger().info)
        return self._images

    def _publish(self, picture: Frame, job: Job) -> None:
        """In the worker's thread."""
        assert self._outputs
        factor = job.images.downscale
        # Zero means one, says CameraInfo's definition.
        x, y = (max(1, n) * factor if factor > 1 else n for n in self._inputs.camera_binning)
        info = self._inputs.camera_info
        self._outputs.publish(picture, job, self._settings, info, (x, y))

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._enqueue(self._inputs.end_stream())
        if self._images and self._images.error:
            self._images = None
        self._counts.resets += 1
        response.success, response.message = True, "the next message begins a new stream, of whatever size"
        return response

    # --- parameters, diagnostics, end ---

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            reload = any(parameter.name == "weights" for parameter in parameters)
            self._apply(changed_settings(self._settings, parameters), reload)
        except CistaError as error:
            self._troubles.last = f"A change of parameters was refused: {error}"
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, new: Settings, reload: bool) -> None:
        """Take new settings over, or raise and leave all as it was; `reload` weights whose file has changed."""
        old = self._settings
        if self._inputs.subscribed and (new.events_type, new.event_time) != (old.events_type, old.event_time):
            raise SettingsError("events_type and event_time cannot be changed while the events are subscribed to")
        choose_device(new.device)
        if self._worker and self._loaded:
            changed = reload and weights_version(new) != self._loaded.version
            if changed or new.network_choice != old.network_choice:
                self._take_over_network(new)
            self._worker.backlog.limit, self._worker.backlog.policy = new.max_queued_windows, new.overload_policy
        self._settings = new
        self._inputs.adjust(new)
        if self._images:
            self._images.adjust(new)

    def _take_over_network(self, new: Settings) -> None:
        """Another network, or runtime, tried out before the old one is given up."""
        size = (self._images.height, self._images.width) if self._images else None
        loaded, images = self._in_worker(lambda: try_out(new, size, self.get_logger().info))
        # What is open still belongs to the old one.
        self._inputs.restart()
        self._loaded, self._images = loaded, images

    def _report(self) -> None:
        self._reporter.report(
            Situation(
                self._phase,
                self._loaded.weights if self._loaded else self._settings.weights,
                self._loaded.device if self._loaded else None,
                self._worker.backlog.pending()[0] if self._worker else 0,
                str(self._images.error or "") if self._images else "",
            )
        )

    def close(self) -> None:
        """Stop the worker, after the window it is at, and tell what came of everything."""
        self._inputs.unsubscribe()
        self._end_worker()
        self.get_logger().info(self._counts.summary())
