"""The node `cista_reconstruct`: events on a topic in, images on a topic out.

The spinning thread decodes messages and cuts windows, which is cheap. A second thread of the executor serves parameters
and the life cycle, which may wait for the network. The worker thread runs the network and publishes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor, ExternalShutdownException, ShutdownException, TimeoutException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from ..errors import CistaError
from ..networks import DEFAULT_WEIGHTS, SMALL_WEIGHTS
from ..reconstructor import Frame, choose_device
from ..windows import Window
from .diagnostics import REPORT_S, Health, Reporter, memory
from .inputs import IDLE_STEP_S, Inputs, calibration
from .outputs import Outputs
from .parameters import Settings, SettingsError, changed_settings, declare_settings
from .process import STEP_S, Stop
from .worker import (
    FrameMaker,
    Job,
    LoadedNetwork,
    WindowQueue,
    Worker,
    free_memory,
    load_and_prepare,
    make_jobs,
    weights_version,
)

# Windows from which the network's state settles when it joins a running stream, before the first image is published.
WARM_UP_WINDOWS = 8

Result = TypeVar("Result")


class TwoThreadExecutor(Executor):
    """Runs callbacks in the spinning thread, but those of each node's default group in a second one.

    rclpy's MultiThreadedExecutor hands every callback to another thread, which at 1000 messages per second costs most
    of the messages. Here only the callbacks that may block, those of services, leave the spinning thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(1, "blocking")
        self._blocking: list[Future[None]] = []

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback, or hand it to the second thread, waiting at most this long for it."""
        self._blocking = [task for task in self._blocking if not task.done() or task.result()]
        try:
            entity: Any  # untyped on Jazzy
            handler, entity, node = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ShutdownException, ExternalShutdownException, TimeoutException):
            return

        def run() -> None:
            handler()
            if (error := handler.exception()) is not None:
                raise error

        if entity is not None and node is not None and entity.callback_group is node.default_callback_group:
            self.submit(run)
        else:
            run()

    def submit(self, function: Callable[[], None]) -> None:
        """Run a function in the second thread; `spin_once` raises its error."""
        self._blocking.append(self._pool.submit(function))

    def close(self) -> None:
        """Run no more callbacks, and do not wait for the one in the second thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.shutdown(timeout_sec=0)


class ReconstructNode(LifecycleNode):
    """Subscribes to `events`, publishes `image_raw` and more; see docs/reference/topics.md and parameters.md.

    A managed node: configuring loads the network, activating subscribes, deactivating stops, cleaning up frees memory.

    Args:
        stop: once set, all waiting ends.
    Raises:
        CistaError, rclpy.exceptions.ParameterException: invalid parameters.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__("cista_reconstruct", automatically_declare_parameters_from_overrides=True)
        self._stop = stop
        self._settings = declare_settings(self)
        self._starting = self._settings.autostart
        self._health = Health(self.get_logger().warning)
        self._counts, self._warnings = self._health.counts, self._health.warnings
        self._failure: CistaError | None = None
        # Guards what the spinning thread and the second one both change: settings, windows, makers.
        self._state_lock = threading.RLock()
        group = MutuallyExclusiveCallbackGroup()
        self._inputs = Inputs(self, self._settings, self._health, self._enqueue, group, self._state_lock)
        # From configuring to cleaning up:
        self._outputs: Outputs | None = None
        self._worker: Worker | None = None
        self._loaded: LoadedNetwork | None = None
        self._maker: FrameMaker | None = None
        self._phase = "unconfigured"
        self._warm_up = 0  # number of coming windows without a published image
        self._reporter = Reporter(self, self._health)
        self.create_service(Trigger, "~/reset", self._on_reset, callback_group=group)
        self.add_on_set_parameters_callback(self._on_parameters)
        # Steady: simulated time may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(IDLE_STEP_S, self._on_step, group, steady)
        self.create_timer(REPORT_S, self._report, group, steady)

    def run(self) -> None:
        """Start if `autostart` is set, and spin until the stop is set. Raise CistaError if the node cannot start."""
        executor = TwoThreadExecutor()
        executor.add_node(self)
        if self._starting:
            executor.submit(self.start)
        try:
            while not self._stop.is_set():
                executor.spin_once(STEP_S)
        finally:
            self.close()
            executor.close()
        self.get_logger().info(self._counts.summary())

    def start(self) -> None:
        """Configure and activate. Raise CistaError if that fails."""
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                if self._stop.is_set():
                    return
                raise self._failure or SettingsError("cannot start the node; see the log")
        self._starting = False

    def close(self) -> None:
        """Unsubscribe, and stop the worker after the window in progress."""
        self._inputs.unsubscribe()
        self._end_worker()

    # --- life cycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and create the image topics."""
        return self._transition("Configuring", "Configured", "inactive", self._configure, self._clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the events; if `lazy`, only once the images have a subscriber."""
        return self._transition("Activating", "Activated", "active", self._activate, self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; drop and count waiting windows."""
        return self._transition("Deactivating", "Deactivated", "inactive", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free all memory."""
        return self._transition("Cleaning up", "Cleaned up", "unconfigured", self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up."""
        return self._transition("Shutting down", "Shut down", "finalized", self._clean_up)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up after a transition that failed unexpectedly."""
        return self._transition("Cleaning up", "Cleaned up", "unconfigured", self._clean_up)

    def _transition(
        self, doing: str, done: str, phase: str, do: Callable[[], None], undo: Callable[[], None] = lambda: None
    ) -> TransitionCallbackReturn:
        try:
            do()
        except CistaError as error:
            undo()
            self._failure = error
            self._warnings.note(str(error))
            if not self._starting:  # otherwise it ends the process, which prints it
                self.get_logger().error(f"{doing} failed: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy does not log it
            self.get_logger().fatal(f"{doing} failed: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR
        self._phase = phase
        self.get_logger().info(done)
        self._report()
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        settings = self._settings
        choose_device(settings.device)  # fails fast
        queue = WindowQueue(settings.overload_policy, self._counts.queue)
        self._worker = Worker(queue, self._publish, self._health, self._advice)
        self._outputs = Outputs(self, self._warnings)
        self._loaded, self._maker = self._load_and_prepare(settings, settings.sensor_size)

    def _load_and_prepare(
        self, settings: Settings, size: tuple[int, int] | None
    ) -> tuple[LoadedNetwork, FrameMaker | None]:
        assert self._worker
        return self._wait(self._worker.submit(lambda: load_and_prepare(settings, size, self._on_ready)))

    def _activate(self) -> None:
        assert self._outputs and self._loaded
        self._subscribe_if_wanted()
        topics = f"{self._inputs.topic_name} -> {self._outputs.topic_name}"
        self.get_logger().info(f"{self._loaded.note} on {self._loaded.device}: {topics}")

    def _deactivate(self) -> None:
        with self._state_lock:
            self._phase = "inactive"  # before unsubscribing, so that no timer subscribes again
            self._inputs.unsubscribe()
            for window in self._inputs.end_stream():
                self._counts.queue.discarded_windows += 1
                self._counts.queue.discarded_events += len(window.events)
        if self._worker:
            self._worker.queue.discard()
            self._wait(self._worker.submit(int))  # waits for the job in progress

    def _clean_up(self) -> None:
        if self._worker and (self._phase == "active" or self._inputs.subscribed):
            self._deactivate()
        self._end_worker()
        if self._outputs:
            self._outputs.destroy()
        self._outputs = self._loaded = self._maker = None
        free_memory()

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker and not worker.close():
            self.get_logger().error("The network step in progress did not end within 10 s.")

    def _wait(self, future: Future[Result]) -> Result:
        """Return the result of a task in the worker thread. Raise SettingsError if the node stops meanwhile."""
        while not self._stop.is_set():
            if wait([future], STEP_S).done:
                return future.result()
        raise SettingsError("the node is stopping")

    # --- windows ---

    def _on_step(self) -> None:
        with self._state_lock:
            if self._phase != "active":
                return
            self._inputs.step()
            try:
                self._subscribe_if_wanted()
            except CistaError as error:
                self._warnings.add("subscribe", f"Cannot subscribe to {self._inputs.topic_name}: {error}")

    def _subscribe_if_wanted(self) -> None:
        with self._state_lock:
            assert self._outputs
            wanted = not self._settings.lazy or self._outputs.wanted
            if wanted and not self._inputs.subscribed:
                self._warm_up = WARM_UP_WINDOWS if self._settings.lazy else 0
                self._inputs.subscribe()
            elif not wanted and self._inputs.subscribed:
                self._inputs.unsubscribe()
                self._enqueue(self._inputs.end_stream())

    def _enqueue(self, windows: list[Window]) -> None:
        if not windows:
            return
        assert self._worker
        warm_up = min(self._warm_up, len(windows)) if self._inputs.joined_late else 0
        self._warm_up -= warm_up
        self._worker.put(make_jobs(windows, self._maker_for(windows[0]), self._settings.max_latency, warm_up))

    def _maker_for(self, window: Window) -> FrameMaker:
        """Return the FrameMaker for a window's sensor size."""
        size = window.height, window.width
        if self._maker is None or (self._maker.height, self._maker.width) != size:
            assert self._loaded
            self._maker = FrameMaker(self._loaded, self._settings, *size, self._on_ready)
        return self._maker

    def _publish(self, frame: Frame, job: Job) -> None:
        """Called in the worker thread."""
        assert self._outputs
        self._outputs.publish(frame, job, self._settings, self._inputs.camera_info)

    def _on_ready(self, note: str) -> None:
        """Called in the worker thread."""
        self.get_logger().info(note)
        self._report()

    def _advice(self) -> str:
        assert self._loaded
        smaller = f"weights to {SMALL_WEIGHTS} or " if self._loaded.weights == DEFAULT_WEIGHTS else ""
        latency = self._settings.max_latency  # 0: unlimited
        longer = f", or max_latency above {latency:g} s" if latency else ""
        return f"Set {smaller}downscale to {self._settings.downscale + 1}{longer}."

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._state_lock:
            self._enqueue(self._inputs.end_stream())
            if self._maker and self._maker.error:
                self._maker = None
            self._counts.resets += 1
        response.success, response.message = True, "the next message begins a new stream"
        return response

    # --- parameters and diagnostics ---

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            reload = any(parameter.name == "weights" for parameter in parameters)
            self._apply(changed_settings(self._settings, parameters), reload)
        except CistaError as error:
            self._warnings.note(f"Refused to change parameters: {error}")
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, new: Settings, reload: bool) -> None:
        """Apply new settings; on an error change nothing. `reload` weights if their file has changed."""
        old = self._settings
        if self._inputs.subscribed and (new.events_type, new.event_time) != (old.events_type, old.event_time):
            raise SettingsError("events_type and event_time cannot change while the events are subscribed to")
        choose_device(new.device)
        calibration(new)
        if self._worker and self._loaded:
            changed = reload and weights_version(new) != self._loaded.version
            if changed or new.network_choice != old.network_choice:
                self._change_network(new)
            self._worker.queue.policy = new.overload_policy
        with self._state_lock:
            self._settings = new
            self._inputs.adjust(new)
            if self._maker:
                self._maker.settings = new

    def _change_network(self, new: Settings) -> None:
        """Load the new network, try it out, and replace the old one if that succeeds."""
        size = new.sensor_size or ((self._maker.height, self._maker.width) if self._maker else None)
        loaded, maker = self._load_and_prepare(new, size)
        with self._state_lock:
            # The open window still belongs to the old one.
            if new.sensor_size == self._settings.sensor_size:
                self._inputs.restart()
            else:
                self._enqueue(self._inputs.end_stream())
            self._loaded, self._maker = loaded, maker
        self._report()

    def _report(self) -> None:
        with self._state_lock:
            inputs, loaded, error = self._inputs, self._loaded, self._maker and self._maker.error
            found = inputs.assess() if self._phase == "active" else None
            queued = len(self._worker.queue) if self._worker else 0
            device = loaded.device if loaded else None
            values: dict[str, object] = {
                **inputs.values(),
                "device": device or "none",
                "weights": loaded.weights if loaded else self._settings.weights,
                **memory(device),
            }
            self._reporter.report(inputs.camera_name, self._phase, error, found, queued, values)
