"""Options that several commands share: their types and help texts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, TypeVar

import typer

Command = TypeVar("Command", bound=Callable[..., None])


Edge = Literal["rising", "falling", "both"]  # of triggers
ToneMapName = Literal["none", "natural", "stretch", "robust", "equalise", "clahe"]
EventsTopicOption = Annotated[
    str | None, typer.Option(help="Events topic, if the recording has more than one.", metavar="TOPIC")
]
FramesTopicOption = Annotated[
    str | None, typer.Option(help="Frames topic, if it is not clear from the events topic.", metavar="TOPIC")
]
TriggerInputOption = Annotated[
    int | None, typer.Option(help="Input of the triggers. Default: all inputs.", min=0, max=255, metavar="N")
]
FrameTimes = Annotated[
    Literal["stamps", "rising", "falling"],
    typer.Option(help="Times of frames: their stamps, or these edges of the triggers that expose them."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
WeightsOption = Annotated[str, typer.Option(help="Name of shipped or downloaded weights, a file, or auto.")]
LONGEST_S = 4e9  # 127 years; int64 nanoseconds hold their sum with a time of today
Seconds = partial(typer.Option, min=0, max=LONGEST_S)  # an option that is a time
StartOption = Annotated[float | None, Seconds(help="Skip this many seconds of the recording.")]
EndOption = Annotated[
    float | None, Seconds(help="Stop this many seconds into the recording; a frame at exactly that time is used.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def _checked(name: str) -> Callable[[str | None], str | None]:
    """Return a function that raises RecordingError for a bad value of an option of open_recording, before any work."""

    def check(value: str | None) -> str | None:
        if value is not None:
            from ..recordings import ReadOptions

            ReadOptions(**{name: value})
        return value

    return check


def reads_recordings(command: Command) -> Command:
    """Replace the last parameter of a command, `**read`, by the options that it passes to open_recording."""
    event_time = Annotated[
        Literal["sensor", "host"],
        typer.Option(help="Clock of event packets: the camera's (sensor), or the host's by their stamps."),
    ]
    time_unit = typer.Option(
        help="Time unit of text, HDF5 or NumPy: s, ms, us or ns. Default: detected.",
        metavar="UNIT",
        callback=_checked("time_unit"),
    )
    columns = typer.Option(
        help="Columns of text or arrays, such as txyp or xypt; - skips one. Default: detected.",
        metavar="ORDER",
        callback=_checked("columns"),
    )
    options = {
        "event_time": event_time,
        "events_topic": EventsTopicOption,
        "frames_topic": FramesTopicOption,
        "time_unit": Annotated[str | None, time_unit],
        "columns": Annotated[str | None, columns],
    }
    defaults = {"event_time": "sensor"}
    signature = inspect.signature(command, eval_str=True)
    read = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=kind)
        for name, kind in options.items()
    ]
    signature = signature.replace(parameters=[*list(signature.parameters.values())[:-1], *read])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return command


def check_span(start: float | None, end: float | None) -> None:
    """Raise typer.BadParameter unless there is time between --start and --end; None is the recording's own."""
    if end is not None and end <= (start or 0):
        raise typer.BadParameter(f"{end:g} s; must be after --start, {start or 0:g} s", param_hint="--end")
