"""`cista calibrate`: a recording of a calibration target in, the camera's calibration out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from .options import DeviceOption, JsonOption, WeightsOption, reads_recordings

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from ..calibration.views import Search
    from ..calibration.write import KalibrBag
    from ..recordings import Recording


class _Image(NamedTuple):
    stamp: int
    image: np.ndarray  # float32 (H, W) in [0, 1]
    searchable: bool


LEAST_EVENTS = 0.02  # per pixel and image: with fewer, nothing has moved since the last image


@reads_recordings
def calibrate(
    recording: Annotated[Path, typer.Argument(help="Recording of a calibration target that moves before the camera.")],
    target: Annotated[
        str,
        typer.Option(
            help="checkerboard:COLUMNSxROWS:SQUARE (inner corners), aprilgrid:COLUMNSxROWS:TAG:SPACING,"
            " charuco:COLUMNSxROWS:SQUARE:MARKER[:DICTIONARY] (sizes in metres), or Kalibr's YAML file of a target."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Output folder.")],
    model: Annotated[
        Literal["plumb_bob", "rational_polynomial", "equidistant"], typer.Option(help="Lens model, as in camera_info.")
    ] = "plumb_bob",
    source: Annotated[
        Literal["events", "frames"],
        typer.Option(help="Search reconstructions (events), or the recording's camera frames."),
    ] = "events",
    rate: Annotated[float, typer.Option(help="Reconstructions per second of event time.", min=0.1, max=1000)] = 20.0,
    search_rate: Annotated[
        float, typer.Option(help="Images per second of event time that are searched for the target.", min=0.1)
    ] = 10.0,
    kalibr_bag: Annotated[
        Path | None,
        typer.Option(
            help="Also write a ROS 1 bag for Kalibr: images (/cam0/image_raw, --rate per second) and IMU messages."
        ),
    ] = None,
    at_frames: Annotated[
        bool,
        typer.Option(
            "--at-frames",
            help="Make images at the stamps of the recording's camera frames instead of at --rate, and copy the frames"
            " to the Kalibr bag (/cam1/image_raw), for a rig of both cameras.",
        ),
    ] = False,
    camera_name: Annotated[str, typer.Option(help="Name of the camera in camera_info.yaml.")] = "event_camera",
    weights: WeightsOption = "auto",
    device: DeviceOption = "auto",
    start: Annotated[float | None, typer.Option(help="First second of the recording to use.", min=0)] = None,
    end: Annotated[float | None, typer.Option(help="Last second of the recording to use.", min=0)] = None,
    as_json: JsonOption = False,
    **read: Any,
) -> None:
    """Calibrate an event camera: reconstruct a recording of a target, find its corners, solve for the lens.

    Writes camera_info.yaml (ROS), camchain.yaml (Kalibr) and report.html. Nothing is written if it fails.
    """
    from rich.console import Console

    from ..calibration.report import summary_of
    from ..calibration.solve import calibrate as solve
    from ..calibration.solve import missing
    from ..calibration.targets import parse_target
    from ..calibration.views import Search
    from ..calibration.write import kalibr_bag as open_kalibr_bag
    from ..calibration.write import write_calibration
    from ..recordings import open_recording

    board = parse_target(target)
    console = Console(stderr=True)
    with ExitStack() as stack:
        opened = stack.enter_context(open_recording(recording, **read))
        bag = stack.enter_context(open_kalibr_bag(kalibr_bag)) if kalibr_bag else None
        if source == "frames":
            images = _frames(opened, start, end)
        else:
            windows: tuple[str, dict[str, Any]] = ("frames", {}) if at_frames else ("period", {"period": 1 / rate})
            images = _reconstructions(opened, windows, weights, device, start, end)
        search = Search(board)
        _search(search, images, search_rate, opened, bag, console)
        notes: list[str] = []
        if bag:
            notes += filter(None, [bag.copy_imu(opened.path)])
            if at_frames:
                _copy_frames(opened, bag, start, end)
        search.require_views(output / "not_found.png")
        height, width = search.shape
        result = solve(search.views, board, height, width, model)
        lacking = missing(result)
        summary = summary_of(result, search, str(recording)) | {"weights": weights, "missing": lacking}
        notes += write_calibration(output, result, summary, camera_name)
    summary |= {"output": str(output), "notes": notes, "kalibr_bag": bag.counts if bag else None}
    if as_json:
        typer.echo(json.dumps(summary))
        return
    _print_summary(summary, console)


def _print_summary(summary: dict[str, Any], console: Console) -> None:
    sigma = summary["sigma"]
    console.print(
        f"{summary['model']}: fx {summary['fx']:.2f} ± {sigma['fx']:.2f}, fy {summary['fy']:.2f} ± {sigma['fy']:.2f},"
        f" cx {summary['cx']:.2f} ± {sigma['cx']:.2f}, cy {summary['cy']:.2f} ± {sigma['cy']:.2f} px"
    )
    console.print(
        f"RMS {summary['rms']:.3f} px over {summary['views']} views ({summary['corners']} corners); target found in"
        f" {summary['found']} of {summary['searched']} images"
    )
    for topic, count in (summary["kalibr_bag"] or {}).items():
        console.print(f"{count} messages on {topic} in the Kalibr bag")
    for text in [*summary["missing"], *summary["notes"]]:
        console.print(f"Note: {text}.")
    console.print(f"Written to {summary['output']}")


def _search(
    search: Search, images: Iterator[_Image], rate: float, opened: Recording, bag: KalibrBag | None, console: Console
) -> None:
    """Search the images at a rate per second, and write all to the bag."""
    from ..calibration.views import renditions
    from ..calibration.write import IMAGES_TOPIC
    from ..events import NS
    from .progress import recording_bar

    due = None
    with recording_bar("views", console) as show:
        for stamp, image, searchable in images:
            if bag:
                bag.write_image(IMAGES_TOPIC, stamp, next(renditions(image)))
            if searchable and (due is None or stamp >= due or stamp < due - 2 * NS / rate):
                search.look(stamp, image)
                due = stamp + round(0.99 * NS / rate)
            show((stamp - opened.start) / NS, opened.duration, len(search.views))


def _reconstructions(
    opened: Recording,
    windows: tuple[str, dict[str, Any]],
    weights: str,
    device: str,
    start: float | None,
    end: float | None,
) -> Iterator[_Image]:
    """Yield the reconstructions of a recording; those with enough events are to be searched."""
    from ..calibration.views import SETTLE_S
    from ..events import NS
    from ..pipeline import reconstruct

    kind, options = windows
    least, first = LEAST_EVENTS * opened.height * opened.width, None
    for frame in reconstruct(
        opened, weights=weights, windows=kind, window_options=options, start=start, end=end, device=device
    ):
        first = frame.stamp if first is None else first
        moved = len(frame.events) >= least and frame.stamp >= first + SETTLE_S * NS
        yield _Image(frame.stamp, frame.image, moved)


def _frames(opened: Recording, start: float | None, end: float | None) -> Iterator[_Image]:
    """Yield the camera frames of a recording."""
    import numpy as np

    from ..errors import RecordingError
    from ..wire.ros_types import ImageMessage

    if opened.frames_topic is None:
        raise RecordingError(f"{opened.path}: no camera frames; use --source events")
    for recorded in opened.read(start, end, camera_info=False):
        if isinstance(recorded.message, ImageMessage):
            grey = recorded.message.grey()
            yield _Image(recorded.message.stamp, (grey / np.iinfo(grey.dtype).max).astype(np.float32), True)


def _copy_frames(opened: Recording, bag: KalibrBag, start: float | None, end: float | None) -> None:
    from ..calibration.write import FRAMES_TOPIC
    from ..tone_map import to_mono8

    for stamp, image, _ in _frames(opened, start, end):
        bag.write_image(FRAMES_TOPIC, stamp, to_mono8(image))
