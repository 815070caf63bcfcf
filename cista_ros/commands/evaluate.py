"""`cista evaluate`: recordings through networks, scored against the camera's own frames."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .options import DeviceOption, FrameTimes, JsonOption, reads_recordings
from .progress import DaskOption, JobsOption


class Task(str, Enum):  # typer has no lists of Literals
    """Uses of images that can be scored."""

    corners = "corners"
    tags = "tags"
    tracks = "tracks"


@reads_recordings
def evaluate(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings with camera frames, or folders of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Output folder; an interrupted run continues in it.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Shipped or downloaded weights by name, FILE, or NAME=FILE; repeatable, or A,B.",
            show_default="cista-tc",
        ),
    ] = None,
    protocol: Annotated[
        Literal["icassp2022", "icassp2022-clahe", "evreal", "real"],
        typer.Option(help="Which frames are scored, and how; real: short real clips, with a rest test."),
    ] = "icassp2022",
    paper: Annotated[bool, typer.Option("--paper", help="Also show the paper's published scores.")] = False,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    device: DeviceOption = "auto",
    sheets: Annotated[int, typer.Option(help="Frames per sequence in the contact sheet.", min=0, max=1000)] = 4,
    video: Annotated[bool, typer.Option("--video", help="Also write a video of all methods side by side.")] = False,
    figures: Annotated[bool, typer.Option(help="Write contact sheets, error maps, plots and report.html.")] = True,
    squeeze: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Keras backbone (.h5) and LPIPS heads (.pth) of LPIPS-squeeze (Keras weights).",
            metavar="BACKBONE HEADS",
        ),
    ] = None,
    rest: Annotated[
        Literal["all", "first", "none"],
        typer.Option(help="Protocol real: recordings after which a camera at rest is simulated."),
    ] = "all",
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Image of the pixels that count (not 0): FILE or SEQUENCE=FILE; repeatable."),
    ] = None,
    task: Annotated[
        list[Task] | None,
        typer.Option(
            help="Also score a use of the images: corners (of --target), tags (AprilTags), tracks; repeatable."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Calibration target of the recordings, such as checkerboard:9x6:0.03.")
    ] = None,
    frame_times: FrameTimes = "stamps",
    as_json: JsonOption = False,
    **read: Any,
) -> None:
    """Score networks against camera frames: write tables.md, tables.tex, scores.json, scores/*/*.csv, report.html.

    Finished work is not repeated when the same command is given again. A recording that fails is named, the others
    continue; the exit code is then 1, or 2 if all fail.
    """
    from rich.console import Console

    from ..benchmark.machine import describe_machine
    from ..calibration.targets import parse_target
    from ..errors import RecordingError
    from ..evaluation.figures import illustrate, new_figure
    from ..evaluation.protocols import PROTOCOLS, EvaluationError
    from ..evaluation.report import Summary, as_latex, as_markdown, write_report
    from ..evaluation.report import as_json as to_json
    from ..evaluation.run import Job, read_mask, run_job
    from ..evaluation.scores import choose_scores
    from ..evaluation.tasks import task_keys
    from ..networks import DEFAULT_WEIGHTS, load_network, model_of
    from ..reconstructor import choose_device
    from ..recordings import find_recordings, open_recording
    from ..util.atomic import prepare_folder, write_text
    from .progress import counted, end, full_disk_explained, run_all, say

    choose_device(device)
    if target and not {Task.corners, Task.tags} & {*(task or [])}:
        raise EvaluationError("--target: only for --task corners or --task tags")
    if figures:
        new_figure(1, 1)  # fails now, not after the work, without matplotlib
    chosen = PROTOCOLS[protocol]
    if paper and not chosen.name.startswith("icassp2022"):
        raise EvaluationError(f"--paper: its numbers are of the protocol icassp2022, not of {chosen.name}")
    sequences = find_recordings(recordings, leave_out=output)
    read |= {"frame_times": frame_times}
    masks = _masks(mask or [], sequences)
    for sequence, file in masks.items():
        # It must fit the recording; a recording that cannot be opened fails as a job.
        with suppress(RecordingError), open_recording(sequences[sequence], **read) as source:
            read_mask(file, source.height, source.width)
    methods = _methods(weights or [DEFAULT_WEIGHTS])
    models = {method: model_of(load_network(file)) for method, file in methods.items()}
    board = parse_target(target) if target else None
    tasks = task_keys([one.value for one in task or []], board)
    scores = replace(choose_scores(chosen.metrics, squeeze), tasks=tuple(tasks), target=str(board) if board else None)
    todo = {
        f"{sequence}, {method}": Job(
            recording=recording,
            sequence=sequence,
            weights=file.absolute(),
            method=method,
            protocol=chosen.name,
            scores=scores,
            folder=output.absolute(),
            device=device,
            pictures=None if video else sheets,
            read=read,
            rest=rest == "all" or (rest == "first" and i == 0),
            mask=masks.get(sequence),
        )
        for i, (sequence, recording) in enumerate(sequences.items())
        for method, file in methods.items()
    }
    console = Console(stderr=True)
    with full_disk_explained(output):
        prepare_folder(output)
        results, failures = run_all(
            run_job, todo, lambda result: counted(len(result.frames), "frame"), jobs, dask, console
        )
        if not results:
            end(failures, len(todo), console)
        failed = {(todo[name].sequence, todo[name].method): failure.reason for name, failure in failures.items()}
        summary = Summary(chosen, scores, list(results.values()), failed, list(sequences), models, paper)
        about = {"command": shlex.join(["cista", *sys.argv[1:]]), "machine": describe_machine(choose_device(device))}
        content = json.dumps({**about, **to_json(summary)}, indent=1) + "\n"
        write_text(output / "scores.json", content)
        write_text(output / "tables.md", as_markdown(summary))
        write_text(output / "tables.tex", as_latex(summary))
        typer.echo(content if as_json else as_markdown(summary), nl=False)
        if figures:
            shown = illustrate(output, summary, sheets, video)
            write_report(output / "report.html", "Event camera reconstructions, compared", summary, shown)
            say(console, f"Open {output / 'report.html'}")
    end(failures, len(todo), console)


def _named(word: str) -> tuple[str, str]:
    """Return name and file of NAME=FILE; an empty name for FILE, whose path may contain "="."""
    name, _, file = ("", "", word) if "=" not in word or Path(word).is_file() else word.partition("=")
    return name, file


def _methods(wanted: Sequence[str]) -> dict[str, Path]:
    """Return name -> checkpoint of words "NAME", "FILE" and "NAME=FILE", or several separated by commas.

    EvaluationError for impossible or repeated names, or none at all; CheckpointError for weights that are not found.
    """
    from ..evaluation.protocols import EvaluationError
    from ..networks import find_weights

    methods: dict[str, Path] = {}
    for word in filter(None, ",".join(wanted).split(",")):
        name, file = _named(word)
        path = find_weights(file)
        name = name or path.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".safetensors")
        if "/" in name or name.startswith(("_", ".")):
            raise EvaluationError(f"{name!r} cannot name a method; choose a name: --weights NAME={file}")
        if name in methods:
            raise EvaluationError(f"two weights have the name {name}; choose another: --weights NAME={file}")
        methods[name] = path
    if not methods:
        raise EvaluationError(f"--weights {','.join(wanted)!r}: expected a name or a file")
    return methods


def _masks(wanted: Sequence[str], sequences: dict[str, Path]) -> dict[str, Path]:
    """Return sequence -> mask of "FILE" and "SEQUENCE=FILE". EvaluationError for unknown sequences, missing files."""
    from ..evaluation.protocols import EvaluationError

    masks: dict[str, Path] = {}
    for word in wanted:
        sequence, file = _named(word)
        if not Path(file).is_file():
            raise EvaluationError(f"--mask {word}: no such file")
        if sequence and sequence not in sequences:
            raise EvaluationError(f"--mask {word}: no sequence {sequence!r}; there are {', '.join(sequences)}")
        masks |= dict.fromkeys([sequence] if sequence else sequences, Path(file).absolute())
    return masks
