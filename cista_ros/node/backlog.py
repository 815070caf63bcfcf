"""Windows that wait for the network, and what happens when it cannot keep up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from ..windows import Window, merge
from .image_source import ImageSource

POLICIES = ("merge", "skip")
# 270 MB. Where the machine lacks the time even for merged windows, more would make each image later than the one before
# it, and memory grow without end: from here on events are dropped instead.
MAX_WAITING_EVENTS = 1 << 24


@dataclass(frozen=True)
class Job:
    """Windows for one image (several: merged), who makes it, its frame_id, and when (monotonic s) it was complete."""

    windows: tuple[Window, ...]
    images: ImageSource
    frame_id: str
    since: float = field(default_factory=time.monotonic)

    @property
    def events(self) -> int:
        """How many events the image is made of."""
        return sum(len(window.events) for window in self.windows)

    @property
    def window(self) -> Window:
        """All windows as one. Copies what was merged: for the thread that has time."""
        return merge(*self.windows)


@dataclass(frozen=True)
class Errand:
    """Something else for the worker to do, before the jobs that wait; what comes of it goes to `done`."""

    do: Callable[[], Any]
    done: Future[Any] = field(default_factory=Future)


@dataclass
class BacklogCounts:
    """What overload did: windows merged into the one after them, windows (and their events) skipped; and what was
    discarded because the node was deactivated.

    Every window becomes an image, is merged, is skipped, is discarded, fails or waits; what windows merged into counts
    as one.
    """

    merged_windows: int = 0
    skipped_windows: int = 0
    skipped_events: int = 0
    discarded_windows: int = 0
    discarded_events: int = 0


class Backlog:
    """A queue between two threads of at most `limit` jobs. When full, old ones give way:

    - `merge`: the oldest two that can become one do, reconstructed in a single step: no event is lost, an image is.
      Windows of two streams cannot; if none can, the oldest is skipped.
    - `skip`: the oldest is dropped with its events.

    By either policy the oldest are skipped while more than MAX_WAITING_EVENTS wait; a job that has more waits alone.
    """

    def __init__(self, limit: int, policy: str, counts: BacklogCounts | None = None) -> None:
        self.limit, self.policy = limit, policy
        self.counts = counts or BacklogCounts()
        self._jobs: deque[Job] = deque()
        self._events = 0  # in these
        self._errands: deque[Errand] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: Job) -> None:
        """Append a job, making room by the policy."""
        with self._changed:
            self._jobs.append(job)
            self._events += job.events
            while self._events > MAX_WAITING_EVENTS and len(self._jobs) > 1:
                self._skip()
            while len(self._jobs) > max(1, self.limit):
                self._make_room()
            self._changed.notify()

    def put_errand(self, errand: Errand) -> None:
        """Have something done before the jobs that wait."""
        with self._changed:
            self._errands.append(errand)
            self._changed.notify()

    def get(self) -> Job | Errand | None:
        """Wait for the oldest errand, or else job, and take it; None once the backlog is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._errands or self._closed)
            if self._closed:
                return None
            if self._errands:
                return self._errands.popleft()
            job = self._jobs.popleft()
            self._events -= job.events
            return job

    def discard(self) -> None:
        """Drop all jobs, counted."""
        with self._changed:
            self.counts.discarded_windows += len(self._jobs)
            self.counts.discarded_events += self._events
            self._jobs.clear()
            self._events = 0

    def close(self) -> None:
        """Wake whoever waits; jobs still queued stay counted in `pending`, errands are cancelled."""
        with self._changed:
            self._closed = True
            for errand in self._errands:
                errand.done.cancel()
            self._changed.notify_all()

    def pending(self) -> tuple[int, int]:
        """(jobs, events) that wait."""
        with self._changed:
            return len(self._jobs), self._events

    def _make_room(self) -> None:
        if self.policy == "merge":
            for i, (earlier, later) in enumerate(pairwise(self._jobs)):
                if _can_merge(earlier, later):
                    self._jobs[i + 1] = replace(later, windows=earlier.windows + later.windows)
                    del self._jobs[i]
                    self.counts.merged_windows += 1
                    return
        self._skip()

    def _skip(self) -> None:
        oldest, following = self._jobs.popleft(), self._jobs[0]
        if oldest.windows[0].first and oldest.images is following.images:
            # What follows now begins the stream.
            begins = replace(following.windows[0], first=True)
            self._jobs[0] = replace(following, windows=(begins, *following.windows[1:]))
        self._events -= oldest.events
        self.counts.skipped_windows += 1
        self.counts.skipped_events += oldest.events


def _can_merge(earlier: Job, later: Job) -> bool:
    return earlier.images is later.images and not later.windows[0].first
