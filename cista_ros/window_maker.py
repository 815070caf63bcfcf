"""Events in, windows out: the front half of the pipeline, cheap enough to keep up with a camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .event_filter import EventFilter, Part
from .windows import SyncWindows, Window, Windower


class WindowMaker:
    """Filters events and cuts them into windows, whose stamps always increase within a stream.

    A window with the stamp of the one before (many events at one time) gets that stamp plus 1 ns. Where the event
    filter reports a new stream, the open window ends, and `make_windower` makes the next `windower`.
    """

    def __init__(self, event_filter: EventFilter, make_windower: Callable[[], Windower]) -> None:
        self.event_filter = event_filter
        self.make_windower = make_windower
        self.frame_id = ""
        self.windower = make_windower()
        self._first = True
        self._last_stamp: int | None = None

    @property
    def open_events(self) -> int:
        """Number of events in the open window, or held until their time is confirmed."""
        return self.windower.open_events + self.event_filter.held_events

    def push(self, events: np.ndarray, frame_id: str | None = None) -> list[Window]:
        """Filter events and return the windows that they close; `frame_id`, if given, is that of the windows."""
        if frame_id is not None:
            self.frame_id = frame_id
        return self._take(self.event_filter.accept(events))

    def add_stamp(self, stamp: int) -> list[Window]:
        """Add a stamp in nanoseconds, where the windows are SyncWindows; return the window that it closes, if any."""
        assert isinstance(self.windower, SyncWindows)
        return self._mark(self.windower.add_stamp(stamp))

    def flush(self) -> list[Window]:
        """Close the open window."""
        return self._take(self.event_filter.release()) + self._mark(self.windower.flush())

    def restart(self) -> list[Window]:
        """Close the open window and begin a new stream."""
        return self._take(self.event_filter.release()) + self._begin_stream()

    def recut(self, make_windower: Callable[[], Windower]) -> list[Window]:
        """Close the open window and continue with windows of another kind."""
        closed = self.flush()
        self.make_windower = make_windower
        self.windower = make_windower()
        return closed

    def _take(self, parts: list[Part]) -> list[Window]:
        closed: list[Window] = []
        for part in parts:
            if part.begins_stream:
                closed += self._begin_stream(int(part.events["t"][0]))
            closed += self._mark(self.windower.push(part.events))
        return closed

    def _begin_stream(self, at: int | None = None) -> list[Window]:
        """End the stream; `at`: time of the next one's first event, in nanoseconds."""
        open_windows = self.windower.flush()
        if at is not None:
            # The frame that ends the open window may come after the gap, where it ends the next stream's first window.
            open_windows = [
                replace(w, stamp=int(w.events["t"][-1])) if w.events["t"][-1] < at <= w.stamp else w
                for w in open_windows
            ]
        closed = self._mark(open_windows)
        self.windower = self.make_windower()
        self._first, self._last_stamp = True, None
        return closed

    def _mark(self, windows: list[Window]) -> list[Window]:
        height, width = self.event_filter.height, self.event_filter.width
        marked = []
        for window in windows:
            stamp = self.windower.image_stamps.get(window.stamp, window.stamp)
            stamp = stamp if self._last_stamp is None else max(stamp, self._last_stamp + 1)
            marked.append(
                replace(window, stamp=stamp, first=self._first, height=height, width=width, frame_id=self.frame_id)
            )
            self._first, self._last_stamp = False, stamp
        return marked
