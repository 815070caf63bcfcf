"""`cista reconstruct`: recordings in, images out."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import (
    DeviceOption,
    Edge,
    EndOption,
    FrameTimes,
    JsonOption,
    Seconds,
    StartOption,
    ToneMapName,
    TriggerInputOption,
    WeightsOption,
    check_span,
    reads_recordings,
)
from .progress import DaskOption, JobsOption, counted

if TYPE_CHECKING:
    from rich.console import Console

# Options of Reconstructor.from_weights.
NETWORK = (
    *("weights", "device", "max_gap", "noise_filter", "hot_pixel_mask", "tone_map", "max_events"),
    *("clip_hot_pixels", "runtime", "precision", "downscale"),
)
SUMMARY = "summary.json"  # written last: it marks a finished folder


@reads_recordings
def reconstruct(
    context: typer.Context,
    recordings: Annotated[list[Path], typer.Argument(help="Recordings of any readable format, or folders of them.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Output folder. Frames from an earlier run are deleted. Several recordings: OUTPUT/NAME for each.",
        ),
    ],
    weights: WeightsOption = "auto",
    windows: Annotated[
        Literal["frames", "count", "period", "adaptive", "trigger"] | None,
        typer.Option(
            help="How to cut events into windows. Default: as the options of a kind require; else at camera frames if"
            " the recording has any during its events, else by period."
        ),
    ] = None,
    period: Annotated[
        float,
        Seconds(help="Seconds per window (--windows period).", min=1e-6, show_default="1/30"),
    ] = 1 / 30,
    count: Annotated[
        int | None, typer.Option(help="Events per window (--windows count). Default: 0.35 per pixel.", min=1)
    ] = None,
    events_per_pixel: Annotated[
        float,
        typer.Option(
            help="Events per pixel in the busiest area that end a window (--windows adaptive).", min=0.001, max=1e6
        ),
    ] = 1.0,
    shortest: Annotated[float, Seconds(help="Shortest window in seconds (--windows adaptive).")] = 0.005,
    longest: Annotated[float, Seconds(help="Longest window in seconds (--windows adaptive).", min=1e-6)] = 0.2,
    edge: Annotated[Edge, typer.Option(help="Edge of the pulses (--windows trigger).")] = "rising",
    trigger_input: TriggerInputOption = None,
    frame_times: FrameTimes = "stamps",
    stamps: Annotated[
        Path | None,
        typer.Option(
            help="Make images at the times in this file, on the events' clock, one per line: nanoseconds, or seconds"
            " with a decimal point."
        ),
    ] = None,
    max_events: Annotated[
        int | None,
        typer.Option(help="Split windows with more events evenly into several steps. Default: 0.35 per pixel.", min=1),
    ] = None,
    tone_map: Annotated[ToneMapName, typer.Option(help="How to display the network's images.")] = "natural",
    device: DeviceOption = "auto",
    runtime: Annotated[
        str, typer.Option(help="Runtime: auto, eager, fused, native, winograd, cuda-graph or onnx.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (bf16 on a CPU with a matrix unit for it, else fp32), fp32, bf16 or fp16.")
    ] = "auto",
    downscale: Annotated[
        int, typer.Option(help="Bin events to a grid coarser by this factor; the images are as coarse.", min=1)
    ] = 1,
    max_gap: Annotated[
        float, Seconds(help="Reset the network after a gap of more seconds in the events; 0: never.")
    ] = 5.0,
    noise_filter: Annotated[
        Literal["none", "activity"],
        typer.Option(help="activity: drop events that no neighbour precedes within 10 ms."),
    ] = "none",
    hot_pixel_mask: Annotated[
        str,
        typer.Option(
            help="Drop the events of hot pixels: learn them, or read them from a file (an image, or lines `x y`).",
            metavar="learn|FILE",
        ),
    ] = "",
    clip_hot_pixels: Annotated[
        bool, typer.Option("--clip-hot-pixels", help="Clip the voxels of hot pixels instead.")
    ] = False,
    npz: Annotated[
        bool, typer.Option("--npz", help="Also write OUTPUT/frames.npz, the images before the tone map.")
    ] = False,
    video: Annotated[
        Path | None, typer.Option(help="Also write this MP4 file. Several recordings: VIDEO/NAME.mp4 for each.")
    ] = None,
    start: StartOption = None,
    end: EndOption = None,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    as_json: JsonOption = False,
    **read: Any,
) -> None:
    """Reconstruct the events of recordings as images: OUTPUT/frames/*.png, OUTPUT/frames.csv, OUTPUT/summary.json.

    Several recordings, or a folder of them: finished recordings are not repeated when the same command is given again.
    A recording that fails is named, the others continue; the exit code is then 1, or 2 if all fail.
    """
    given = dict(locals())
    from ..networks import choose_weights, load_network
    from ..reconstructor import choose_device
    from ..util.video import SUFFIXES
    from ..windows import KIND_OF_OPTION, required_kind
    from .progress import name_recordings, run_recordings

    if not shortest < longest:
        raise typer.BadParameter(f"{shortest} s; expected less than --longest, {longest} s", param_hint="--shortest")
    check_span(start, end)
    if stamps and windows:
        raise typer.BadParameter("--stamps and --windows exclude each other", param_hint="--stamps")
    sources = {name: context.get_parameter_source(name) for name in KIND_OF_OPTION}
    cut = {name: given[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    cut |= {"kind": required_kind("stamps" if stamps else windows, cut), "start": start, "end": end}
    chosen, note = choose_weights(weights, choose_device(device))
    found = name_recordings(recordings, output)
    if "" not in found:
        if video and video.suffix:
            raise typer.BadParameter(
                f"{video}: expected a folder, in which each recording has its NAME.mp4", param_hint="--video"
            )
        load_network(chosen)  # an error in it would end each job
    elif video and video.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"{video}: expected a name that ends in {' or '.join(SUFFIXES)}", param_hint="--video")
    if stamps:
        cut["stamps"] = read_stamps(stamps)
    network = {name: given[name] for name in NETWORK} | {"weights": chosen}
    read |= {"frame_times": frame_times}
    todo: dict[str, Job] = {}
    for name, path in found.items():
        where = output.absolute() / name if name else output
        clip = video.absolute() / f"{name}.mp4" if name and video else video
        todo[name] = Job(path, where, read, cut, network, npz, clip, note)
    if "" not in found:
        typer.echo(note, err=True)
    run_recordings(todo, output, reconstruct_one, reconstruct_unless_done, describe, jobs, dask, as_json)


@dataclass(frozen=True)
class Job:
    """One recording to reconstruct; picklable.

    Attributes:
        read: options of open_recording.
        windows: arguments of choose_windows.
        options: arguments of Reconstructor.from_weights.
        note: why these weights.
    """

    recording: Path
    output: Path
    read: dict[str, Any]
    windows: dict[str, Any]
    options: dict[str, Any]
    npz: bool
    video: Path | None
    note: str

    def settings(self) -> dict[str, Any]:
        """Return all that the images depend on, as JSON. CistaError or OSError for missing files."""
        from .. import __version__
        from ..networks import find_weights
        from ..util.atomic import digest_of
        from ..util.jobs import identify

        content = {**asdict(self), "version": __version__, "recording": identify(self.recording)}
        content |= {
            "output": None,
            "note": None,
            "video": self.video is not None,
            "weights": digest_of(find_weights(self.options["weights"])),
        }
        if Path(mask := self.options["hot_pixel_mask"]).is_file():
            content["mask"] = digest_of(Path(mask))
        return content


def reconstruct_unless_done(job: Job) -> dict[str, Any]:
    """Reconstruct a recording and return its summary, or return that of an earlier run with the same settings."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads((job.output / SUMMARY).read_text())
        if content.pop("settings") == job.settings():
            return {**content, "finished_before": True}
    return reconstruct_one(job)


def reconstruct_one(job: Job, console: Console | None = None) -> dict[str, Any]:
    """Write the images of one recording; return the summary, which is also written.

    Args:
        console: shows progress and warnings; without one the warnings are in the summary only.
    Raises:
        CistaError: bad input.
        OSError: a file cannot be written.
    """
    from ..events import NS
    from ..noise_filter import HotPixels, mask_text
    from ..pipeline import choose_windows, reconstruct_recording
    from ..reconstructor import Reconstructor
    from ..recordings import open_recording
    from ..util.atomic import write_text
    from .frame_folder import FrameFolder
    from .progress import recording_bar, say

    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        say(console, f"Warning: {text}.")

    start, end = job.windows["start"], job.windows["end"]
    with open_recording(job.recording, **job.read) as source:
        kind, make_windower, note = choose_windows(source, **job.windows)
        made = Reconstructor.from_weights(
            height=source.height, width=source.width, windows=make_windower, **job.options
        )
        length = inf if source.duration is None else source.duration
        length = min(length, inf if end is None else end) - (start or 0)
        used, first, last = 0, None, 0
        settings = job.settings()
        began = before = time.perf_counter()
        frames = reconstruct_recording(source, made, start, end, warn)
        head = [*islice(frames, 1)]  # an error in it leaves the earlier output
        with (
            recording_bar("images", console) as show,
            FrameFolder(job.output, made.image_height, made.image_width, npz=job.npz, video=job.video) as folder,
        ):
            say(console, f"{job.note}\n{made.runtime_note}")
            if note:
                warn(f"{note}: {kind} windows")
            for frame in chain(head, frames):
                now = time.perf_counter()
                folder.write(frame, 1000 * (now - before))
                before = now
                used += len(frame.events)
                first = int(frame.events["t"][0]) if first is None else first
                last = int(frame.events["t"][-1])
                show((last - source.start) / NS - (start or 0), length if length < inf else None, folder.count)
        took = time.perf_counter() - began
        counts, noise = made.windows.event_filter.counts, made.windows.event_filter.noise_filter
        if noise and isinstance(noise.hot_pixels, HotPixels):
            write_text(job.output / "hot_pixels.txt", mask_text(noise.hot_pixels.mask))
        summary = {
            "recording": str(job.recording),
            "output": str(job.output),
            "weights": job.options["weights"],
            "device": str(made.device),
            "runtime": made.runtime.name,
            "precision": made.runtime.precision,
            "windows": kind,
            "height": made.image_height,
            "width": made.image_width,
            "images": folder.count,
            "events": {
                "received": counts.received,
                "used": used,
                "outside_sensor": counts.outside,
                **{name: getattr(counts, name) for name in ("late", "stray", "hot", "noise")},
                "in_no_window": counts.accepted - used,
            },
            "packets": asdict(source.packet_counts),
            "time_jumps": counts.time_jumps,
            "reordered": counts.reordered,
            "gaps": counts.gaps,
            "warnings": warnings,
            "notes": [f"Packets: {text}." for text in [str(source.packet_counts)] if text] + list(source.notes),
            "seconds": took,
            "images_per_second": folder.count / took,
            "real_time_factor": 0.0 if first is None else max(0.0, (last - first) / NS) / took,
        }
    write_text(job.output / SUMMARY, json.dumps({"settings": settings, **summary}, indent=1) + "\n")
    return summary


def describe(summary: dict[str, Any]) -> list[str]:
    """Return a summary in words."""
    events, images = summary["events"], counted(summary["images"], "image")
    if summary.get("finished_before"):
        return [f"finished before: {images} in {summary['output']}"]
    lines = [
        f"{images} ({summary['windows']} windows) in {summary['seconds']:.1f} s on {summary['device']}:"
        f" {summary['images_per_second']:.1f} images/s, {summary['real_time_factor']:.2f} times real time. Written to"
        f" {Path(summary['output'], 'frames')}"
    ]
    unused = {name: n for name, n in events.items() if name not in ("received", "used") and n}
    if unused or summary["time_jumps"] or summary["gaps"]:
        detail = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in unused.items()) or "none"
        lines.append(
            f"{counted(events['received'], 'event')}; not used: {detail}; time jumps back: {summary['time_jumps']};"
            f" gaps: {summary['gaps']}."
        )
    lines += summary["notes"]
    return lines + ([] if summary["images"] else [f"No image: none of the {events['received']} events is in a window."])


def read_stamps(path: Path) -> list[int]:
    """Read the times in a file, one per line, in nanoseconds: whole numbers, or seconds with a decimal point.

    Empty lines and text after # are ignored.

    Raises:
        RecordingError: no such file, no times, times that decrease, or a line that is not a time.
    """
    from decimal import Decimal

    from ..errors import RecordingError
    from ..events import NS

    if not path.is_file():
        raise RecordingError(f"{path}: no such file of time stamps")
    found: list[int] = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = line.split("#")[0].strip().rstrip(",")
        if not text:
            continue
        least = found[-1] if found else -(2**63)
        try:
            time = Decimal(text) * (NS if "." in text else 1)
            fits = least <= time < 2**63
        except ArithmeticError:
            raise RecordingError(
                f"{path}: line {number}: {text[:40]!r} is not a time in nanoseconds or seconds"
            ) from None
        if not fits:
            raise RecordingError(f"{path}: line {number}: expected a time from {least} ns to {2**63 - 1} ns")
        found.append(int(time))
    if not found:
        raise RecordingError(f"{path}: no time stamps")
    return found
