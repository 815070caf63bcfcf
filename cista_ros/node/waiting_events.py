"""The recorder's events that wait for an image to show them."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..events import concatenate, in_order
from .backlog import MAX_WAITING_EVENTS

# Those that a node lets wait, and as many again for its open window and the one that it is at: 540 MB.
MAX_EVENTS = 2 * MAX_WAITING_EVENTS
MAX_MESSAGES = 100_000  # of few events each; one takes some hundred bytes beside them


class WaitingEvents:
    """Messages' events, and when each message arrived, until an image is told to show them.

    Attributes:
        dropped: how many events no image will show: those too many, of which the oldest messages' go, and, where time
            goes back, those of the stream before.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._messages: deque[tuple[np.ndarray, float]] = deque()
        self._events = 0
        self._dropped_until: int | None = None  # time of the last one that was too many

    def __len__(self) -> int:
        return self._events

    def add(self, events: np.ndarray, arrival: float) -> None:
        """A message's events, at least one."""
        messages = self._messages
        if not in_order(events):
            events = events[np.argsort(events["t"], kind="stable")]
        if messages and events["t"][0] < messages[-1][0]["t"][-1]:
            # A new stream: no image of the old one is to come.
            self.dropped += self._events
            messages.clear()
            self._events, self._dropped_until = 0, None
        messages.append((events, arrival))
        self._events += len(events)
        while len(messages) > 1 and (self._events > MAX_EVENTS or len(messages) > MAX_MESSAGES):
            oldest, _ = messages.popleft()
            self._events -= len(oldest)
            self.dropped += len(oldest)
            self._dropped_until = int(oldest["t"][-1])

    def take(self, stamp: int) -> tuple[np.ndarray, float | None]:
        """The events up to a time, which then wait no more, and when the first message with a later one arrived.

        None if no such message came yet, or if it was dropped.
        """
        messages, taken = self._messages, []
        while messages and messages[0][0]["t"][-1] <= stamp:
            taken.append(messages.popleft()[0])
        arrived = None
        if messages:
            events, arrival = messages[0]
            n = int(np.searchsorted(events["t"], stamp, "right"))
            if n:
                taken.append(events[:n])
                messages[0] = events[n:], arrival
            arrived = None if self._dropped_until is not None and self._dropped_until > stamp else arrival
        shown = concatenate(taken)
        self._events -= len(shown)
        return shown, arrived
