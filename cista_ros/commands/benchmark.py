"""`cista benchmark`: time networks, runtimes and stages. `cista cost`: their parameters, operations, memory, time."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import DeviceOption, JsonOption, Seconds

ALL_RUNTIMES = {
    "cpu": [*((name, "fp32") for name in ("fused", "native", "winograd")), ("native", "bf16")],
    "cuda": [("cuda-graph", precision) for precision in ("fp32", "bf16", "fp16")],
}


def benchmark(
    size: Annotated[list[str] | None, typer.Option(help="Sensor size, WIDTHxHEIGHT in pixels. Repeatable.")] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Kind of network (random weights), shipped weights, or file. Repeatable."),
    ] = None,
    runtime: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME:PRECISION. Repeatable. Default: all for the device.")
    ] = None,
    device: DeviceOption = "auto",
    seconds: Annotated[float, Seconds(help="Seconds to measure each network and size.")] = 10,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: one per core.", min=1, max=4096)] = None,
    events: Annotated[
        list[int] | None,
        typer.Option(
            help="Events per window of the stages. Repeatable. Default: 0.35 per pixel.", min=1, max=1_000_000_000
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file to plot to: time over pixels and events.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File to write all numbers to.")] = None,
) -> None:
    """Time network steps against the reference, the network as written, in turn in one run."""
    import torch

    from ..benchmark import BenchmarkError, parse_size
    from ..benchmark.machine import describe_machine, peak_memory
    from ..benchmark.report import as_markdown
    from ..benchmark.report import plot as draw
    from ..benchmark.stages import measure_stages
    from ..benchmark.steps import measure_steps
    from ..evaluation.figures import new_figure
    from ..networks import find_weights_unless_kind, load_or_make_network
    from ..reconstructor import choose_device
    from ..util.atomic import prepare_folder, write_text
    from ..windows import default_max_events

    chosen = choose_device(device)
    sizes = [parse_size(text) for text in size or ["240x180"]]
    runtimes = [_parse_runtime(text) for text in runtime] if runtime else ALL_RUNTIMES[chosen.type]
    files = {name: find_weights_unless_kind(name) for name in network or ["cista-tc"]}
    stems = Counter(Path(name).stem for name in files)
    if plot:
        if plot.suffix.lower() != ".png" and not plot.is_dir():
            raise BenchmarkError(f"--plot {plot}: expected a name that ends in .png")
        new_figure(1, 1)  # report a missing matplotlib now, not after the work
    for option, path in (("--plot", plot), ("--json", json_file)):
        if path and path.is_dir():
            raise BenchmarkError(f"{option} {path}: is a folder, expected a file")
        if path:
            prepare_folder(path.parent)
    if threads:
        torch.set_num_threads(threads)
    machine = describe_machine(chosen)
    rows, stages, refused, memory = [], [], {}, {}
    networks = {name: load_or_make_network(name, file).to(chosen) for name, file in files.items()}
    for name, made in networks.items():
        if small := [f"{width}x{height}" for height, width in sizes if min(height, width) < made.min_size]:
            raise BenchmarkError(f"--size {small[0]}: {name} takes at least {made.min_size}x{made.min_size} pixels")
    for name, made in networks.items():
        for height, width in sizes:
            title = Path(name).stem if stems[Path(name).stem] == 1 else name
            typer.echo(f"{title} at {width}x{height} …", err=True)
            measured, why = measure_steps(title, made, runtimes, height, width, chosen, seconds)
            rows += measured
            refused.update(why)
            memory[f"{title} {width}x{height}"] = peak_memory(chosen) / 2**20
    for height, width in sizes:
        for count in events or [default_max_events(height, width)]:
            stages += measure_stages(height, width, count, chosen)
    typer.echo(as_markdown(rows, stages), nl=False)
    for what, reason in refused.items():
        typer.echo(f"not measured: {what}: {reason}", err=True)
    if json_file:
        content = {
            "machine": machine,
            "command": shlex.join(["cista", *sys.argv[1:]]),
            "rows": [*map(asdict, rows)],
            "stages": [*map(asdict, stages)],
            "peak_memory_so_far_mib": memory,  # of the whole process, so it never falls
            "refused": refused,
        }
        write_text(json_file, json.dumps(content, indent=1) + "\n")
    if plot:
        draw(rows, stages, plot)
    if runtime and refused:
        raise BenchmarkError(f"--runtime: not measured, see above: {', '.join(refused)}")


def cost(
    networks: Annotated[
        list[str] | None, typer.Argument(help="Kinds of network (with random weights), shipped weights, or files.")
    ] = None,
    size: Annotated[str, typer.Option(help="Sensor size, WIDTHxHEIGHT in pixels.")] = "240x180",
    device: DeviceOption = "auto",
    runtime: Annotated[str, typer.Option(help="Runtime, as in `cista reconstruct`.")] = "eager",
    precision: Annotated[str, typer.Option(help="Precision, as in `cista reconstruct`.")] = "fp32",
    steps: Annotated[int, typer.Option(help="Number of steps to time; the median counts.", min=1)] = 10,
    as_json: JsonOption = False,
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


def _parse_runtime(text: str) -> tuple[str, str]:
    from ..benchmark import BenchmarkError
    from ..runtime import PRECISIONS, RUNTIMES

    name, _, precision = text.partition(":")
    precision = precision or "fp32"
    if name not in RUNTIMES or precision not in PRECISIONS:
        raise BenchmarkError(
            f"runtime {text!r}: expected NAME or NAME:PRECISION, of {', '.join(RUNTIMES)} and {', '.join(PRECISIONS)}"
        )
    return name, precision
