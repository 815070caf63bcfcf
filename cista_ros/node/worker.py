"""The queue of windows, and the worker thread, which runs the network. Only that thread touches torch."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TypeVar

from ..reconstructor import Frame
from ..windows import Window, merge
from .frame_maker import FrameMaker, NotReadyError
from .health import MAX_WAITING_EVENTS, Counts, QueueCounts, Speed, Warnings

CLOSE_S = 10.0
# Of the worker thread, relative to the thread that takes messages. On an overloaded machine the network must wait: a
# late window is merged, but a message that is taken too late is lost.
NICENESS = 10

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """The windows of one frame (several if merged), and the FrameMaker to run.

    Attributes:
        since: monotonic seconds when the last window was complete.
        due: monotonic seconds after which its image would come too late.
        warm_up: publish no image, because the network's state has not settled.
    """

    windows: tuple[Window, ...]
    maker: FrameMaker
    since: float
    due: float
    warm_up: bool = False

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
            latest = time.monotonic() + self.step_s
            windows = list(job.windows)
            while self._jobs and job.due < latest:
                following = self._jobs[0]
                if self.policy == "skip":
                    job = self._skip(job, following)
                    windows = list(job.windows)
                elif job.maker is following.maker and not following.windows[0].first:
                    windows += following.windows
                    self.counts.merged_windows += 1
                    job = following
                else:
                    break
                self._jobs.popleft()
            job = replace(job, windows=tuple(windows))
            self._events = sum(waiting.events for waiting in self._jobs)
            return job

    def discard(self) -> None:
        """Drop and count all jobs."""
        with self._lock:
            self.counts.discarded_windows += len(self._jobs)
            self.counts.discarded_events += self._events
            self._jobs.clear()
            self._events = 0

    def pending(self) -> tuple[int, int]:
        """Return the number of jobs that wait and of their events."""
        with self._lock:
            return len(self._jobs), self._events

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
        counts, warnings: updated after each job.
        speed: receives the latency of each image.
        advice: returns which parameters to change if the network is too slow.
    """

    def __init__(
        self,
        queue: WindowQueue,
        publish: Callable[[Frame, Job], None],
        counts: Counts,
        speed: Speed,
        warnings: Warnings,
        advice: Callable[[], str],
    ) -> None:
        self.queue = queue
        self._publish, self._counts, self._speed = publish, counts, speed
        self._warnings, self._advice = warnings, advice
        self._executor = ThreadPoolExecutor(1, "reconstruct", _lower_priority)
        self._lock = threading.Lock()
        self._current: Future[None] | None = None  # while there are jobs
        self._closed = False
        self._reported = 0, 0  # merged and skipped windows
        self._interrupted_at = -float("inf")  # when the last submitted function ended

    def put(self, jobs: list[Job]) -> None:
        """Queue jobs."""
        self.queue.put(jobs)
        with self._lock:
            if self._current is None and not self._closed:
                self._current = self._executor.submit(self._work)

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
            more = self.queue.pending()[0] and not self._closed
            self._current = self._executor.submit(self._work) if more else None

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
        except Exception as error:  # from the network, the GPU driver or the middleware; the node continues
            counts.failed_windows += 1
            counts.failed_events += job.events
            self._warnings.add("failed", f"A window of {job.events} events failed: {type(error).__name__}: {error}")
            job.maker.reset()

    def _report_overload(self, job: Job) -> None:
        """Warn of windows merged or skipped since the last job, and name the cause."""
        totals = self.queue.counts.merged_windows, self.queue.counts.skipped_windows
        merged, skipped = (now - before for now, before in zip(totals, self._reported, strict=True))
        self._reported = totals
        if not merged and not skipped:
            return
        text = f"{merged} windows merged, {skipped} skipped"
        ready_at = job.maker.ready_at
        if ready_at is None or job.since < max(ready_at, self._interrupted_at):
            self._warnings.add("preparing", f"While the network was loaded or prepared: {text}")
        else:
            self._warnings.add("overload", f"The network is slower than the events: {text}. {self._advice()}")


def _lower_priority() -> None:
    """Lower the priority of this thread and of those that it starts (OpenMP's, torch's)."""
    thread = threading.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
    except OSError:  # forbidden in some sandboxes
        return
