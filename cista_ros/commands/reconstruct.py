"""`cista reconstruct`: a recording in, pictures out."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .convert import EventTime

if TYPE_CHECKING:
    from ..recordings import Recording


LONGEST_S = 1e9  # 32 years: a time in seconds that nanoseconds still hold


class WindowsBy(str, Enum):
    """What bounds a window."""

    frames = "frames"
    count = "count"
    period = "period"
    adaptive = "adaptive"


class ToneMapName(str, Enum):
    """The tone maps by name."""

    none = "none"
    stretch = "stretch"
    robust = "robust"
    equalise = "equalise"
    clahe = "clahe"


def reconstruct(
    recording: Annotated[Path, typer.Argument(help="ROS 1 bag, rosbag2, or ECD text (folder or zip).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to; frames of an earlier run go.")],
    weights: Annotated[str, typer.Option(help="Shipped weights by name, a file, or auto.")] = "auto",
    windows: Annotated[
        WindowsBy | None,
        typer.Option(help="What an image is made of. Default: frames if there are any among the events, else period."),
    ] = None,
    period: Annotated[
        float,
        typer.Option(help="Seconds of a window, with --windows period.", min=1e-6, max=LONGEST_S, show_default="1/30"),
    ] = 1 / 30,
    count: Annotated[
        int | None, typer.Option(help="Events of a window, with --windows count. Default: 0.35 a pixel.", min=1)
    ] = None,
    events_per_pixel: Annotated[
        float,
        typer.Option(help="With --windows adaptive: an image when the busiest area has so many.", min=0.001, max=1e6),
    ] = 1.0,
    shortest: Annotated[
        float, typer.Option(help="Seconds that a window lasts at least, with --windows adaptive.", min=0, max=LONGEST_S)
    ] = 0.005,
    longest: Annotated[
        float,
        typer.Option(help="Seconds that a window lasts at most, with --windows adaptive.", min=1e-6, max=LONGEST_S),
    ] = 0.2,
    max_events: Annotated[
        int | None,
        typer.Option(help="More events than this are split evenly over several steps. Default: 0.35 a pixel.", min=1),
    ] = None,
    tone_map: Annotated[ToneMapName, typer.Option(help="How the network's image is shown.")] = ToneMapName.robust,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    runtime: Annotated[str, typer.Option(help="Runtime: auto, eager, fused, native, winograd or cuda-graph.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (bf16 on a CPU with a matrix unit for it, else fp32), fp32, bf16, fp16.")
    ] = "auto",
    downscale: Annotated[
        int, typer.Option(help="Bin events to a grid coarser by this factor; images are smaller by it.", min=1)
    ] = 1,
    max_gap: Annotated[
        float,
        typer.Option(help="A longer gap in the events makes the network forget; 0: none.", min=0, max=LONGEST_S),
    ] = 5.0,
    hot_pixels: Annotated[bool, typer.Option("--hot-pixels", help="Tame pixels that fire without end.")] = False,
    floats: Annotated[bool, typer.Option("--float", help="Also write frames.npz, before the tone map.")] = False,
    video: Annotated[Path | None, typer.Option(help="Also write this MP4.")] = None,
    start: Annotated[
        float | None, typer.Option(help="Begin this many seconds into the recording.", min=0, max=LONGEST_S)
    ] = None,
    end: Annotated[
        float | None, typer.Option(help="End this many seconds into the recording.", min=0, max=LONGEST_S)
    ] = None,
    event_time: Annotated[
        EventTime, typer.Option(help="Of event packets: the camera's clock, or the host's by their stamps.")
    ] = EventTime.sensor,
    events_topic: Annotated[str | None, typer.Option(help="Needed when several topics bear events.")] = None,
    frames_topic: Annotated[str | None, typer.Option(help="Needed when several topics bear images.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Reconstruct a recording's events as images: OUTPUT/frames/*.png and OUTPUT/frames.csv."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..event_filter import EventFilter
    from ..events import NS
    from ..networks import choose_weights, find_weights, load_network
    from ..pipeline import choose_windows, reconstruct_recording
    from ..reconstructor import Reconstructor, choose_device
    from ..recordings import open_recording
    from ..window_maker import WindowMaker
    from .frame_folder import FrameFolder

    if not shortest < longest:
        raise typer.BadParameter(f"{shortest} s; expected less than --longest, {longest} s", param_hint="--shortest")
    chosen_device = choose_device(device)
    weights, weights_note = choose_weights(weights, chosen_device)
    network = load_network(find_weights(weights))
    console = Console(stderr=True)
    names = {"events_topic": events_topic, "frames_topic": frames_topic}
    with open_recording(recording, event_time=event_time.value, **names) as source:
        by, make_windower, passed_over = choose_windows(
            source,
            windows.value if windows else None,
            start,
            end,
            period=period,
            count=count,
            events_per_pixel=events_per_pixel,
            shortest=shortest,
            longest=longest,
        )
        if passed_over:
            console.print(f"{passed_over}: {by} windows")
        event_filter = EventFilter(source.height, source.width, max_gap_ns=round(max_gap * NS) or None)
        reconstructor = Reconstructor(
            network,
            source.height,
            source.width,
            chosen_device,
            windows=WindowMaker(event_filter, make_windower),
            tone_map=tone_map.value,
            max_events=max_events,
            clip_hot_pixels=hot_pixels,
            runtime=runtime,
            precision=precision,
            downscale=downscale,
        )
        console.print(f"{weights_note}, {reconstructor.runtime_note}")
        began = time.perf_counter()
        used, first, last = 0, None, 0
        columns = (TextColumn("{task.completed:.2f} s of events"), BarColumn(), TextColumn("{task.fields[n]} images"))
        with (
            FrameFolder(
                output, reconstructor.image_height, reconstructor.image_width, floats=floats, video=video
            ) as folder,
            Progress(*columns, TimeRemainingColumn(), console=console) as progress,
        ):
            task = progress.add_task("reconstruct", total=_seconds(source, start, end), n=0)
            before = time.perf_counter()
            for frame in reconstruct_recording(source, reconstructor, start, end):
                now = time.perf_counter()
                folder.write(frame, 1000 * (now - before))
                before = now
                used += len(frame.events)
                first = int(frame.events["t"][0]) if first is None else first
                last = int(frame.events["t"][-1])
                done = (frame.stamp - source.start) / NS - (start or 0)
                progress.update(task, completed=done, n=folder.count)
        took = time.perf_counter() - began

    counts = event_filter.counts
    recorded_s = 0.0 if first is None else max(0.0, (last - first) / 1e9)
    summary = {
        "recording": str(recording),
        "output": str(output),
        "weights": weights,
        "device": str(chosen_device),
        "runtime": reconstructor.runtime.name,
        "precision": reconstructor.runtime.precision,
        "windows": by,
        "height": reconstructor.image_height,
        "width": reconstructor.image_width,
        "images": folder.count,
        "events": {
            "received": counts.received,
            "used": used,
            "outside_sensor": counts.outside,
            "late": counts.late,
            "stray": counts.stray,
            "in_no_window": counts.accepted - used,
        },
        "packets": asdict(source.packet_counts),
        "time_jumps": counts.time_jumps,
        "gaps": counts.gaps,
        "seconds": took,
        "images_per_second": folder.count / took,
        "real_time_factor": recorded_s / took,
    }
    if as_json:
        typer.echo(json.dumps(summary))
        return
    console.print(
        f"{folder.count} images ({by} windows) in {took:.1f} s on {chosen_device}: {folder.count / took:.1f} images/s,"
        f" {recorded_s / took:.2f} times real time. Written to {folder.frames}"
    )
    lost = {name: n for name, n in summary["events"].items() if name not in ("received", "used") and n}
    if lost or counts.time_jumps or counts.gaps:
        detail = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in lost.items()) or "none"
        console.print(
            f"{counts.received} events; not used: {detail}; time jumped back {counts.time_jumps} times, and ahead over"
            f" a gap {counts.gaps} times."
        )
    if packets := str(source.packet_counts):
        console.print(f"Of the packets: {packets}.")


def _seconds(source: Recording, start: float | None, end: float | None) -> float | None:
    """Seconds of recording between start and end, where the recording says how long it is."""
    if source.duration is None:
        return None if end is None else end - (start or 0)
    return min(source.duration, source.duration if end is None else end) - (start or 0)
