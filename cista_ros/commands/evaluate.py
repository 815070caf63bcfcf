"""`cista evaluate`: recordings through networks, scored against the camera's own frames."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..evaluation.jobs import Job, Outcome


class RestClips(str, Enum):
    """Which recordings end in the rest test."""

    all = "all"
    first = "first"
    none = "none"


class ProtocolName(str, Enum):
    """The protocols by name."""

    icassp2022 = "icassp2022"
    icassp2022_clahe = "icassp2022-clahe"
    evreal = "evreal"
    real = "real"


def evaluate(
    recordings: Annotated[list[Path], typer.Argument(help="ROS 1 bags, rosbag2, or ECD text (folder or zip).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to, and to resume from.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Shipped or downloaded weights by name, or a file; NAME=FILE names it. Repeat, or A,B."),
    ] = None,
    protocol: Annotated[ProtocolName, typer.Option(help="What is scored, and how.")] = ProtocolName.icassp2022,
    paper: Annotated[bool, typer.Option("--paper", help="Put the paper's numbers beside.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes that work side by side.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    sheets: Annotated[int, typer.Option(help="Frames of each sequence in its contact sheet.", min=0)] = 4,
    video: Annotated[bool, typer.Option("--video", help="Also a video of all methods side by side.")] = False,
    figures: Annotated[bool, typer.Option(help="Sheets, error maps, plots (need matplotlib) and report.html.")] = True,
    squeeze: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Keras backbone (.h5) and LPIPS heads (.pth), for 'LPIPS-squeeze (Keras weights)'."),
    ] = None,
    rest: Annotated[
        RestClips, typer.Option(help="Protocol real: recordings after which a camera at rest is simulated.")
    ] = RestClips.all,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Image of the pixels that count (not zero): FILE or SEQUENCE=FILE; repeatable."),
    ] = None,
    events_topic: Annotated[str | None, typer.Option(help="Needed when several topics bear events.")] = None,
    frames_topic: Annotated[str | None, typer.Option(help="Needed when several topics bear images.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON instead of tables.")] = False,
) -> None:
    """Score networks on recordings: OUTPUT/tables.md, tables.tex, scores.json, scores/*/*.csv and report.html.

    A run that was broken off goes on where it was when it is started again in the same folder. Exit code 1 if a
    sequence failed; the others are done all the same.
    """
    from rich.console import Console

    from ..benchmark.machine import describe_machine
    from ..evaluation.figures import illustrate, new_figure
    from ..evaluation.jobs import Failure, Job
    from ..evaluation.metrics import find_metrics
    from ..evaluation.protocols import PROTOCOLS, EvaluationError
    from ..evaluation.report import write_report
    from ..evaluation.tables import as_json as to_json
    from ..evaluation.tables import summarise
    from ..evaluation.typeset import as_latex, as_markdown
    from ..networks import DEFAULT_WEIGHTS, load_network, model_of
    from ..reconstructor import choose_device
    from ..util.atomic import write_text

    choose_device(device)
    if figures:
        new_figure(1, 1)  # whoever has no matplotlib is told before the work, not after it
    chosen = PROTOCOLS[protocol.value]
    if paper and not chosen.name.startswith("icassp2022"):
        raise EvaluationError(f"--paper: its numbers are of the protocol icassp2022; those of {chosen.name} are not")
    sequences = _sequences(recordings)
    masks = _masks(mask or [], sequences)
    methods = _methods(weights or [DEFAULT_WEIGHTS])
    models = {method: model_of(load_network(file)) for method, file in methods.items()}
    metrics = find_metrics(chosen.metrics, squeeze)
    todo = [
        Job(
            recording=recording,
            sequence=sequence,
            weights=file,
            method=method,
            protocol=chosen.name,
            metrics=metrics,
            folder=output,
            device=device,
            pictures=None if video else sheets,
            events_topic=events_topic,
            frames_topic=frames_topic,
            rest=rest is RestClips.all or (rest is RestClips.first and i == 0),
            mask=masks.get(sequence),
        )
        for i, (sequence, recording) in enumerate(sequences.items())
        for method, file in methods.items()
    ]
    console = Console(stderr=True)
    with _full_disk_explained(output):
        outcomes = _work(todo, jobs, console)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        results = [outcome for outcome in outcomes if not isinstance(outcome, Failure)]
        summary = summarise(chosen, metrics, results, failures, list(sequences), models, paper)
        about = {"command": shlex.join(["cista", *sys.argv[1:]]), "machine": describe_machine(choose_device(device))}
        scores = json.dumps({**about, **to_json(summary)}, indent=1) + "\n"
        write_text(output / "scores.json", scores)
        write_text(output / "tables.md", as_markdown(summary))
        write_text(output / "tables.tex", as_latex(summary))
        typer.echo(scores if as_json else as_markdown(summary), nl=False)
        if figures and results:
            shown = illustrate(output, summary, sheets, video)
            write_report(output / "report.html", "Event camera reconstructions, compared", summary, shown)
            console.print(f"Open {output / 'report.html'}", markup=False, soft_wrap=True)
    for failure in failures:
        console.print(f"failed: {failure.sequence}, {failure.method}: {failure.reason}", markup=False, soft_wrap=True)
        if failure.details:
            console.print(failure.details, markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)


@contextmanager
def _full_disk_explained(folder: Path) -> Iterator[None]:
    from ..evaluation.protocols import EvaluationError

    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise EvaluationError(
            f"{folder}: its disk is full; what was finished is kept: make room, and give the same command again"
        ) from None


def _methods(wanted: Sequence[str]) -> dict[str, Path]:
    """Name -> checkpoint, of "NAME", "FILE" and "NAME=FILE", each perhaps several with commas between.

    EvaluationError for names that cannot be, that come twice, or for none; CheckpointError for weights not found.
    """
    from ..evaluation.protocols import EvaluationError
    from ..networks import find_weights

    methods: dict[str, Path] = {}
    for word in (word for item in wanted for word in item.split(",") if word):
        # A file is a file, also where its path holds "=".
        whole = "=" not in word or Path(word).is_file()
        name, _, file = ("", "", word) if whole else word.partition("=")
        path = find_weights(file)
        name = name or path.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".safetensors")
        if "/" in name or name.startswith(("_", ".")):
            raise EvaluationError(f"a method cannot be called {name!r}; name it: --weights NAME={file}")
        if name in methods:
            raise EvaluationError(f"two weights are called {name}; name them: --weights NAME={file}")
        methods[name] = path
    if not methods:
        raise EvaluationError(f"--weights {','.join(wanted)!r}: expected a name or a file")
    return methods


def _masks(wanted: Sequence[str], sequences: dict[str, Path]) -> dict[str, Path]:
    """Sequence -> mask, of "FILE" and "SEQUENCE=FILE". EvaluationError for unknown sequences and missing files."""
    from ..evaluation.protocols import EvaluationError

    masks: dict[str, Path] = {}
    for word in wanted:
        sequence, _, file = word.rpartition("=") if not Path(word).is_file() else ("", "", word)
        if not Path(file).is_file():
            raise EvaluationError(f"--mask {word}: no such file")
        if sequence and sequence not in sequences:
            raise EvaluationError(f"--mask {word}: no sequence {sequence!r}; there are {', '.join(sequences)}")
        masks |= dict.fromkeys([sequence] if sequence else sequences, Path(file))
    return masks


def _sequences(recordings: Sequence[Path]) -> dict[str, Path]:
    """Name -> recording; the name is that of the file or folder, or of the link to it."""
    from ..errors import RecordingError

    sequences: dict[str, Path] = {}
    for path in recordings:
        if not path.exists():
            raise RecordingError(f"{path}: no such file or folder")
        whole = Path(os.path.abspath(path))
        name = whole.stem if path.is_file() else whole.name
        if name in sequences:
            raise RecordingError(f"{path}: another recording is called {name} too: {sequences[name]}")
        sequences[name] = path
    return sequences


def _work(todo: list[Job], processes: int, console: Console) -> list[Outcome]:
    """Do all jobs, with a bar for whoever looks on; the outcomes in the order of the jobs."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ..evaluation.jobs import Failure, run_jobs

    outcomes: dict[Job, Outcome] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    frames = TextColumn("{task.fields[frames]}")
    with Progress(*columns, frames, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sequences and methods", total=len(todo), frames="")
        for job, outcome in run_jobs(todo, processes, lambda n: progress.update(task, frames=f"{n} frames")):
            outcomes[job] = outcome
            progress.update(task, advance=1, frames="")
            said = outcome.reason if isinstance(outcome, Failure) else f"{len(outcome.rows)} frames"
            progress.console.print(f"{job.sequence}, {job.method}: {said}", markup=False, soft_wrap=True)
    return [outcomes[job] for job in todo]
