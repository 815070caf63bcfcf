"""A recording -> pictures, as fast as the machine allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .errors import RecordingError
from .pipeline import ImageMaker, Picture, WindowMaker
from .recordings import Recording
from .windows import Window
from .wire.messages import EventMessage, ImageMessage


def read_windows(
    recording: Recording,
    windows: WindowMaker,
    start: float | None = None,
    end: float | None = None,
    on_frame: Callable[[ImageMessage], None] | None = None,
) -> Iterator[Window]:
    """The windows of a recording's events from `start` to `end`, in seconds since the recording's start.

    Args:
        on_frame: is given the camera frames of that time as they come; without it none is decoded.
    Raises:
        RecordingError: the sensor's size changes within the recording.
    """
    for recorded in recording.read(start, end, frames=on_frame is not None, camera_info=False):
        message = recorded.message
        if on_frame and isinstance(message, ImageMessage):
            on_frame(message)
            continue
        assert isinstance(message, EventMessage)
        if (message.height, message.width) != (recording.height, recording.width):
            raise RecordingError(
                f"{recording.path}: {recorded.topic} changes from {recording.width}x{recording.height}"
                f" to {message.width}x{message.height} pixels"
            )
        yield from windows.push(message.events)
    yield from windows.flush()


def reconstruct_recording(
    recording: Recording,
    windows: WindowMaker,
    images: ImageMaker,
    start: float | None = None,
    end: float | None = None,
) -> Iterator[tuple[Window, Picture]]:
    """Each window of a recording with its picture, in turn."""
    for window in read_windows(recording, windows, start, end):
        yield window, images.make(window)
