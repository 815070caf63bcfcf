"""`cista cost`: parameters, operations, memory and time of networks on this machine (the paper's Table 3)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from .options import DeviceOption


def cost(
    networks: Annotated[
        list[str] | None, typer.Argument(help="Kinds of network (with random weights), shipped weights, or files.")
    ] = None,
    size: Annotated[str, typer.Option(help="Sensor size, WIDTHxHEIGHT in pixels.")] = "240x180",
    device: DeviceOption = "auto",
    runtime: Annotated[str, typer.Option(help="Runtime, as in `cista reconstruct`.")] = "eager",
    precision: Annotated[str, typer.Option(help="Precision, as in `cista reconstruct`.")] = "fp32",
    steps: Annotated[int, typer.Option(help="Number of steps to time; the median counts.", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure networks, each in a separate process. Default: all networks that the paper compares."""
    from ..benchmark import parse_size
    from ..benchmark.cost import as_markdown, measure_all
    from ..benchmark.machine import describe_machine
    from ..networks import MODELS, find_weights_unless_kind
    from ..reconstructor import choose_device

    height, width = parse_size(size)
    chosen_device = choose_device(device)
    chosen = [(name, find_weights_unless_kind(name)) for name in networks or MODELS]
    machine = describe_machine(chosen_device)
    costs = measure_all(chosen, height, width, device, steps, runtime, precision)
    if as_json:
        typer.echo(json.dumps({"machine": machine, "size": size, "costs": [asdict(c) for c in costs]}, indent=1))
        return
    processor = f"{machine['processor']}, {machine['threads']} threads"
    typer.echo(as_markdown(costs, height, width, machine.get("gpu", processor), f"{runtime}, {precision}"), nl=False)
