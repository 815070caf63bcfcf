"""`cista export`: the step of a network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    network: Annotated[str, typer.Argument(help="Shipped or fetched weights by name, or a file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.")],
    precision: Annotated[
        Literal["fp32", "fp16"],
        typer.Option(help="Precision of the arithmetic; inputs and outputs are float32."),
    ] = "fp32",
    check: Annotated[
        bool, typer.Option("--check", help="Compare the file with torch over 200 steps (needs onnxruntime).")
    ] = False,
) -> None:
    """Export (voxel grid, state) -> (image, state) with dynamic height and width."""
    from ..networks import load_network
    from ..runtime.onnx import ExportError, check_file, export_file

    if output.suffix != ".onnx":
        raise ExportError(f"-o {output}: expected a file name that ends in .onnx")
    loaded = load_network(network)
    description = export_file(loaded, output, precision)
    multiple = description["multiple_of"]
    sizes = "" if multiple == 1 else f"; height and width must be multiples of {multiple}"
    typer.echo(f"{output}: {network}, {precision}, {output.stat().st_size / 1e6:.2f} MB{sizes}")
    if check:
        kind = "difference" if precision == "fp32" else "mean difference of an image"
        typer.echo(f"largest {kind} from torch over 200 steps: {check_file(output, loaded):.1e}")
