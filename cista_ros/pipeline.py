"""A recording in, frames out: as fast as the machine allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import RecordingError
from .event_filter import FilterCounts
from .events import NS, trigger_times
from .input_check import InputCheck
from .reconstructor import Frame, Reconstructor
from .recordings import Recording, open_recording
from .trigger_pairs import pair
from .window_maker import WindowMaker
from .windows import Window, Windower, make_windower, required_kind
from .wire.ros_types import EVENT_PACKET, EventMessage, ImageMessage


def reconstruct(
    recording: str | Path | Recording,
    *,
    weights: str | Path = "auto",
    windows: str | Callable[[], Windower] | None = None,
    window_options: dict[str, Any] | None = None,
    start: float | None = None,
    end: float | None = None,
    device: str | torch.device = "auto",
    event_time: str = "sensor",
    events_topic: str | None = None,
    frames_topic: str | None = None,
    **options: Any,
) -> Iterator[Frame]:
    """Yield the frames of a recording, one per window.

    Args:
        recording: a file or folder for `open_recording`, which also takes event_time and the topics; or an open
            recording, which stays open.
        weights: shipped or fetched weights by name, a file, or `auto`.
        windows: `frames` (one window per camera frame), `trigger` (per pulse on an input of the event camera), a kind
            for `make_windower`, with window_options for `choose_windows`; or a function that makes a windower. Default:
            as for `choose_windows`.
        start, end: seconds since the recording's start that bound the events and frames used, as for Recording.read.
        device, options: as for `Reconstructor.from_weights`, such as max_gap, noise_filter, tone_map and runtime.
    Raises:
        CistaError: the recording, the weights or the device cannot be used as asked.
    """
    read: dict[str, Any] = {"events_topic": events_topic, "frames_topic": frames_topic, "event_time": event_time}
    with nullcontext(recording) if isinstance(recording, Recording) else open_recording(recording, **read) as source:
        if windows is None or isinstance(windows, str):
            windows = choose_windows(source, windows, start, end, **(window_options or {}))[1]
        size = source.height, source.width
        reconstructor = Reconstructor.from_weights(weights, *size, device, windows=windows, **options)
        yield from reconstruct_recording(source, reconstructor, start, end)


def reconstruct_recording(
    recording: Recording,
    reconstructor: Reconstructor,
    start: float | None = None,
    end: float | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[Frame]:
    """Yield the frames of a recording's events; arguments and errors as for `read_windows`.

    RecordingError also if there is no event between start and end.
    """
    for window in read_windows(recording, reconstructor.windows, start, end, on_warning=on_warning):
        yield reconstructor.make(window)
    if not reconstructor.windows.event_filter.counts.received:
        raise RecordingError(_nothing_selected(recording, start, end))


def read_windows(
    recording: Recording,
    windows: WindowMaker,
    start: float | None = None,
    end: float | None = None,
    on_frame: Callable[[ImageMessage], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[Window]:
    """Yield the windows of a recording's events from `start` to `end`, in seconds since the recording's start.

    `on_frame` is called with each camera frame of that time (without it no frame is decoded), `on_warning` with each
    warning of an InputCheck. RecordingError if the sensor size changes within the recording, or its events are not in
    order of time.
    """
    event_filter = windows.event_filter
    check = InputCheck(recording.height, recording.width, event_filter.counts, event_filter.noise_filter)
    messages = 0
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
        messages += len(message.events) > 0
        for warning in check.observe(message.events) if on_warning else ():
            on_warning(warning)  # type: ignore[misc]
        closed = windows.push(message.events, message.frame_id)
        _check_order(recording, event_filter.counts, messages)
        yield from closed
    _check_order(recording, event_filter.counts, messages, ended=True)
    yield from windows.flush()


def _check_order(recording: Recording, counts: FilterCounts, messages: int, ended: bool = False) -> None:
    """Raise RecordingError if time goes back so often that the events cannot be in order.

    One or two jumps may be those of a camera that restarted. They are judged at the recording's end (`ended`).
    """
    often = 4 * counts.time_jumps >= messages
    mixed = 2 * counts.reordered > counts.received
    few = 1 if ended and often else 3
    if (often and counts.time_jumps >= 20) or (mixed and counts.time_jumps >= few):
        raise RecordingError(
            f"{recording.path}: the events are not in order of time: within {messages} messages or blocks time jumps"
            f" back {counts.time_jumps} times, and {counts.reordered} of {counts.received} events are out of order;"
            " sort them by time first"
        )


def event_arrays(recording: Recording, start: float | None = None, end: float | None = None) -> Iterator[np.ndarray]:
    """Yield the events of a recording's messages, as event arrays (N,) that are not empty; arguments as for `read`."""
    for recorded in recording.read(start, end, frames=False, camera_info=False):
        if isinstance(recorded.message, EventMessage) and len(recorded.message.events):
            yield recorded.message.events


def _nothing_selected(recording: Recording, start: float | None, end: float | None) -> str:
    """Return an error that says where the events are."""
    times = [events["t"][[0, -1]] for events in event_arrays(recording)]
    if not times:
        return f"{recording.path}: {recording.events_topic} has no events"
    first, last = ((stamp - recording.start) / NS for stamp in (np.min(times), np.max(times)))
    return f"{recording.path}: no events from {_span(start, end)}: the events are from {first:.3f} s to {last:.3f} s"


def _span(start: float | None, end: float | None) -> str:
    return f"{'the start' if start is None else f'{start:g} s'} to {'the end' if end is None else f'{end:g} s'}"


def choose_windows(
    recording: Recording,
    kind: str | None = None,
    start: float | None = None,
    end: float | None = None,
    **options: Any,
) -> tuple[str, Callable[[], Windower], str]:
    """Choose how to cut a recording into windows.

    Args:
        kind: `frames`, `trigger`, or a kind for `make_windower`. None for the kind that the options are for, else
            `frames` if the recording has frames during its events, else `period`. With `trigger`, if the pulses trigger
            the frames, there is a window for each trigger with a frame, and its image has that frame's stamp.
        start, end: seconds since the recording's start that bound the frames and triggers used, both inclusive.
        options: for `make_windower`; or edge and trigger_input, which select triggers as for `find_triggers`.

    Returns the kind, a function that makes a windower, and why the recording's frames are not used (empty if they are,
    or if it has no frames). WindowError if an option is for another kind, RecordingError if `frames`, `trigger` or
    `stamps` are asked for but impossible.
    """
    kind = required_kind(kind, options)
    note, make = "", partial(make_windower, height=recording.height, width=recording.width)
    if kind == "trigger":
        times = find_triggers(recording, **options)
        pairing = pair(times, recording.frame_stamps()) if recording.frames_topic else None
        image_stamps = None
        if pairing and pairing.plausible:
            times = pairing.triggers
            image_stamps = dict(zip(times.tolist(), pairing.frames.tolist(), strict=True))
        elif pairing:
            note = (
                f"the triggers do not trigger the frames of {recording.frames_topic}: images have the triggers' times"
            )
        first, past = recording.span(start, end)
        times = times[(times >= first) & (times <= past)]
        if not len(times):
            raise RecordingError(f"{recording.path}: no triggers from {_span(start, end)}")
        return kind, partial(make, kind, stamps=times, image_stamps=image_stamps), note
    if kind == "frames" or (kind is None and recording.frames_topic):
        stamps = recording.frame_stamps()
        note = _frames_elsewhere(recording, stamps)
        if kind or not note:
            return "frames", partial(make, "stamps", stamps=_selected(recording, stamps, start, end, note)), ""
    stamps = options.get("stamps", ())
    if len(stamps) and stamps[-1] < recording.first_event:
        raise RecordingError(
            f"{recording.path}: the last stamp, {stamps[-1] / NS:.9f} s, is before the first event, at"
            f" {recording.first_event / NS:.9f} s"
        )
    kind = kind or "period"
    return kind, partial(make, kind, **options), note


def find_triggers(recording: Recording, edge: str = "rising", trigger_input: int | None = None) -> np.ndarray:
    """Return the times (N,) in ns of a recording's triggers, selected as by `trigger_times`; RecordingError if none."""
    triggers = recording.triggers()
    times = trigger_times(triggers, edge, trigger_input)
    if not len(times):
        kinds = zip(*np.unique(triggers[["id", "p"]], return_counts=True), strict=True)
        there = [f"{n} {'rising' if kind['p'] else 'falling'} on input {kind['id']}" for kind, n in kinds]
        selected = ("" if edge == "both" else f"{edge} ") + "triggers"
        selected += "" if trigger_input is None else f" on input {trigger_input}"
        raise RecordingError(f"{recording.path}: no {selected}; there are {', '.join(there) or 'none at all'}")
    return times


def _selected(
    recording: Recording, stamps: np.ndarray, start: float | None, end: float | None, elsewhere: str
) -> np.ndarray:
    """Return the stamps from start to end; raise RecordingError unless windows can end at them."""
    first, past = recording.span(start, end)
    stamps = stamps[(stamps >= first) & (stamps <= past)]
    otherwise = "use --windows period, count or adaptive"
    if not len(stamps) and not any(True for _ in event_arrays(recording, start, end)):
        raise RecordingError(_nothing_selected(recording, start, end))
    if elsewhere or not len(stamps):
        where = "" if start is None and end is None else f" from {_span(start, end)}"
        raise RecordingError(f"{recording.path}: {elsewhere or 'no camera frames' + where}; {otherwise}")
    if (stamps[1:] < stamps[:-1]).any():
        raise RecordingError(f"{recording.path}: the stamps of {recording.frames_topic} go back; {otherwise}")
    return stamps


def _frames_elsewhere(recording: Recording, stamps: np.ndarray) -> str:
    """Return a sentence if none of the frames, by their stamps (N,), lies within the time of the events; else ''."""
    # Durations are as received: events on another clock are still received for as long as the frames are.
    longest = float("inf") if recording.duration is None else (recording.duration + 1) * NS
    first = recording.first_event
    if not len(stamps) or ((stamps > first) & (stamps <= first + longest)).any():
        return ""
    hint = " (another clock? --event-time host moves packets to the host's)"
    text = f"none of the {len(stamps)} frames of {recording.frames_topic} lies within the time of the events"
    return text + (hint if recording.events_type == EVENT_PACKET else "")
