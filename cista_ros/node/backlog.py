"""Windows that wait for the network, and what happens when it cannot keep up."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace

from ..pipeline import ImageMaker
from ..windows import Window, merge

POLICIES = ("merge", "skip")


@dataclass(frozen=True)
class Job:
    """A window, who makes its image, its frame_id, and when (monotonic seconds) it was complete."""

    window: Window
    images: ImageMaker
    frame_id: str
    since: float = field(default_factory=time.monotonic)


@dataclass
class BacklogCounts:
    """What overload did: windows merged into the one after them, windows (and their events) skipped."""

    merged_windows: int = 0
    skipped_windows: int = 0
    skipped_events: int = 0


class Backlog:
    """A queue between two threads of at most `limit` windows. When full, the oldest give way:

    - `merge`: the two oldest windows become one, reconstructed in a single step. No event is lost, an image is.
      Windows of two streams cannot be merged: then the older is skipped.
    - `skip`: the oldest window is dropped with its events.
    """

    def __init__(self, limit: int, policy: str) -> None:
        self.limit, self.policy = limit, policy
        self.counts = BacklogCounts()
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: Job) -> None:
        """Append a job, making room by the policy."""
        with self._changed:
            self._jobs.append(job)
            while len(self._jobs) > max(1, self.limit):
                self._make_room()
            self._changed.notify()

    def get(self) -> Job | None:
        """Wait for the oldest job and take it; None once the backlog is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            return None if self._closed else self._jobs.popleft()

    def close(self) -> None:
        """Wake whoever waits; jobs still queued stay counted in `pending`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pending(self) -> tuple[int, int]:
        """(windows, events) that wait."""
        with self._changed:
            return len(self._jobs), sum(len(job.window.events) for job in self._jobs)

    def _make_room(self) -> None:
        oldest = self._jobs.popleft()
        following = self._jobs[0]
        if self.policy == "merge" and oldest.images is following.images and not following.window.first:
            self._jobs[0] = replace(following, window=merge(oldest.window, following.window))
            self.counts.merged_windows += 1
            return
        if oldest.window.first and oldest.images is following.images:
            # What follows now begins the stream.
            self._jobs[0] = replace(following, window=replace(following.window, first=True))
        self.counts.skipped_windows += 1
        self.counts.skipped_events += len(oldest.window.events)
