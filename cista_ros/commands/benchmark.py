"""`cista benchmark`: time networks, runtimes and the stages around them on this machine."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import DeviceOption

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
    seconds: Annotated[float, typer.Option(help="Seconds to measure each network and size.", min=0)] = 10,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: one per core.", min=1)] = None,
    events: Annotated[
        list[int] | None,
        typer.Option(help="Events per window of the stages. Repeatable. Default: 0.35 per pixel.", min=1),
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
    from ..windows import default_max_events

    chosen = choose_device(device)
    sizes = [parse_size(text) for text in size or ["240x180"]]
    runtimes = [_parse_runtime(text) for text in runtime] if runtime else ALL_RUNTIMES[chosen.type]
    files = {name: find_weights_unless_kind(name) for name in network or ["cista-tc"]}
    stems = Counter(Path(name).stem for name in files)
    for option, path in (("--plot", plot), ("--json", json_file)):
        if path:
            _check_writable(option, path)
    if plot:
        if plot.suffix.lower() != ".png":
            raise BenchmarkError(f"--plot {plot}: expected a name that ends in .png")
        new_figure(1, 1)  # report a missing matplotlib now, not after the work
    if threads:
        torch.set_num_threads(threads)
    machine = describe_machine(chosen)
    rows, stages, refused, memory = [], [], {}, {}
    for name, file in files.items():
        made = load_or_make_network(name, file).to(chosen)
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
            "rows": [asdict(row) for row in rows],
            "stages": [asdict(stage) for stage in stages],
            # Of the whole process, so it never falls.
            "peak_memory_so_far_mib": memory,
            "refused": refused,
        }
        json_file.write_text(json.dumps(content, indent=1) + "\n")
    if plot:
        draw(rows, stages, plot)
    if runtime and refused:
        raise BenchmarkError(f"--runtime: not measured, see above: {', '.join(refused)}")


def _check_writable(option: str, path: Path) -> None:
    """Raise BenchmarkError if a file cannot be written, before minutes of measuring."""
    from ..benchmark import BenchmarkError

    for wrong, text in (
        (path.is_dir(), "is a folder, expected a file"),
        (not path.parent.is_dir(), f"folder {path.parent} does not exist"),
        (not os.access(path if path.exists() else path.parent, os.W_OK), "no permission to write"),
    ):
        if wrong:
            raise BenchmarkError(f"{option} {path}: {text}")


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
