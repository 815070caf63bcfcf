"""`cista convert`: a recording into another format, or with another type of event messages."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .simulate import Format


class EventsAs(str, Enum):
    """How events are written in a bag."""

    keep = "keep"
    dvs_msgs = "dvs_msgs"
    evt3 = "evt3"
    libcaer = "libcaer"
    libcaer_cmp = "libcaer_cmp"
    mono = "mono"


class EventTime(str, Enum):
    """Whose clock the times of event packets are."""

    sensor = "sensor"
    host = "host"


def convert(
    source: Annotated[Path, typer.Argument(help="ROS 1 bag, rosbag2, or ECD text (folder or zip).")],
    output: Annotated[Path, typer.Argument(help="Recording to write; must not exist.")],
    format: Annotated[
        Format | None,
        typer.Option(help="Default: ros1 for *.bag, ecd-text for *.zip, ros2-mcap for *.mcap, else ros2 (sqlite3)."),
    ] = None,
    metadata_version: Annotated[
        int, typer.Option(help="Of a rosbag2: 8, or 9 for Kilted and later.", min=8, max=9)
    ] = 8,
    events: Annotated[
        EventsAs, typer.Option(help="In bags: as they are, dvs_msgs/EventArray, or EventPacket in an encoding.")
    ] = EventsAs.keep,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Change times that the encoding cannot hold, and tell how.")
    ] = False,
    event_time: Annotated[
        EventTime, typer.Option(help="Of event packets: the camera's clock, or the host's by their stamps.")
    ] = EventTime.sensor,
    events_topic: Annotated[str | None, typer.Option(help="Needed when several topics bear events.")] = None,
    frames_topic: Annotated[str | None, typer.Option(help="Needed when several topics bear images.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a recording anew: the same events, images and camera infos, streamed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..recordings import open_recording
    from ..recordings.conversion import convert

    by_suffix = {".bag": Format.ros1, ".zip": Format.ecd_text, ".mcap": Format.ros2_mcap}
    format = format or by_suffix.get(output.suffix, Format.ros2)
    _check_name(output, format)
    console = Console(stderr=True)
    columns = (TextColumn("{task.completed:.1f} s"), BarColumn(), TextColumn("{task.fields[n]} events"))
    names = {"events_topic": events_topic, "frames_topic": frames_topic}
    began = time.perf_counter()
    with (
        open_recording(source, event_time=event_time.value, **names) as recording,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
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
    for text in _changes(done.left_out_topics, done.left_out_camera_infos, done.cut_times, done.time_shift_ns):
        console.print(text)


def _changes(topics: list[str], infos: int, cut_times: int, shift_ns: int) -> list[str]:
    """What is not as it was, in words."""
    told = {
        f"Left out: {', '.join(topics)}": bool(topics),
        f"Left out: {infos} camera infos that calib.txt cannot hold": infos > 0,
        f"Cut to whole microseconds: the times of {cut_times} events": cut_times > 0,
        f"All event times moved by {shift_ns / 1e9:.6f} s, the stamps of messages not: to read both on one clock give"
        " --event-time host": shift_ns != 0,
    }
    return [text for text, holds in told.items() if holds]


def _check_name(output: Path, format: Format) -> None:
    """Raise RecordingError where a name says another format than what is written: it could not be read back."""
    from ..errors import RecordingError

    if format is Format.ros1 and output.suffix != ".bag":
        raise RecordingError(f"{output}: the name of a ROS 1 bag must end in .bag")
    if format is not Format.ecd_text and output.suffix == ".zip":
        raise RecordingError(f"{output}: *.zip is the name of ECD text, not of {format.value}")
