"""`cista calibrate`: a recording of a calibration target in, the camera's calibration out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import DeviceOption, EndOption, JsonOption, StartOption, WeightsOption, check_span, reads_recordings
from .progress import counted, recording_bar, say

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from ..calibration.views import Schedule, Search
    from ..calibration.write import KalibrBag
    from ..recordings import Recording


@reads_recordings
def calibrate(
    recording: Annotated[Path, typer.Argument(help="Recording of a calibration target that moves before the camera.")],
    target: Annotated[
        str,
        typer.Option(
            help="checkerboard:COLUMNSxROWS:SQUARE (inner corners), aprilgrid:COLUMNSxROWS:TAG:SPACING[:FAMILY],"
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
        float, typer.Option(help="Images per second of event time that are searched.", min=0.1, max=1000)
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
    start: StartOption = None,
    end: EndOption = None,
    as_json: JsonOption = False,
    **read: Any,
) -> None:
    """Calibrate an event camera: reconstruct a recording of a target, find its corners, solve for the lens.

    Writes camera_info.yaml (ROS), camchain.yaml (Kalibr) and report.html; on failure at most not_found.png.
    """
    from rich.console import Console

    from ..calibration.report import summary_of
    from ..calibration.solve import calibrate as solve
    from ..calibration.solve import missing
    from ..calibration.targets import parse_target
    from ..calibration.views import SETTLE_S, Schedule, Search
    from ..calibration.write import FRAMES_TOPIC, write_calibration
    from ..calibration.write import kalibr_bag as open_kalibr_bag
    from ..errors import RecordingError
    from ..networks import choose_weights
    from ..reconstructor import choose_device
    from ..recordings import open_recording

    check_span(start, end)
    chosen, _ = choose_weights(weights, choose_device(device))
    board = parse_target(target)
    console = Console(stderr=True)
    with ExitStack() as stack:
        opened = stack.enter_context(open_recording(recording, **read))
        if (at_frames or source == "frames") and not len(opened.frame_stamps()):
            raise RecordingError(f"{recording}: no camera frames; expected some with --at-frames or --source frames")
        bag = stack.enter_context(open_kalibr_bag(kalibr_bag)) if kalibr_bag else None
        if source == "frames":
            images = _frames(opened, start, end)
        else:
            images = _reconstructions(
                opened,
                weights=chosen,
                windows="frames" if at_frames else "period",
                window_options=None if at_frames else {"period": 1 / rate},
                start=start,
                end=end,
                device=device,
            )
        search = Search(board)
        is_due = Schedule(search_rate, 0.0 if source == "frames" else SETTLE_S)
        _search(search, images, is_due, opened, bag, console)
        notes: list[str] = []
        if bag:
            notes += filter(None, [bag.copy_imu(opened.path)])
            for stamp, image in _frames(opened, start, end) if at_frames else ():
                bag.write_image(FRAMES_TOPIC, stamp, image)
        search.require_views(output / "not_found.png")
        height, width = search.shape
        result = solve(search.views, board, height, width, model)
        lacking = missing(result)
        used = chosen if source == "events" else None
        summary = summary_of(result, search, str(recording)) | {"weights": used, "missing": lacking}
        notes += write_calibration(output, result, summary, camera_name)
    summary |= {"output": str(output), "notes": notes, "kalibr_bag": bag.counts if bag else None}
    if as_json:
        typer.echo(json.dumps(summary))
        return
    _print_summary(summary, console)


def _print_summary(summary: dict[str, Any], console: Console) -> None:
    from ..calibration.report import in_words

    say(console, in_words(summary))
    for topic, count in (summary["kalibr_bag"] or {}).items():
        say(console, f"{counted(count, 'message')} on {topic} in the Kalibr bag")
    for text in [*summary["missing"], *summary["notes"]]:
        say(console, f"Note: {text}.")
    say(console, f"Written to {summary['output']}")


def _search(
    search: Search,
    images: Iterator[tuple[int, np.ndarray]],
    is_due: Schedule,
    opened: Recording,
    bag: KalibrBag | None,
    console: Console,
) -> None:
    """Search the images that are due, and write all to the bag."""
    from ..calibration.views import renditions
    from ..calibration.write import IMAGES_TOPIC
    from ..events import NS

    with recording_bar("views", console) as show:
        for stamp, image in images:
            if bag:
                bag.write_image(IMAGES_TOPIC, stamp, next(renditions(image)))
            if is_due(stamp):
                search.look(stamp, image)
            show((stamp - opened.start) / NS, opened.duration, len(search.views))


def _reconstructions(opened: Recording, **options: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield stamps and images uint8 (H, W) as the node publishes them on image_raw."""
    from ..pipeline import reconstruct
    from ..tone_map import to_mono8

    for frame in reconstruct(opened, **options):
        yield frame.stamp, to_mono8(frame.shown)


def _frames(opened: Recording, start: float | None, end: float | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield stamps and images uint8 (H, W) of a recording's camera frames."""
    from ..wire.ros_types import ImageMessage

    for recorded in opened.read(start, end, camera_info=False):
        if isinstance(recorded.message, ImageMessage):
            yield recorded.message.stamp, recorded.message.grey8()
