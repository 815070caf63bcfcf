"""`cista reconstruct`: a recording in, images out."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    ColumnsOption,
    DeviceOption,
    Edge,
    EventsTopicOption,
    EventTime,
    EventTimeOption,
    FramesTopicOption,
    JsonOption,
    TimeUnitOption,
    TriggerInputOption,
    WeightsOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..reconstructor import Reconstructor
    from ..recordings import Recording
    from .frame_folder import FrameFolder

LONGEST_S = 1e9  # 32 years; nanoseconds hold such times


class WindowsBy(str, Enum):
    """How events are cut into windows."""

    frames = "frames"
    count = "count"  # type: ignore[assignment]  # str.count
    period = "period"
    adaptive = "adaptive"
    trigger = "trigger"


class ToneMapName(str, Enum):
    """The tone maps by name."""

    none = "none"
    natural = "natural"
    stretch = "stretch"
    robust = "robust"
    equalise = "equalise"
    clahe = "clahe"


class NoiseFilterName(str, Enum):
    """The noise filters by name."""

    none = "none"
    activity = "activity"


def reconstruct(
    recording: Annotated[Path, typer.Argument(help="Recording of any readable format.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Output folder. Frames from an earlier run are deleted.")
    ],
    weights: WeightsOption = "auto",
    windows: Annotated[
        WindowsBy | None,
        typer.Option(
            help="How to cut events into windows. Default: at camera frames if the recording has any during its events,"
            " else by period."
        ),
    ] = None,
    period: Annotated[
        float,
        typer.Option(help="Seconds per window (--windows period).", min=1e-6, max=LONGEST_S, show_default="1/30"),
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
    shortest: Annotated[
        float, typer.Option(help="Shortest window in seconds (--windows adaptive).", min=0, max=LONGEST_S)
    ] = 0.005,
    longest: Annotated[
        float, typer.Option(help="Longest window in seconds (--windows adaptive).", min=1e-6, max=LONGEST_S)
    ] = 0.2,
    edge: Annotated[Edge, typer.Option(help="Edge of the pulses (--windows trigger).")] = Edge.rising,
    trigger_input: TriggerInputOption = None,
    stamps: Annotated[
        Path | None,
        typer.Option(
            help="Make images at the times in this file, one per line: nanoseconds, or seconds with a decimal point."
        ),
    ] = None,
    max_events: Annotated[
        int | None,
        typer.Option(help="Split windows with more events evenly into several steps. Default: 0.35 per pixel.", min=1),
    ] = None,
    tone_map: Annotated[ToneMapName, typer.Option(help="How to display the network's images.")] = ToneMapName.natural,
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
        float,
        typer.Option(
            help="Reset the network after a gap of more seconds in the events; 0: never.", min=0, max=LONGEST_S
        ),
    ] = 5.0,
    noise_filter: Annotated[
        NoiseFilterName, typer.Option(help="activity: drop events that no neighbour precedes within 10 ms.")
    ] = NoiseFilterName.none,
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
    video: Annotated[Path | None, typer.Option(help="Also write this MP4 file.")] = None,
    start: Annotated[
        float | None, typer.Option(help="Skip this many seconds of the recording.", min=0, max=LONGEST_S)
    ] = None,
    end: Annotated[
        float | None, typer.Option(help="Stop this many seconds into the recording.", min=0, max=LONGEST_S)
    ] = None,
    event_time: EventTimeOption = EventTime.sensor,
    events_topic: EventsTopicOption = None,
    frames_topic: FramesTopicOption = None,
    time_unit: TimeUnitOption = None,
    columns: ColumnsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reconstruct a recording's events as images: OUTPUT/frames/*.png and OUTPUT/frames.csv."""
    from rich.console import Console

    from ..event_filter import EventFilter
    from ..events import NS
    from ..networks import choose_weights, load_network
    from ..noise_filter import HotPixels, make_noise_filter, mask_text
    from ..pipeline import choose_windows
    from ..reconstructor import Reconstructor, choose_device
    from ..recordings import open_recording
    from ..util.atomic import write_text
    from ..window_maker import WindowMaker
    from .frame_folder import FrameFolder

    if not shortest < longest:
        raise typer.BadParameter(f"{shortest} s; expected less than --longest, {longest} s", param_hint="--shortest")
    if stamps and windows:
        raise typer.BadParameter("--stamps and --windows exclude each other", param_hint="--stamps")
    chosen_device = choose_device(device)
    weights, weights_note = choose_weights(weights, chosen_device)
    network = load_network(weights)
    options: dict[str, Any] = {
        "period": period,
        "count": count,
        "events_per_pixel": events_per_pixel,
        "shortest": shortest,
        "longest": longest,
        "stamps": read_stamps(stamps) if stamps else (),
        "edge": edge.value,
        "trigger_input": trigger_input,
    }
    console = Console(stderr=True)
    with open_recording(
        recording,
        event_time=event_time.value,
        events_topic=events_topic,
        frames_topic=frames_topic,
        time_unit=time_unit,
        columns=columns,
    ) as source:
        kind = "stamps" if stamps else windows.value if windows else None
        kind, make_windower, note = choose_windows(source, kind, start, end, **options)
        if note:
            console.print(f"{note}: {kind} windows")
        noise = make_noise_filter(source.height, source.width, noise_filter.value, hot_pixel_mask)
        event_filter = EventFilter(
            source.height, source.width, max_gap_ns=round(max_gap * NS) or None, noise_filter=noise
        )
        reconstructor = Reconstructor(
            network,
            source.height,
            source.width,
            chosen_device,
            windows=WindowMaker(event_filter, make_windower),
            tone_map=tone_map.value,
            max_events=max_events,
            clip_hot_pixels=clip_hot_pixels,
            runtime=runtime,
            precision=precision,
            downscale=downscale,
        )
        console.print(f"{weights_note}, {reconstructor.runtime_note}")
        began = time.perf_counter()
        with FrameFolder(output, reconstructor.image_height, reconstructor.image_width, npz=npz, video=video) as folder:
            used, recorded_s = _write_frames(source, reconstructor, folder, start, end, console)
        took = time.perf_counter() - began
        if noise and isinstance(noise.hot_pixels, HotPixels):
            write_text(output / "hot_pixels.txt", mask_text(noise.hot_pixels.mask))
        counts = event_filter.counts
        summary: dict[str, Any] = {
            "recording": str(recording),
            "output": str(output),
            "weights": weights,
            "device": str(chosen_device),
            "runtime": reconstructor.runtime.name,
            "precision": reconstructor.runtime.precision,
            "windows": kind,
            "height": reconstructor.image_height,
            "width": reconstructor.image_width,
            "images": folder.count,
            "events": {
                "received": counts.received,
                "used": used,
                "outside_sensor": counts.outside,
                "late": counts.late,
                "stray": counts.stray,
                "hot": counts.hot,
                "noise": counts.noise,
                "in_no_window": counts.accepted - used,
            },
            "packets": asdict(source.packet_counts),
            "time_jumps": counts.time_jumps,
            "gaps": counts.gaps,
            "notes": list(source.notes),
            "seconds": took,
            "images_per_second": folder.count / took,
            "real_time_factor": recorded_s / took,
        }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _print_summary(summary, console, folder.frames, str(source.packet_counts))
    if not folder.count:
        console.print(f"No image: none of the {counts.received} events is in a window.", style="bold")


def read_stamps(path: Path) -> list[int]:
    """Read the times in a file, one per line, in nanoseconds: whole numbers, or seconds with a decimal point.

    Empty lines and text after # are ignored.

    Raises:
        RecordingError: no such file, no times, times that decrease, or a line that is not a time.
    """
    from decimal import Decimal, InvalidOperation

    from ..errors import RecordingError
    from ..events import NS

    if not path.is_file():
        raise RecordingError(f"{path}: no such file of time stamps")
    found: list[int] = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = line.split("#")[0].strip().rstrip(",")
        if not text:
            continue
        try:
            time = int(Decimal(text) * (NS if "." in text else 1))
        except (InvalidOperation, ValueError, OverflowError):
            raise RecordingError(
                f"{path}: line {number}: {text[:40]!r} is not a time in nanoseconds or seconds"
            ) from None
        if not -(2**63) <= time < 2**63 or (found and time < found[-1]):
            raise RecordingError(f"{path}: line {number}: expected a time of at least {found[-1] if found else 0} ns")
        found.append(time)
    if not found:
        raise RecordingError(f"{path}: no time stamps")
    return found


def _write_frames(
    source: Recording,
    reconstructor: Reconstructor,
    folder: FrameFolder,
    start: float | None,
    end: float | None,
    console: Console,
) -> tuple[int, float]:
    """Write all frames; return how many events they have, and how many seconds of events."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..events import NS
    from ..pipeline import reconstruct_recording

    columns = (TextColumn("{task.completed:.2f} s of events"), BarColumn(), TextColumn("{task.fields[n]} images"))
    used, first, last = 0, None, 0
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("reconstruct", total=_seconds(source, start, end), n=0)
        before = time.perf_counter()
        for frame in reconstruct_recording(
            source, reconstructor, start, end, lambda text: console.print(f"Warning: {text}.")
        ):
            now = time.perf_counter()
            folder.write(frame, 1000 * (now - before))
            before = now
            used += len(frame.events)
            first = int(frame.events["t"][0]) if first is None else first
            last = int(frame.events["t"][-1])
            done = (last - source.start) / NS - (start or 0)
            progress.update(task, completed=done, n=folder.count)
    return used, 0.0 if first is None else max(0.0, (last - first) / NS)


def _print_summary(summary: dict[str, Any], console: Console, frames: Path, packets: str) -> None:
    console.print(
        f"{summary['images']} images ({summary['windows']} windows) in {summary['seconds']:.1f} s on"
        f" {summary['device']}: {summary['images_per_second']:.1f} images/s, {summary['real_time_factor']:.2f} times"
        f" real time. Written to {frames}"
    )
    events = summary["events"]
    unused = {name: n for name, n in events.items() if name not in ("received", "used") and n}
    if unused or summary["time_jumps"] or summary["gaps"]:
        detail = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in unused.items()) or "none"
        console.print(
            f"{events['received']} events; not used: {detail}; time jumps back: {summary['time_jumps']}; gaps:"
            f" {summary['gaps']}."
        )
    for note in ([f"Packets: {packets}."] if packets else []) + summary["notes"]:
        console.print(note)


def _seconds(source: Recording, start: float | None, end: float | None) -> float | None:
    """Return the seconds of recording between start and end, if the recording knows its length."""
    if source.duration is None:
        return None if end is None else end - (start or 0)
    return min(source.duration, source.duration if end is None else end) - (start or 0)
