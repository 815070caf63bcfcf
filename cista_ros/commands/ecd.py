"""`cista ecd`: list and download the Event Camera Dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The Event Camera Dataset (Mueggler et al. 2017).", no_args_is_help=True)


@app.command("list")
def list_sequences(
    text: Annotated[bool, typer.Option("--text", help="Text layout (zip) instead of the bag.")] = False,
    sizes: Annotated[
        bool,
        typer.Option("--sizes", help="Ask the server for the size of each file. Default: known sizes of the bags."),
    ] = False,
) -> None:
    """List the sequences with their sizes and addresses."""
    from ..recordings.ecd import BASE, ECD_SEQUENCES, LICENCE, PAGE, SEQUENCES
    from ..util.download import remote_size

    for sequence in SEQUENCES.values():
        address = BASE + sequence.file(text)
        if sizes:
            count = remote_size(address)
            size = "?" if count is None else f"{count / 2**20:.1f}"
        else:
            size = "-" if text else f"~{sequence.mebibytes}"
        typer.echo(
            f"{sequence.name:20} {'Table 1' if sequence.name in ECD_SEQUENCES else '-':8} {size:>7} MiB  {address}"
        )
    typer.echo(f"Licence {LICENCE}, see {PAGE}; please cite its paper.")


@app.command()
def get(
    names: Annotated[
        list[str], typer.Argument(help="Sequence names; paper: the seven of Table 1; all: every sequence.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Output folder.")] = Path("ecd"),
    text: Annotated[bool, typer.Option("--text", help="Text layout (zip) instead of the bag.")] = False,
) -> None:
    """Download sequences. Interrupted downloads are resumed; complete files are only verified."""
    from ..recordings.ecd import choose_sequences, fetch_sequence
    from .progress import download_bar

    for sequence in choose_sequences(names):
        with download_bar(sequence.name) as progress:
            path = fetch_sequence(sequence, output, text, progress)
        typer.echo(path)
