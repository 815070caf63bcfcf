"""`cista convert`: write a recording in another format, or with another type of event messages."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    ColumnsOption,
    EventsTopicOption,
    EventTime,
    EventTimeOption,
    FramesTopicOption,
    JsonOption,
    TimeUnitOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..recordings import Recording
    from ..recordings.convert import Converted


class OutputFormat(str, Enum):
    """Formats that can be written."""

    ros1 = "ros1"
    ros2 = "ros2"
    ros2_mcap = "ros2-mcap"
    ecd_text = "ecd-text"
    raw = "raw"
    hdf5 = "hdf5"


_BY_SUFFIX = {
    "": OutputFormat.ros2,
    ".bag": OutputFormat.ros1,
    ".zip": OutputFormat.ecd_text,
    ".mcap": OutputFormat.ros2_mcap,
    ".raw": OutputFormat.raw,
    ".h5": OutputFormat.hdf5,
    ".hdf5": OutputFormat.hdf5,
}


class EventsAs(str, Enum):
    """How events are written in a bag."""

    keep = "keep"
    dvs_msgs = "dvs_msgs"
    evt3 = "evt3"
    libcaer = "libcaer"
    libcaer_cmp = "libcaer_cmp"
    mono = "mono"


def convert(
    source: Annotated[Path, typer.Argument(help="Recording of any readable format.")],
    output: Annotated[Path, typer.Argument(help="Recording to write; must not exist.")],
    format: Annotated[
        OutputFormat | None,
        typer.Option(
            help="Default: by the suffix of OUTPUT (.bag, .mcap, .zip, .raw, .h5); without one, ros2 (sqlite3)."
        ),
    ] = None,
    metadata_version: Annotated[
        int, typer.Option(help="Metadata version of a rosbag2: 8, or 9 for Kilted and later.", min=8, max=9)
    ] = 8,
    events: Annotated[
        EventsAs,
        typer.Option(help="Event messages in bags: unchanged, dvs_msgs/EventArray, or EventPacket in an encoding."),
    ] = EventsAs.keep,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Change times that the encoding cannot represent, and report how.")
    ] = False,
    frames: Annotated[bool, typer.Option(help="Also write camera frames and camera infos.")] = True,
    event_time: EventTimeOption = EventTime.sensor,
    events_topic: EventsTopicOption = None,
    frames_topic: FramesTopicOption = None,
    time_unit: TimeUnitOption = None,
    columns: ColumnsOption = None,
    time_offset: Annotated[float, typer.Option(help="Seconds added to the times of events and triggers.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Write a recording in another format: the same events, images and camera infos, streamed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..recordings import open_recording
    from ..recordings.convert import convert

    format = format or _format_of(output)
    _check_name(output, format)
    console = Console(stderr=True)
    shown = (TextColumn("{task.completed:.1f} s"), BarColumn(), TextColumn("{task.fields[n]} events"))
    recording = open_recording(
        source,
        events_topic=events_topic,
        frames_topic=frames_topic,
        event_time=event_time.value,
        time_unit=time_unit,
        columns=columns,
        time_offset=time_offset,
    )
    began = time.perf_counter()
    with (
        recording,
        Progress(*shown, TimeRemainingColumn(), console=console) as progress,
    ):
        _warn(recording, console)
        task = progress.add_task("convert", total=recording.duration, n=0)
        first = None

        def on_message(received: int, count: int) -> None:
            nonlocal first
            first = received if first is None else first
            progress.update(task, completed=(received - first) / 1e9, n=count)

        done = convert(
            recording,
            output,
            format.value,
            events_as=events.value,
            lossy=lossy,
            metadata_version=metadata_version,
            frames=frames,
            on_message=on_message,
        )
    took = time.perf_counter() - began
    if as_json:
        summary = {"source": str(source), "output": str(output), "format": format.value, **asdict(done)}
        summary["packets"] = asdict(recording.packet_counts)
        typer.echo(json.dumps({**summary, "seconds": took, "events_per_second": done.events / took}))
        return
    console.print(
        f"{done.events} events, {done.images} images and {done.camera_infos} camera infos in {took:.1f} s"
        f" ({done.events / took / 1e6:.1f} million events/s): {output}"
    )
    if packets := str(recording.packet_counts):
        console.print(f"Of the packets read: {packets}.")
    for text in [*recording.notes, *_changes(done)]:
        console.print(text)


def _warn(recording: Recording, console: Console) -> None:
    """Print the warnings about the first events of a recording."""
    from ..input_check import first_warnings
    from ..wire.ros_types import EventMessage

    messages = (recorded.message for recorded in recording.read(frames=False, camera_info=False))
    arrays = (message.events for message in messages if isinstance(message, EventMessage))
    for warning in first_warnings(recording.height, recording.width, arrays):
        console.print(f"Warning: {warning}.")


def _changes(done: Converted) -> list[str]:
    """Return how the output differs from the source."""
    texts = {
        f"Left out: {', '.join(done.left_out_topics)}": bool(done.left_out_topics),
        f"Left out: {done.left_out_camera_infos} camera infos that calib.txt cannot hold": done.left_out_camera_infos,
        f"Left out: {done.left_out_triggers} triggers, which only evt3 holds": done.left_out_triggers,
        f"Cut to whole microseconds: the times of {done.cut_times} events": done.cut_times,
        f"All event times moved by {done.time_shift_ns / 1e9:.6f} s, the stamps of messages not: to read both on one"
        " clock give --event-time host": done.time_shift_ns,
    }
    return [text for text, holds in texts.items() if holds]


def _format_of(output: Path) -> OutputFormat:
    """Return the format that a suffix names; raises RecordingError for an unknown one."""
    from ..errors import RecordingError

    if (format := _BY_SUFFIX.get(output.suffix)) is None:
        known = ", ".join(f"{suffix} ({known.value})" for suffix, known in _BY_SUFFIX.items() if suffix)
        raise RecordingError(
            f"{output}: no format has the suffix {output.suffix}; expected {known}, or none (ros2); or give --format"
        )
    return format


def _check_name(output: Path, format: OutputFormat) -> None:
    """Raise RecordingError if the suffix belongs to another format: the file could not be read back."""
    from ..errors import RecordingError

    if format is OutputFormat.ros1 and output.suffix != ".bag":
        raise RecordingError(f"{output}: the name of a ROS 1 bag must end in .bag")
    if format is not OutputFormat.ecd_text and output.suffix == ".zip":
        raise RecordingError(f"{output}: *.zip is the name of ECD text, not of {format.value}")
