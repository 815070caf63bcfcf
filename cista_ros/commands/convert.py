"""`cista convert`: write a recording in another format, or with another type of event messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import LONGEST_S, FrameTimes, JsonOption, Seconds, reads_recordings
from .progress import DaskOption, JobsOption, counted

if TYPE_CHECKING:
    from rich.console import Console

    from ..recordings.convert import Converted

OutputFormat = Literal["ros1", "ros2", "ros2-mcap", "ecd-text", "raw", "hdf5"]
_BY_SUFFIX: dict[str, OutputFormat] = {
    "": "ros2",
    ".bag": "ros1",
    ".zip": "ecd-text",
    ".mcap": "ros2-mcap",
    ".raw": "raw",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}
_SUFFIXES = {"ros1": ".bag", "ros2-mcap": ".mcap", "raw": ".raw", "hdf5": ".h5"}  # of several recordings


@reads_recordings
def convert(
    recordings: Annotated[
        list[Path] | None,  # not required, so that a single path is known to be the output
        typer.Argument(help="Recordings of any readable format, or folders of them.", metavar="RECORDINGS..."),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Argument(help="Recording to write; must not exist. Several recordings: folder for NAME.SUFFIX of each."),
    ],
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
        Literal["keep", "dvs_msgs", "evt3", "libcaer", "libcaer_cmp", "mono"],
        typer.Option(help="Event messages in bags: unchanged, dvs_msgs/EventArray, or EventPacket in an encoding."),
    ] = "keep",
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Change times that the encoding cannot represent, and report how.")
    ] = False,
    frames: Annotated[bool, typer.Option(help="Also write camera frames and camera infos.")] = True,
    time_offset: Annotated[
        float, Seconds(help="Seconds added to the times of events and triggers.", min=-LONGEST_S)
    ] = 0.0,
    frame_times: FrameTimes = "stamps",
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    as_json: JsonOption = False,
    **read: Any,
) -> None:
    """Write recordings in another format: the same events, images and camera infos, streamed.

    Several recordings, or a folder of them: outputs that exist are kept, so the same command continues an interrupted
    run. A recording that fails is named, the others continue; the exit code is then 1, or 2 if all fail.
    """
    from ..errors import RecordingError
    from .progress import name_recordings, run_recordings

    if not recordings:
        raise typer.BadParameter(
            f"{output} is the only path; expected recordings, then the output", param_hint="OUTPUT"
        )
    read |= {"time_offset": time_offset, "frame_times": frame_times}
    options = {"events_as": events, "lossy": lossy, "metadata_version": metadata_version, "frames": frames}
    found = name_recordings(recordings, output)
    if "" not in found:
        if output.suffix in [*_BY_SUFFIX][1:] or output.is_file():
            raise RecordingError(f"{output}: several recordings need a folder; give their format by --format")
        made = format or "ros2"
    else:
        made = format_of(output, format)
    todo: dict[str, Job] = {}
    for name, path in found.items():
        where = output.absolute() / (name + _SUFFIXES.get(made, "")) if name else output
        todo[name] = Job(path, where, made, read, options)
    run_recordings(todo, output, convert_one, convert_unless_done, describe, jobs, dask, as_json)


@dataclass(frozen=True)
class Job:
    """One recording to convert; picklable.

    Attributes:
        read, options: of open_recording and recordings.convert.convert.
    """

    source: Path
    output: Path
    format: str
    read: dict[str, Any]
    options: dict[str, Any]


def convert_unless_done(job: Job) -> dict[str, Any]:
    """Convert a recording as convert_one, unless the output exists."""
    if job.output.exists():
        return {"source": str(job.source), "output": str(job.output), "finished_before": True}
    job.output.parent.mkdir(parents=True, exist_ok=True)
    return convert_one(job)


def convert_one(job: Job, console: Console | None = None) -> dict[str, Any]:
    """Convert a recording and return a summary.

    Args:
        console: shows progress and warnings; without one the warnings are in the summary only.
    Raises:
        RecordingError: as for both functions.
    """
    from ..input_check import first_warnings
    from ..recordings import open_recording
    from ..recordings.convert import convert
    from ..wire.ros_types import EventMessage
    from .progress import recording_bar, say

    began = time.perf_counter()
    with open_recording(job.source, **job.read) as recording, recording_bar("events", console) as show:
        messages = (recorded.message for recorded in recording.read(frames=False, camera_info=False))
        arrays = (message.events for message in messages if isinstance(message, EventMessage))
        warnings = [*first_warnings(recording.height, recording.width, arrays)]
        for warning in warnings:
            say(console, f"Warning: {warning}.")
        first: int | None = None

        def on_message(received: int, count: int) -> None:
            nonlocal first
            first = received if first is None else first
            show((received - first) / 1e9, recording.duration, count)

        done = convert(recording, job.output, job.format, **job.options, on_message=on_message)
    took = time.perf_counter() - began
    packets = str(recording.packet_counts)
    notes = [f"Of the packets read: {packets}."] if packets else []
    return {
        "source": str(job.source),
        "output": str(job.output),
        "format": job.format,
        **asdict(done),
        "packets": asdict(recording.packet_counts),
        "warnings": warnings,
        "notes": [*notes, *recording.notes, *_changes(done)],
        "seconds": took,
        "events_per_second": done.events / took,
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """Return a summary in words."""
    if summary.get("finished_before"):
        return [f"kept: {summary['output']} exists"]
    images, infos = counted(summary["images"], "image"), counted(summary["camera_infos"], "camera info")
    folder = " (a rosbag2 folder)" if summary["format"].startswith("ros2") else ""
    return [
        f"{counted(summary['events'], 'event')}, {images} and {infos} in {summary['seconds']:.1f} s"
        f" ({summary['events_per_second'] / 1e6:.1f} million events/s): {summary['output']}{folder}",
        *summary["notes"],
    ]


def _changes(done: Converted) -> Iterator[str]:
    """Yield how the output differs from the source."""
    if done.left_out_topics:
        yield f"Left out: {', '.join(done.left_out_topics)}"
    if done.left_out_camera_infos:
        yield f"Left out: {counted(done.left_out_camera_infos, 'camera info')} that calib.txt cannot hold"
    if done.left_out_triggers:
        yield f"Left out: {counted(done.left_out_triggers, 'trigger')}, which only evt3 holds"
    if done.cut_times:
        yield f"Cut to whole microseconds: the times of {counted(done.cut_times, 'event')}"
    if done.time_shift_ns:
        yield (
            f"All event times moved by {done.time_shift_ns / 1e9:.6f} s, the stamps of messages not: to read both on"
            " one clock give --event-time host"
        )


def format_of(output: Path, format: OutputFormat | None) -> OutputFormat:
    """Return a format, by default that of the suffix. RecordingError if no format or another one has the suffix."""
    from ..errors import RecordingError

    if (found := format or _BY_SUFFIX.get(output.suffix)) is None:
        known = ", ".join(f"{suffix} ({known})" for suffix, known in _BY_SUFFIX.items() if suffix)
        raise RecordingError(
            f"{output}: no format has the suffix {output.suffix}; expected {known}, or none (ros2); or give --format"
        )
    if found == "ros1" and output.suffix != ".bag":
        raise RecordingError(f"{output}: the name of a ROS 1 bag must end in .bag")
    if found != "ecd-text" and output.suffix == ".zip":
        raise RecordingError(f"{output}: *.zip is the name of ECD text, not of {found}")
    return found
