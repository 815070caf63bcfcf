"""Progress of downloads and of commands that work on several recordings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..util.download import Progress
    from ..util.jobs import Failure

Job = TypeVar("Job")
Output = TypeVar("Output")

JobsOption = Annotated[int, typer.Option(help="Recordings to process at a time on this machine.", min=1)]
DaskOption = Annotated[
    str | None, typer.Option(help="Dask scheduler whose workers do the work; all paths must be valid there.")
]


@contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    """Show a progress bar on stderr; yield a function to call with (bytes so far, bytes in total or None)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def recording_bar(unit: str, console: Console | None) -> Iterator[Callable[[float, float | None, int], None]]:
    """Show a progress bar; yield a function to call with (seconds so far, seconds in total or None, count of units).

    The bar appears with the first call, so that an error before it stands alone. It needs a console on a terminal.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.completed:.2f} s of events"), BarColumn(), TextColumn(f"{{task.fields[n]}} {unit}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=console)
    task = bar.add_task(unit, total=None, n=0)

    def show(done: float, total: float | None, count: int) -> None:
        if console and console.is_terminal:
            bar.update(task, completed=done, total=total, n=count)
            bar.start()

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def say(console: Console | None, text: str) -> None:
    """Print a line as it is, without rich's markup, colours and line breaks; nothing without a console."""
    if console:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{number} {noun}{'s' * (number != 1)}"


def run_all(
    run: Callable[[Job], Output],
    jobs: Mapping[str, Job],
    describe: Callable[[Output], str],
    processes: int,
    dask: str | None,
    console: Console,
) -> tuple[dict[str, Output], dict[str, Failure]]:
    """Run named jobs with a progress bar and print how each ends, without the reasons of failures (see `end`).

    Args:
        run, processes, dask: as for run_jobs, which also says what is raised.
        describe: returns an output in words.
    Returns:
        the outputs and the failures by name, in the order of the jobs.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from ..util.jobs import Failure, run_jobs

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    outcomes: dict[int, Output | Failure] = {}
    names = list(jobs)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(jobs))
        for index, outcome in run_jobs(run, list(jobs.values()), processes, dask):
            outcomes[index] = outcome
            text = "failed" if isinstance(outcome, Failure) else describe(outcome)
            say(console, f"[{len(outcomes)}/{len(jobs)}] {names[index]}: {text}")
            bar.advance(task)
    ordered = [(names[index], outcome) for index, outcome in sorted(outcomes.items())]
    failures = {name: outcome for name, outcome in ordered if isinstance(outcome, Failure)}
    return {name: outcome for name, outcome in ordered if not isinstance(outcome, Failure)}, failures


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Turn the OSError of a full disk into an error that says how to continue."""
    from ..util.jobs import DISK_FULL, JobsError

    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise JobsError(f"{folder}: disk full; finished work is kept: free some space and repeat the command") from None


def name_recordings(recordings: Sequence[Path], output: Path) -> dict[str, Path]:
    """Return recordings by name, as find_recordings; a single one, if not a folder of recordings, has the name "".

    Args:
        output: folder of several outputs, left out of the search for recordings.
    """
    from ..recordings import find_recordings
    from ..recordings.formats import is_recording

    if len(recordings) == 1 and (not recordings[0].is_dir() or is_recording(recordings[0])):
        return {"": recordings[0]}
    return find_recordings(recordings, leave_out=output)


def run_recordings(
    jobs: Mapping[str, Job],
    output: Path,
    run: Callable[[Job, Console], dict[str, Any]],
    resume: Callable[[Job], dict[str, Any]],
    describe: Callable[[dict[str, Any]], list[str]],
    processes: int,
    dask: str | None,
    as_json: bool,
) -> None:
    """Run the jobs of recordings, by names from name_recordings, and print the summaries. For failures see `end`.

    Args:
        output: folder of several outputs.
        run: returns the summary of a single recording; the console shows progress and warnings.
        resume: the same for one of several, unless an earlier run has finished it.
        describe: returns a summary in words.
        processes, dask: as for run_jobs.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if "" in jobs:
        if dask:
            raise typer.BadParameter("only for several recordings, or a folder of them", param_hint="--dask")
        summary = run(jobs[""], console)
        if as_json:
            typer.echo(json.dumps(summary))
        else:
            say(console, "\n".join(describe(summary)))
        return

    def in_words(summary: dict[str, Any]) -> str:
        return "\n  ".join([*describe(summary), *(f"Warning: {text}." for text in summary.get("warnings", ()))])

    with full_disk_explained(output):
        summaries, failures = run_all(resume, jobs, in_words, processes, dask, console)
    if as_json:
        reasons = {name: failure.reason for name, failure in failures.items()}
        typer.echo(json.dumps({"recordings": summaries, "failures": reasons}))
    end(failures, len(jobs), console)


def end(failures: Mapping[str, Failure], total: int, console: Console) -> None:
    """Name the failed jobs and why they failed; exit with code 1 if there are any, 2 if all of the `total` failed."""
    for name, failure in failures.items():
        say(console, f"failed: {name}: {failure.reason}")
        if failure.details:
            say(console, failure.details)
    if failures:
        raise typer.Exit(2 if len(failures) == total else 1)
