"""The two halves of the way from events to images, shared by the node, the offline command and the evaluation.

A `WindowMaker` (cheap, keeps up with the camera) and an `ImageMaker` (the network) may run in different threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .event_filter import EventFilter, Part
from .reconstructor import Reconstructor
from .sync_windows import SyncWindows
from .tone_map import ToneMap, reset_tone_map
from .windows import Window, Windower


class WindowMaker:
    """Arriving events -> windows ready to reconstruct, whose stamps always increase within a stream.

    A window that would bear the stamp of the one before (many events at one time) bears it plus 1 ns.

    Args:
        event_filter: checks the events; where it says so, the open window ends and a new stream begins.
        make_windower: makes the windower of each stream.
    """

    def __init__(self, event_filter: EventFilter, make_windower: Callable[[], Windower]) -> None:
        self.event_filter = event_filter
        self.make_windower = make_windower
        self._windower = make_windower()
        self._first = True
        self._last_stamp: int | None = None

    @property
    def open_events(self) -> int:
        """How many events wait in the window that is still open, or for their time to be confirmed."""
        return self._windower.open_events + self.event_filter.held_events

    @property
    def windower(self) -> Windower:
        """The windower of the present stream."""
        return self._windower

    def push(self, events: np.ndarray) -> list[Window]:
        """Check events and return the windows that they close."""
        return self._take(self.event_filter.accept(events))

    def add_stamp(self, stamp: int) -> list[Window]:
        """Take a stamp of the stream that bounds the windows, where they are SyncWindows; return the one it closes."""
        assert isinstance(self._windower, SyncWindows)
        return self._mark(self._windower.add_stamp(stamp))

    def flush(self) -> list[Window]:
        """Close the open window now."""
        return self._take(self.event_filter.release()) + self._mark(self._windower.flush())

    def restart(self) -> list[Window]:
        """Close the open window and begin a new stream."""
        return self._take(self.event_filter.release()) + self._begin_stream()

    def recut(self, make_windower: Callable[[], Windower]) -> list[Window]:
        """Close the open window and go on with windows of another kind."""
        closed = self.flush()
        self.make_windower = make_windower
        self._windower = make_windower()
        return closed

    def _take(self, parts: list[Part]) -> list[Window]:
        closed: list[Window] = []
        for part in parts:
            if part.begins_stream:
                closed += self._begin_stream(int(part.events["t"][0]))
            closed += self._mark(self._windower.push(part.events))
        return closed

    def _begin_stream(self, at: int | None = None) -> list[Window]:
        """End the stream; `at`: ns, when the next one begins."""
        open_windows = self._windower.flush()
        if at is not None:
            # A frame that ends the open window may come after the gap, where it ends the next stream's first window.
            open_windows = [
                replace(w, stamp=int(w.events["t"][-1])) if w.events["t"][-1] < at <= w.stamp else w
                for w in open_windows
            ]
        closed = self._mark(open_windows)
        self._windower = self.make_windower()
        self._first, self._last_stamp = True, None
        return closed

    def _mark(self, windows: list[Window]) -> list[Window]:
        marked = []
        for window in windows:
            stamp = window.stamp if self._last_stamp is None else max(window.stamp, self._last_stamp + 1)
            marked.append(replace(window, stamp=stamp, first=self._first))
            self._first, self._last_stamp = False, stamp
        return marked


@dataclass(frozen=True)
class Picture:
    """A reconstruction float32 (H, W) in [0, 1], the same tone-mapped, its stamp in ns, and its network steps."""

    image: np.ndarray
    shown: np.ndarray
    stamp: int
    steps: int


class ImageMaker:
    """Windows -> pictures, by a reconstructor and a tone map, each with its memory."""

    def __init__(self, reconstructor: Reconstructor, tone_map: ToneMap) -> None:
        self.reconstructor = reconstructor
        self.tone_map = tone_map

    def make(self, window: Window) -> Picture:
        """Reconstruct and tone-map one window."""
        if window.first:
            self.reset()
        result = self.reconstructor.reconstruct(window.events, split=not window.merged)
        return Picture(result.image, self.tone_map(result.image), window.stamp, result.steps)

    def reset(self) -> None:
        """Forget the stream so far."""
        self.reconstructor.reset()
        reset_tone_map(self.tone_map)
