"""`cista ecd`: the Event Camera Dataset, listed and fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The Event Camera Dataset (Mueggler et al. 2017).", no_args_is_help=True)


@app.command("list")
def list_sequences(
    text: Annotated[bool, typer.Option("--text", help="The text layout (zip) instead of the bag.")] = False,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Ask the server how large each file is; else known ones, of bags.")
    ] = False,
) -> None:
    """List its sequences, their sizes and public addresses."""
    from ..evaluation.ecd import LICENCE, PAGE, SEQUENCES
    from ..util.download import remote_size

    for sequence in SEQUENCES.values():
        address = sequence.address(text)
        if sizes:
            count = remote_size(address)
            size = "?" if count is None else f"{count / 2**20:.1f}"
        else:
            size = "-" if text else f"~{sequence.mebibytes}"
        typer.echo(f"{sequence.name:20} {'Table 1' if sequence.evaluated else '-':8} {size:>7} MiB  {address}")
    typer.echo(f"Licence {LICENCE}, see {PAGE}; please cite its paper.")


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(help="Sequences; paper: the seven of Table 1; all: all of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")] = Path("ecd"),
    text: Annotated[bool, typer.Option("--text", help="The text layout (zip) instead of the bag.")] = False,
) -> None:
    """Download sequences. What broke off goes on where it was; what is there is only checked."""
    from ..evaluation.ecd import choose_sequences, fetch_sequence
    from .fetching import download_bar

    for sequence in choose_sequences(names):
        with download_bar(sequence.name) as progress:
            path = fetch_sequence(sequence, output, text, progress)
        typer.echo(path)
