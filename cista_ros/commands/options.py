"""Options that several commands share: their types, help texts and parsers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import typer

Command = TypeVar("Command", bound=Callable[..., None])


@dataclass(frozen=True)
class Range:
    """The lowest and the highest value of an option, written LOW,HIGH."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g},{self.high:g}"


def parse_range(text: str | Range) -> Range:
    """Parse `LOW,HIGH`, or a single number for both. typer.BadParameter for other texts."""
    if isinstance(text, Range):  # a default
        return text
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise typer.BadParameter(f"{text!r}: expected LOW,HIGH or one number, such as 0.2,0.5 or 0.3")
    return Range(values[0], values[-1])


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
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def reads_recordings(command: Command) -> Command:
    """Replace the last parameter of a command, `**read`, by the options that it passes to open_recording."""
    event_time = Annotated[
        Literal["sensor", "host"],
        typer.Option(help="Clock of event packets: the camera's (sensor), or the host's by their stamps."),
    ]
    time_unit = typer.Option(
        help="Time unit of text, HDF5 or NumPy: s, ms, us or ns. Default: detected.", metavar="UNIT"
    )
    columns = typer.Option(
        help="Columns of text or arrays, such as txyp or xypt; - skips one. Default: detected.", metavar="ORDER"
    )
    options = {
        "event_time": (event_time, "sensor"),
        "events_topic": (EventsTopicOption, None),
        "frames_topic": (FramesTopicOption, None),
        "time_unit": (Annotated[str | None, time_unit], None),
        "columns": (Annotated[str | None, columns], None),
    }
    signature = inspect.signature(command, eval_str=True)
    read = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]
    signature = signature.replace(parameters=[*list(signature.parameters.values())[:-1], *read])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return command


def range_option(help: str) -> typer.models.OptionInfo:
    """Return the declaration of an option of type Range."""
    option: typer.models.OptionInfo = typer.Option(parser=parse_range, metavar="LOW,HIGH", help=help)
    return option
