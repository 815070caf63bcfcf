"""The network, the queue of windows, and the worker thread that runs one on the other. Only it touches torch."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from ..errors import CistaError, DeviceError
from ..events import no_events
from ..networks import Network, choose_weights, find_weights, load_network
from ..networks.network import MIN_SIZE
from ..reconstructor import Frame, Reconstructor, choose_device
from ..runtime import make_runtime
from ..tone_map import make_tone_map
from ..windows import Window, merge
from .diagnostics import MAX_WAITING_EVENTS, Growth, Health, QueueCounts
from .parameters import Settings

# Seconds until the next attempt to prepare a network that failed: another process may have freed memory by then.
RETRY_S = 10.0
CLOSE_S = 10.0
# The network is slower than the events if windows come after it has worked this long without a pause.
OVERLOAD_S = 1.0
# Of the worker thread, relative to the thread that takes messages. On an overloaded machine the network must wait: a
# late window is merged, but a message that is taken too late is lost.
NICENESS = 10

Result = TypeVar("Result")


class NotReadyError(CistaError):
    """The network cannot be run for this sensor size."""


class LoadedNetwork(NamedTuple):
    """A network on its device."""

    network: Network
    device: torch.device
    version: tuple[int, ...]  # changes when the file of the weights does
    weights: str  # their name
    note: str  # the name and, for `auto`, the reason for the choice


class FrameMaker:
    """Makes the frames of one sensor size (pixels). Creates the runtime for the first frame, or in `prepare`.

    `on_ready` is called with a line about the runtime when that is ready.

    Attributes:
        settings: may be replaced by others that need no new runtime, by any thread, from the next window on.
        error: why the network cannot be run; None if it can, or before the first attempt.
        ready_at: monotonic seconds when the runtime was made; None before that.
    """

    def __init__(
        self, loaded: LoadedNetwork, settings: Settings, height: int, width: int, on_ready: Callable[[str], None]
    ) -> None:
        self.loaded, self.height, self.width = loaded, height, width
        self.error: CistaError | None = None
        self.ready_at: float | None = None
        self.settings, self._on_ready = settings, on_ready
        self._reconstructor: Reconstructor | None = None
        self._tone_map = ""
        self._retry_at = 0.0

    def prepare(self) -> None:
        """Create the runtime and run one step, so that a failure is known now.

        Raises:
            EventError, DeviceError, RuntimeUnavailableError: the network cannot be run for this sensor size.
        """
        settings, device = self.settings, self.loaded.device
        options = {name: getattr(settings, name) for name in ("tone_map", "runtime", "precision", "downscale")}
        failure = ""
        try:
            reconstructor = Reconstructor(self.loaded.network, self.height, self.width, device, **options)
            reconstructor.reconstruct(no_events())
            reconstructor.reset()
        except (RuntimeError, MemoryError) as error:
            failure = str(error) or type(error).__name__
        if failure:  # outside of the handler: the error's traceback would keep the memory that was allocated
            raise DeviceError(
                f"cannot reconstruct {self.width}x{self.height} pixels on {device} with downscale {settings.downscale}"
                f" and runtime {settings.runtime}: {failure}; if memory is short, raise downscale or choose another"
                " device or runtime"
            )
        self._tone_map = settings.tone_map
        self._reconstructor, self.error, self.ready_at = reconstructor, None, time.monotonic()
        self._on_ready(f"{self.width}x{self.height} pixels: {reconstructor.runtime_note}")

    def make(self, window: Window) -> Frame:
        """Reconstruct and tone-map one window.

        Raises:
            NotReadyError: the network cannot be run.
        """
        if self._reconstructor is None and time.monotonic() >= self._retry_at:
            try:
                self.prepare()
            except CistaError as error:
                self.error = error.with_traceback(None)
                self._retry_at = time.monotonic() + RETRY_S
        settings, reconstructor = self.settings, self._reconstructor
        if reconstructor is None:
            raise NotReadyError(f"{self.error}; the node retries every {RETRY_S:.0f} s")
        reconstructor.max_events = settings.max_events or None
        reconstructor.clip_hot_pixels = settings.clip_hot_pixels
        if settings.tone_map != self._tone_map:
            self._tone_map = settings.tone_map
            reconstructor.tone_map = make_tone_map(settings.tone_map)
        return reconstructor.make(window)

    def code_activity(self) -> np.ndarray | None:
        """Return the activity of the last frame's sparse code, see Reconstructor. For the worker thread."""
        return self._reconstructor.code_activity() if self._reconstructor else None

    def reset(self) -> None:
        """Reset the network's state after a failure; discard the runtime if it cannot even be reset."""
        try:
            if self._reconstructor:
                self._reconstructor.reset()
        except Exception:  # after a GPU error, all calls fail
            self._reconstructor = self.ready_at = None


def weights_version(settings: Settings) -> tuple[int, ...]:
    """Return a value that changes when these settings choose other weights, or the file of the weights changes."""
    stat = find_weights(choose_weights(settings.weights, choose_device(settings.device))[0]).stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def load_and_prepare(
    settings: Settings, size: tuple[int, int] | None, on_ready: Callable[[str], None]
) -> tuple[LoadedNetwork, FrameMaker | None]:
    """Load the network of these settings and, for a sensor of this size (height, width), prepare its runtime.

    Raises:
        CistaError: on any failure, so that the caller can keep the present network.
    """
    try:
        device = choose_device(settings.device)
        weights, note = choose_weights(settings.weights, device)
        version = weights_version(settings)
        network = load_network(weights)
        try:
            network = network.to(device)
            make_runtime(settings.runtime, network, MIN_SIZE, MIN_SIZE, device, settings.precision)
        except RuntimeError as error:  # out of memory, driver too old …
            raise DeviceError(f"cannot put {weights} on {device}: {error}") from None
        loaded = LoadedNetwork(network, device, version, weights, note)
        maker = FrameMaker(loaded, settings, *size, on_ready) if size else None
        if maker:
            maker.prepare()
        return loaded, maker
    except CistaError:
        raise
    except Exception as error:  # such as an OSError, or one of a runtime's library
        raise DeviceError(f"cannot run {settings.weights}: {type(error).__name__}: {error}") from error


def free_memory() -> None:
    """Collect reference cycles of unused networks, and empty torch's cache of GPU memory."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Job:
    """The windows of one frame (several if merged), and the FrameMaker to run. Times are monotonic seconds."""

    windows: tuple[Window, ...]
    maker: FrameMaker
    since: float  # when the last window was complete
    due: float  # when its image would come too late
    warm_up: bool = False  # publish no image, because the network's state has not settled

    @property
    def events(self) -> int:
        """Number of events of the frame."""
        return sum(len(window.events) for window in self.windows)

    @property
    def window(self) -> Window:
        """All windows as one. Copies the events of merged windows, so call it in the worker thread."""
        return merge(*self.windows)


def make_jobs(windows: list[Window], maker: FrameMaker, max_latency: float, warm_up: int = 0) -> list[Job]:
    """Make the jobs of the windows that one message completed.

    Windows of a long message are complete at the same time, so their images may also be late by its length.

    Args:
        max_latency: seconds from the end of a window to its image; 0: unlimited.
        warm_up: how many of these windows only settle the network's state.
    """
    now = time.monotonic()
    length = (windows[-1].stamp - windows[0].stamp) / 1e9
    due = now + max_latency + max(0.0, length) if max_latency else float("inf")
    return [Job((window,), maker, now, due, i < warm_up) for i, window in enumerate(windows)]


class WindowQueue:
    """Jobs that wait for the network. If the next one is late, the policy applies:

    - `merge`: join it with those after it, in a single network step, up to the first that is not late. This loses
      images but no events. Windows of two streams are not joined.
    - `skip`: drop it with its events if another one follows.

    With either policy the oldest jobs are dropped while more than MAX_WAITING_EVENTS wait; a larger job waits alone.

    Attributes:
        policy: one of POLICIES.
        step_s: expected seconds of a network step, set by the worker.
    """

    def __init__(self, policy: str, counts: QueueCounts | None = None) -> None:
        self.policy = policy
        self.step_s = 0.0
        self.counts = counts or QueueCounts()
        self._jobs: deque[Job] = deque()
        self._events = 0  # in all jobs
        self._lock = threading.Lock()

    def put(self, jobs: list[Job]) -> None:
        """Append jobs."""
        with self._lock:
            self._jobs.extend(jobs)
            self._events += sum(job.events for job in jobs)
            while self._events > MAX_WAITING_EVENTS and len(self._jobs) > 1:
                oldest = self._jobs.popleft()
                self._events -= oldest.events
                self._jobs[0] = self._skip(oldest, self._jobs[0])

    def get(self) -> Job | None:
        """Remove and return the oldest job, after applying the policy; None if the queue is empty."""
        with self._lock:
            if not self._jobs:
                return None
            job = self._jobs.popleft()
            while self._jobs and job.due < time.monotonic() + self.step_s:
                following = self._jobs[0]
                if self.policy == "skip":
                    job = self._skip(job, following)
                elif job.maker is following.maker and not following.windows[0].first:
                    job = replace(following, windows=job.windows + following.windows)
                    self.counts.merged_windows += 1
                else:
                    break
                self._jobs.popleft()
            self._events = sum(waiting.events for waiting in self._jobs)
            return job

    def discard(self) -> None:
        """Drop and count all jobs."""
        with self._lock:
            self.counts.discarded_windows += len(self._jobs)
            self.counts.discarded_events += self._events
            self._jobs.clear()
            self._events = 0

    def __len__(self) -> int:
        """Number of jobs that wait."""
        return len(self._jobs)

    def _skip(self, job: Job, following: Job) -> Job:
        """Count a job as dropped and return the following one, which now begins the stream if this one did."""
        self.counts.skipped_windows += 1
        self.counts.skipped_events += job.events
        if job.windows[0].first and job.maker is following.maker:
            first = replace(following.windows[0], first=True)
            return replace(following, windows=(first, *following.windows[1:]))
        return following


class Worker:
    """Runs the network in a separate thread and publishes its frames.

    Args:
        queue: the windows to reconstruct.
        publish: called in the worker thread with each frame and its job.
        health: updated after each job.
        advice: returns which parameters to change if the network is too slow.
    """

    def __init__(
        self, queue: WindowQueue, publish: Callable[[Frame, Job], None], health: Health, advice: Callable[[], str]
    ) -> None:
        self.queue = queue
        self._publish, self._advice = publish, advice
        self._counts, self._speed, self._warnings = health.counts, health.speed, health.warnings
        self._executor = ThreadPoolExecutor(1, "reconstruct", _lower_priority)
        self._lock = threading.Lock()
        self._working = self._closed = False
        self._busy_since = float("inf")  # when the work began that has not paused since
        self._growth = Growth()
        self._interrupted_at = -float("inf")  # when the last submitted function ended

    def put(self, jobs: list[Job]) -> None:
        """Queue jobs."""
        self.queue.put(jobs)
        with self._lock:
            if not (self._working or self._closed):
                self._working, self._busy_since = True, time.monotonic()
                self._executor.submit(self._work)

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Run a function in the worker thread, after the job in progress and before those that wait."""
        return self._executor.submit(self._interrupt, function)

    def close(self) -> bool:
        """End the thread after the job in progress; other jobs stay pending. Return whether it ended within 10 s."""
        with self._lock:
            self._closed = True
        last = self._executor.submit(int)
        self._executor.shutdown(wait=False)
        ended = bool(wait([last], CLOSE_S).done)
        if ended:
            self._executor.shutdown()
        return ended

    def _interrupt(self, function: Callable[[], Result]) -> Result:
        try:
            return function()
        finally:
            self._interrupted_at = time.monotonic()

    def _work(self) -> None:
        """Do one job, then queue this again behind what was submitted meanwhile."""
        job = self.queue.get()
        if job:
            self._report_overload(job)
            self._make(job)
            del job  # frees the events while the thread waits
        with self._lock:
            self._working = bool(self.queue) and not self._closed
            if self._working:
                self._executor.submit(self._work)

    def _make(self, job: Job) -> None:
        counts, began = self._counts, time.monotonic()
        was_ready = job.maker.ready_at
        try:
            frame = job.maker.make(job.window)
            if was_ready:
                self.queue.step_s += 0.2 * (time.monotonic() - began - self.queue.step_s)
            if job.warm_up:
                counts.warm_up_windows += 1
            else:
                self._publish(frame, job)
                counts.images += 1
                self._speed.add(time.monotonic() - job.since)
            counts.used_events += job.events
        except NotReadyError as error:
            counts.not_ready_windows += 1
            counts.not_ready_events += job.events
            self._warnings.add("not ready", f"No images: {error}")
        except Exception as error:  # of the network, the GPU driver or the middleware; the node continues
            counts.failed_windows += 1
            counts.failed_events += job.events
            self._warnings.add("failed", f"A window of {job.events} events failed: {type(error).__name__}: {error}")
            job.maker.reset()

    def _report_overload(self, job: Job) -> None:
        """Warn of windows merged or skipped since the last job, and name the cause."""
        counts = self.queue.counts
        merged, skipped = (self._growth(n, getattr(counts, n)) for n in ("merged_windows", "skipped_windows"))
        if not merged and not skipped:
            return
        text = f"{merged} windows merged, {skipped} skipped"
        if job.maker.ready_at is None or job.since < max(job.maker.ready_at, self._interrupted_at):
            self._warnings.add("preparing", f"While the network was loaded or prepared: {text}")
        elif job.since > self._busy_since + OVERLOAD_S:
            self._warnings.add("overload", f"The network is slower than the events: {text}. {self._advice()}")
        else:  # a long message, a burst of events, or a busy machine
            self._warnings.add("late", f"The network could not keep up for a moment: {text}. {self._advice()}")


def _lower_priority() -> None:
    """Lower the priority of this thread and of those that it starts (OpenMP's, torch's)."""
    thread = threading.get_native_id()
    with suppress(OSError):  # forbidden in some sandboxes
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
