"""`cista simulate`: images or a video clip in, a recording of events and frames out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DeviceOption, Range, range_option

if TYPE_CHECKING:
    from ..simulation.sequences import SimulationConfig


class Format(str, Enum):
    """Formats that can be written."""

    ros1 = "ros1"
    ros2 = "ros2"
    ros2_mcap = "ros2-mcap"
    ecd_text = "ecd-text"


_OBJECTS, _THRESHOLD = Range(0, 30), Range(0.15, 0.4)


def simulate(
    source: Annotated[Path, typer.Argument(help="Folder of images, or with --video a clip with a high frame rate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Recording to write; must not exist.")],
    format: Annotated[Format | None, typer.Option(help="Default: ros1 for *.bag, else ros2.")] = None,
    video: Annotated[bool, typer.Option("--video", help="SOURCE is a video clip, not a folder of images.")] = False,
    seconds: Annotated[float, typer.Option(help="Length of the recording; at most that of the clip.", min=0.01)] = 5.0,
    width: Annotated[int, typer.Option(help="Sensor width; a clip keeps its own size.", min=16, max=4096)] = 240,
    height: Annotated[int, typer.Option(help="Sensor height.", min=16, max=4096)] = 180,
    fps: Annotated[float, typer.Option(help="Camera frames per second.", min=0.1)] = 25.0,
    speed: Annotated[
        float, typer.Option(help="Speed of the fastest point in pixels per second.", min=0.1, max=2000)
    ] = 100.0,
    pauses: Annotated[
        float | None, typer.Option(help="Mean seconds between pauses of the motion. Default: none.", min=0.1)
    ] = None,
    objects: Annotated[Range, range_option("Number of objects, on 240x180 pixels.")] = _OBJECTS,
    threshold: Annotated[Range, range_option("Contrast threshold.")] = _THRESHOLD,
    noise: Annotated[bool, typer.Option(help="Background activity, leak and hot pixels.")] = True,
    seed: Annotated[int, typer.Option(help="The same seed gives the same recording.", min=0)] = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Simulate an event camera (ESIM's pixel) before a moving scene: events, frames, camera info as in ECD's bags."""
    import torch
    from rich.console import Console
    from rich.progress import track

    from ..reconstructor import choose_device
    from ..recordings.write import write_recording
    from ..simulation.clip import ENOUGH_FPS, open_clip
    from ..simulation.export import write_frame
    from ..simulation.pictures import Pictures, load_pictures
    from ..simulation.recording import Drive, clip_steps, record, scene_steps

    chosen = choose_device(device)
    config = _config(objects, threshold, noise)
    generator = torch.Generator(chosen).manual_seed(seed)
    format = format or (Format.ros1 if output.suffix == ".bag" else Format.ros2)
    if video:
        clip = open_clip(source, seconds)
        if clip.rate < ENOUGH_FPS:
            typer.echo(
                f"Warning: {source} has {clip.rate:g} frames per second. Events between frames are interpolated,"
                f" so fast motion looks wrong: use a clip with {ENOUGH_FPS} or more.",
                err=True,
            )
        steps = clip_steps(clip.frames, config, fps)
        total = None
    else:
        pictures = Pictures(list(load_pictures(source).values()), chosen)
        steps = scene_steps(pictures, config, (height, width), seconds, fps, Drive(speed, pauses), generator)
        total = int(seconds * fps) + 1
    console = Console(stderr=True)
    events = frames = 0
    with write_recording(output, format.value) as writer:
        for frame in track(record(steps, config, generator), "simulate", total, console=console):
            write_frame(writer, frame)
            events += len(frame.events)
            frames += 1
    console.print(f"{events} events and {frames} frames in {output}")


def _config(objects: Range, threshold: Range, noise: bool) -> SimulationConfig:
    from ..simulation.scene import SceneConfig
    from ..simulation.sequences import CameraConfig, SimulationConfig, check_ranges

    camera = CameraConfig(threshold=(threshold.low, threshold.high))
    if not noise:
        camera = CameraConfig(
            threshold=(threshold.low, threshold.high), leak_hz=(0, 0), noise_hz=(1e-12, 1e-12), hot_pixels=(0, 0)
        )
    config = SimulationConfig(SceneConfig(objects=(int(objects.low), int(objects.high))), camera)
    check_ranges(config)
    return config
