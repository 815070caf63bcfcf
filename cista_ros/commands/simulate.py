"""`cista simulate`: pictures, or a clip, in; a recording of events and frames out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..simulation.recording import Step
    from ..simulation.sequences import SimulationConfig


class Format(str, Enum):
    """What is written."""

    ros1 = "ros1"
    ros2 = "ros2"
    ros2_mcap = "ros2-mcap"
    ecd_text = "ecd-text"


def simulate(
    source: Annotated[Path, typer.Argument(help="Folder of pictures; with --video, a clip of a high frame rate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Recording to write; must not exist.")],
    format: Annotated[Format | None, typer.Option(help="Default: ros1 for *.bag, else ros2.")] = None,
    video: Annotated[bool, typer.Option("--video", help="SOURCE is a clip, not a folder of pictures.")] = False,
    seconds: Annotated[float, typer.Option(help="Length; of a clip at most so much is used.", min=0.01)] = 5.0,
    width: Annotated[int, typer.Option(help="Sensor; a clip keeps its own size.", min=16, max=4096)] = 240,
    height: Annotated[int, typer.Option(min=16, max=4096)] = 180,
    fps: Annotated[float, typer.Option(help="Camera frames a second.", min=0.1)] = 25.0,
    speed: Annotated[float, typer.Option(help="Of the fastest point, pixels a second.", min=0.1, max=2000)] = 100.0,
    pauses: Annotated[float | None, typer.Option(help="Seconds from one pause to the next.", min=0.1)] = None,
    objects: Annotated[tuple[int, int], typer.Option(help="Fewest and most objects on 240x180.")] = (0, 30),
    threshold: Annotated[tuple[float, float], typer.Option(help="Range of the contrast threshold.")] = (0.15, 0.4),
    noise: Annotated[bool, typer.Option(help="Background activity, leak and hot pixels.")] = True,
    seed: Annotated[int, typer.Option(help="The same seed gives the same recording.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Simulate an event camera (ESIM's pixel) before a moving scene: events, frames, camera info as in ECD's bags."""
    import torch
    from rich.console import Console
    from rich.progress import track

    from ..reconstructor import choose_device
    from ..recordings.write import write_recording
    from ..simulation.export import write_frame
    from ..simulation.pictures import Pictures, load_pictures
    from ..simulation.recording import Drive, record, scene_steps

    chosen = choose_device(device)
    config = _config(objects, threshold, noise)
    generator = torch.Generator(chosen).manual_seed(seed)
    format = format or (Format.ros1 if output.suffix == ".bag" else Format.ros2)
    if video:
        steps = _clip(source, config, fps, seconds)
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


def _config(objects: tuple[int, int], threshold: tuple[float, float], noise: bool) -> SimulationConfig:
    from ..simulation.scene import SceneConfig
    from ..simulation.sequences import CameraConfig, SimulationConfig, check_ranges

    camera = CameraConfig(threshold=threshold)
    if not noise:
        camera = CameraConfig(threshold=threshold, leak_hz=(0, 0), noise_hz=(1e-12, 1e-12), hot_pixels=(0, 0))
    config = SimulationConfig(SceneConfig(objects=objects), camera)
    check_ranges(config)
    return config


def _clip(path: Path, config: SimulationConfig, fps: float, seconds: float) -> Iterator[Step]:
    from ..simulation.clip import open_clip
    from ..simulation.recording import clip_steps

    return clip_steps(open_clip(path, seconds), config, fps)
