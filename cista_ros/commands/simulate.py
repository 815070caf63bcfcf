"""`cista simulate`: images, a video clip or a calibration board in, a recording of events and frames out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .convert import format_of
from .options import DeviceOption, Seconds

if TYPE_CHECKING:
    from ..simulation.lens import Lens
    from ..simulation.sequences import SimulationConfig


RANGE = "LOW,HIGH"


def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Recording to write; must not exist.")],
    source: Annotated[
        Path | None,
        typer.Argument(help="Folder of images, or with --video a clip with a high frame rate; optional with --target."),
    ] = None,
    format: Annotated[
        Literal["ros1", "ros2", "ros2-mcap", "ecd-text"] | None,
        typer.Option(help="Default: by the suffix of OUTPUT (.bag, .mcap, .zip); without one, ros2 (sqlite3)."),
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="SOURCE is a video clip, not a folder of images.")] = False,
    target: Annotated[
        str | None,
        typer.Option(help="Calibration board to move before a lens, such as checkerboard:9x6:0.03, as for calibrate."),
    ] = None,
    seconds: Annotated[
        float | None,
        Seconds(help="Length of the recording; at most that of the clip. Default: 5, with --target 20.", min=0.01),
    ] = None,
    width: Annotated[int, typer.Option(help="Sensor width; a clip keeps its own size.", min=16, max=4096)] = 240,
    height: Annotated[int, typer.Option(help="Sensor height.", min=16, max=4096)] = 180,
    fps: Annotated[float, typer.Option(help="Camera frames per second.", min=0.1, max=10_000)] = 25.0,
    speed: Annotated[
        float | None,
        typer.Option(
            help="Speed of the fastest point in pixels per second. Default: 100, with --target half of --width.",
            min=0.1,
            max=2000,
        ),
    ] = None,
    pauses: Annotated[
        float | None, Seconds(help="Mean seconds between pauses of the motion. Default: none.", min=0.1)
    ] = None,
    objects: Annotated[str, typer.Option(metavar=RANGE, help="Number of objects, on 240x180 pixels.")] = "0,30",
    threshold: Annotated[str, typer.Option(metavar=RANGE, help="Contrast threshold.")] = "0.15,0.4",
    noise: Annotated[bool, typer.Option(help="Background activity, leak and hot pixels.")] = True,
    intrinsics: Annotated[
        str | None,
        typer.Option(
            help="With --target: FX,FY,CX,CY in pixels, or one focal length. Default: --width.", metavar="NUMBERS"
        ),
    ] = None,
    distortion_model: Annotated[
        Literal["plumb_bob", "rational_polynomial", "equidistant"],
        typer.Option(help="With --target: the lens's model, as in camera_info."),
    ] = "plumb_bob",
    distortion: Annotated[
        str, typer.Option(help="With --target: coefficients, such as -0.3,0.1; the rest is 0.", metavar="NUMBERS")
    ] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same recording.", min=0, max=2**32 - 1)] = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Simulate an event camera (ESIM's pixel) before a moving scene: events, frames, camera info as in ECD's bags.

    With --target, the true camera, poses and corners are written beside the recording, to NAME.truth.yaml.
    """
    import torch
    from rich.console import Console

    from ..calibration.targets import parse_target
    from ..events import NS
    from ..reconstructor import choose_device
    from ..recordings.write import write_recording
    from ..simulation.board import BoardScene
    from ..simulation.pictures import Pictures, load_pictures
    from ..simulation.recording import ENOUGH_FPS, Drive, clip_steps, open_clip, record, scene_steps, write_frame
    from .progress import counted, recording_bar, say

    if target is None and source is None:
        raise typer.BadParameter("expected a folder of images, a clip with --video, or --target", param_hint="SOURCE")
    if target is None and (intrinsics or distortion):
        raise typer.BadParameter("lenses are simulated only with --target", param_hint="--intrinsics, --distortion")
    if target is None and source and source.is_file() and not video:
        raise typer.BadParameter(
            f"{source}: a file, not a folder of images; for a clip give --video", param_hint="SOURCE"
        )
    if target is not None and video:
        raise typer.BadParameter("--target and --video exclude each other", param_hint="--target")
    made = format_of(output, format)
    if made in ("raw", "hdf5"):
        raise typer.BadParameter(
            f"{output}: {made} holds no camera frames; expected a bag or ECD text", param_hint="-o"
        )
    seconds = seconds or (5.0 if target is None else 20.0)
    speed = speed or (100.0 if target is None else width / 2)
    chosen = choose_device(device)
    config = _config(objects, threshold, noise)
    generator = torch.Generator(chosen).manual_seed(seed)
    pictures = Pictures(list(load_pictures(source).values()), chosen) if source and not video else None
    scene, lens = None, None
    if target is not None:
        lens = _lens(intrinsics, distortion_model, distortion, height, width)
        scene = BoardScene(parse_target(target), lens, (height, width), Drive(speed, pauses), generator, pictures)
        steps = scene.steps(config.scene, seconds, fps)
    elif pictures:
        steps = scene_steps(pictures, config, (height, width), seconds, fps, Drive(speed, pauses), generator)
    else:
        assert source
        rate, frames = open_clip(source, seconds)
        if rate < ENOUGH_FPS:
            typer.echo(
                f"Warning: {source} has {rate:g} frames per second. Events between frames are interpolated,"
                f" so fast motion looks wrong: use a clip with {ENOUGH_FPS} or more.",
                err=True,
            )
        steps = clip_steps(frames, config, fps)
    console = Console(stderr=True)
    events, stamps = 0, []
    with write_recording(output, made) as writer, recording_bar("frames", console) as show:
        for frame in record(steps, config, generator):
            write_frame(writer, frame, lens)
            events += len(frame.events)
            stamps.append(frame.stamp)
            show((frame.stamp - stamps[0]) / NS, seconds, len(stamps))
    say(console, f"{counted(events, 'event')} and {counted(len(stamps), 'frame')} in {output}")
    if scene:
        truth = output.with_name(output.name.removesuffix(".bag") + ".truth.yaml")
        scene.write_truth(truth, stamps)
        say(console, f"Camera, poses and corners in {truth}")


def _lens(intrinsics: str | None, model: str, distortion: str, height: int, width: int) -> Lens:
    """Return the lens of the options. typer.BadParameter for texts that are not numbers, LensError for others."""
    from ..calibration.solve import MODELS
    from ..simulation.lens import Lens, pinhole

    values = _numbers(intrinsics or str(width), "--intrinsics", "FX,FY,CX,CY or one focal length", 1, 4)
    fx, fy, cx, cy = values if len(values) == 4 else (*values * 2, *pinhole(height, width).intrinsics[2:])
    coefficients = _numbers(distortion, "--distortion", "numbers with commas between them")
    coefficients += (0.0,) * (len(MODELS[model]) - len(coefficients))
    return Lens((fx, fy, cx, cy), model, coefficients)


def _numbers(text: str, option: str, expected: str, *counts: int) -> tuple[float, ...]:
    """Return the finite numbers of a text, as many as one of `counts`; typer.BadParameter for other texts."""
    try:
        values = tuple(float(word) for word in text.split(",") if text)
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)) or (counts and len(values) not in counts):
        raise typer.BadParameter(f"{text!r}: expected {expected}", param_hint=option)
    return values


def _config(objects: str, threshold: str, noise: bool) -> SimulationConfig:
    from ..simulation.scene import SceneConfig
    from ..simulation.sequences import CameraConfig, SimulationConfig, check_ranges

    def limits(text: str, option: str) -> tuple[float, float]:
        values = _numbers(text, option, f"{RANGE} or one number, such as 0.2,0.5 or 0.3", 1, 2)
        return values[0], values[-1]

    off: dict[str, Any] = {} if noise else {"leak_hz": (0, 0), "noise_hz": (1e-12, 1e-12), "hot_pixels": (0, 0)}
    low, high = limits(objects, "--objects")
    camera = CameraConfig(threshold=limits(threshold, "--threshold"), **off)
    config = SimulationConfig(SceneConfig(objects=(int(low), int(high))), camera)
    check_ranges(config)
    return config
