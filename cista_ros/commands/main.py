"""`cista`: the commands, one file each. Heavy imports happen when a command runs."""

from __future__ import annotations

import sys
from typing import Any

import typer

from .. import __version__
from ..errors import CistaError, is_out_of_memory
from ..util.threads import wait_without_spinning
from . import ecd, weights
from .benchmark import benchmark, cost
from .calibrate import calibrate
from .convert import convert
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .info import info
from .reconstruct import reconstruct
from .simulate import simulate
from .sync import sync
from .train import train

# The base of all errors about options and arguments, for which typer has no public name.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

INTERRUPTED = 130  # typer's exit code after Ctrl-C

app = typer.Typer(
    help="Video from event cameras.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Short texts for the list of commands, where a docstring's first sentence would be cut off.
app.command(short_help="Reconstruct a recording's events as images.")(reconstruct)
app.command(short_help="Play a recording to the ROS 2 node and keep the images.")(demo)
app.command(short_help="Write a recording in another format.")(convert)
app.command(short_help="Report how camera frames follow the triggers of a recording.")(sync)
app.command(short_help="Describe recordings: events, rates, frames, triggers, clocks.")(info)
app.command(short_help="Calibrate an event camera from a recording of a target.")(calibrate)
app.command(short_help="Score networks on recordings with camera frames.")(evaluate)
app.command(short_help="Measure networks: size, operations, memory, time.")(cost)
app.command(short_help="Compare the speed of the runtimes.")(benchmark)
app.command(short_help="Export a network to ONNX.")(export)
app.command(short_help="Describe this machine and test each part.")(doctor)
app.add_typer(ecd.app, name="ecd", short_help="List and download the Event Camera Dataset.")
app.command(short_help="Simulate an event camera before a moving scene.")(simulate)
app.command(short_help="Train a network on simulated sequences.")(train)
app.add_typer(
    weights.app, name="weights", short_help="List shipped weights, print their cards, download published ones."
)


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run `cista`. Bad input ends with one line of text and exit code 2."""
    wait_without_spinning()
    try:
        code = app(prog_name="cista", standalone_mode=False)
        if code == INTERRUPTED:
            typer.echo("interrupted", err=True)
        sys.exit(code)
    except _UsageError as error:
        sys.exit(_fail_usage(error))
    except typer.Abort:
        sys.exit("Aborted.")
    except (CistaError, OSError) as error:
        sys.exit(_fail(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).strip().splitlines()[0] if str(error) else "no details"
        sys.exit(_fail(f"out of memory ({said}); use a smaller size (--size, --downscale) or another --device"))


def _fail(error: Exception | str) -> int:
    if isinstance(error, OSError) and error.filename is not None:
        error = f"{error.filename}: {error.strerror}"
    typer.echo(f"cista: error: {error}", err=True)
    return 2


def _fail_usage(error: Any) -> int:
    message = error.format_message().replace("Value error, ", "")
    if "\n" in message:  # the help, because there are no arguments
        typer.echo(message, err=True)
        return 2
    return _fail(f"{message.rstrip('.')}; see {error.ctx.command_path} -h" if error.ctx else message)


if __name__ == "__main__":
    main()
