"""`cista weights get`: checkpoints that others published, fetched, checked and kept."""

from __future__ import annotations

from typing import Annotated

import typer


def get(
    names: Annotated[list[str] | None, typer.Argument(help="Which; none to list those there are.")] = None,
) -> None:
    """Download published checkpoints; afterwards their names stand for them, as --weights NAME."""
    from ..networks.published import PUBLISHED, cached_weights, fetch_weights
    from .fetching import download_bar

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
