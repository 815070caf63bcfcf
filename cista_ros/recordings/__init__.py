"""Recordings of event cameras: files <-> events and frames. `open_recording` reads every format."""

from __future__ import annotations

from pathlib import Path

from ..errors import RecordingError
from ..events import NS
from .formats import FORMATS, find_format, find_recordings
from .recording import Item, ReadOptions, Recorded, Recording

_LONGEST_S = 4e9  # 127 years
__all__ = ["FORMATS", "Item", "ReadOptions", "Recorded", "Recording", "find_recordings", "open_recording"]


def open_recording(
    path: str | Path,
    *,
    events_topic: str | None = None,
    frames_topic: str | None = None,
    event_time: str = "sensor",
    time_unit: str | None = None,
    columns: str | None = None,
    time_offset: float = 0.0,
    frame_times: str = "stamps",
) -> Recording:
    """Open a recording, whose format is detected by its content. Close it after use: it is a context manager.

    Args:
        events_topic: name of the events topic, if the recording has several.
        frames_topic: name of the frames topic, if it is not clear from the events topic.
        event_time: clock of the events of packets: "sensor" (the camera's) or "host" (the host's).
        time_unit: of text, HDF5 and NumPy, "s", "ms", "us" or "ns"; None detects it.
        columns: of text and arrays, their order such as "txyp" or "xypt" ("-" skips a column); None detects it.
        time_offset: seconds added to the times of events and triggers, for instance to move them to the frames' clock.
        frame_times: "stamps", or "rising" or "falling" for the times of the triggers that expose the frames.

    Raises:
        RecordingError: the path does not exist, is damaged, has an unknown format, or lacks the topics or any event; an
            option is invalid or not for such recordings.
    """
    path = Path(path)
    if not abs(time_offset) <= _LONGEST_S:
        raise RecordingError(f"time offset {time_offset:g} s; expected at most {_LONGEST_S:g} s, forth or back")
    if not path.exists():
        raise RecordingError(f"{path}: no such file or folder")
    options = ReadOptions(events_topic, frames_topic, event_time, time_unit, columns)
    recording = find_format(path).open(path, options)
    try:
        if time_offset:
            recording.shift_events(round(time_offset * NS))
        if frame_times != "stamps":
            recording.use_trigger_times(frame_times)
    except BaseException:
        recording.close()
        raise
    return recording
