"""`cista weights`: the shipped networks; `cista weights get`: published checkpoints."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .options import JsonOption


class _Group(TyperGroup):
    """Passes arguments that do not begin with a sub-command to the command `default`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["default", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    help="List the shipped weights; with a NAME, print its model card; get published ones.",
    rich_markup_mode=None,
)


@app.command("default", hidden=True)
def weights(
    name: Annotated[str | None, typer.Argument(help="Weights whose model card to print.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the shipped weights with size, training and scores, or print a model card."""
    from rich.console import Console
    from rich.table import Column, Table

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
    summaries = {key: read_summary(path) for key, path in shipped.items()}
    if as_json:
        auto_on = {DEFAULT_WEIGHTS: "gpu", SMALL_WEIGHTS: "cpu"}
        more = {key: {"file": str(path), "auto_on": auto_on.get(key)} for key, path in shipped.items()}
        typer.echo(json.dumps({key: vars(s) | more[key] for key, s in summaries.items()}))
        return
    if not shipped:
        typer.echo("this version ships no weights")
        return
    numbers = ("parameters", "iterations", "hours", "MSE", "SSIM", "zeros")
    table = Table(
        Column("weights", no_wrap=True),
        *(Column(name, justify="right") for name in numbers),
        caption="MSE and SSIM: simulated held-out sequences, both images equalised; zeros: of the codes."
        f" `--weights auto` is {DEFAULT_WEIGHTS} on a GPU and {SMALL_WEIGHTS}, in half the time, on a CPU.",
    )
    for key, s in summaries.items():
        scores = (s.scores.get(name) for name in ("mse_equalised", "ssim_equalised", "zeros"))
        cells = zip((s.parameters, s.iterations, s.hours, *scores), (",", ",", ".2f", *[".3f"] * 3), strict=True)
        table.add_row(key, *("-" if value is None else f"{value:{form}}" for value, form in cells))
    Console().print(table)


@app.command()
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
