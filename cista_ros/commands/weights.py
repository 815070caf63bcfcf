"""`cista weights`: the shipped networks; `cista weights get`: published checkpoints."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def weights(
    name: Annotated[str | None, typer.Argument(help="Weights whose model card to print.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List the shipped weights with size, training and scores, or print a model card."""
    from rich.console import Console
    from rich.table import Table

    from ..errors import CheckpointError
    from ..networks.weights import DEFAULT_WEIGHTS, SMALL_WEIGHTS, shipped_weights
    from ..training.card import read_summary

    shipped = shipped_weights()
    if name is not None:
        if name not in shipped:
            raise CheckpointError(
                f"weights {name!r} are not shipped with this version ({', '.join(shipped) or 'none are'})"
            )
        card = shipped[name].with_suffix(".md")
        if not card.is_file():
            raise CheckpointError(f"{card}: the model card is missing")
        typer.echo(card.read_text())
        return
    auto_on = {DEFAULT_WEIGHTS: "gpu", SMALL_WEIGHTS: "cpu"}
    summaries = {key: read_summary(path) for key, path in shipped.items()}
    if as_json:
        rows = {
            key: {**vars(s), "file": str(shipped[key]), "auto_on": auto_on.get(key)} for key, s in summaries.items()
        }
        typer.echo(json.dumps(rows))
        return
    if not shipped:
        typer.echo("this version ships no weights")
        return
    table = Table(
        caption="MSE and SSIM: simulated held-out sequences, both images equalised; zeros: of the codes."
        f" `--weights auto` is {DEFAULT_WEIGHTS} on a GPU and {SMALL_WEIGHTS}, in half the time, on a CPU."
    )
    table.add_column("weights", no_wrap=True)
    for column in ("parameters", "iterations", "hours", "MSE", "SSIM", "zeros"):
        table.add_column(column, justify="right")
    for key, s in summaries.items():
        trained = [
            f"{s.iterations:,}" if s.iterations is not None else "-",
            f"{s.hours:.2f}" if s.hours is not None else "-",
        ]
        scores = [f"{s.scores[c]:.3f}" if c in s.scores else "-" for c in ("mse_equalised", "ssim_equalised", "zeros")]
        table.add_row(key, f"{s.parameters:,}", *trained, *scores)
    Console().print(table)


def get(
    names: Annotated[
        list[str] | None, typer.Argument(help="Checkpoint names; without any, list what is available.")
    ] = None,
) -> None:
    """Download published checkpoints; then use them as --weights NAME."""
    from ..networks.weights import PUBLISHED, cached_weights, fetch_weights
    from .progress import download_bar

    if not names:
        width = max(map(len, PUBLISHED))
        for name, weights in PUBLISHED.items():
            there = "here" if cached_weights(name).is_file() else "-"
            typer.echo(f"{name:{width}}  {there:4}  {weights.about}")
        return
    for name in names:
        with download_bar(name) as progress:
            path = fetch_weights(name, progress)
        typer.echo(path)
