"""The cost of each network on this machine: parameters, multiplications, memory, time (the paper's Table 3)."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ..networks import Network, count_parameters, load_or_make_network, model_of
from ..reconstructor import choose_device
from ..runtime import make_runtime
from . import BenchmarkError
from .machine import peak_memory, timed

WARM_UP = 2


@dataclass(frozen=True)
class Cost:
    """Cost of one network at one size.

    Attributes:
        name: the requested name.
        model: kind of network if its configuration is the published one, else None.
        parameters: learned parameters, shared ones counted once.
        megabytes: of the state dictionary in fp32 (parameters and batch normalisation statistics), 10**6 bytes.
        gmac: multiply-accumulates of one step, 10**9.
        memory: 10**6 bytes that loading and running it added (CPU: peak resident; GPU: peak allocated).
        milliseconds: median time of a step, from the voxel grid on the device to the image on the CPU.
    """

    name: str
    model: str | None
    parameters: int
    megabytes: float
    gmac: float
    memory: float
    milliseconds: float


def count_mac(network: Network, height: int, width: int) -> int:
    """Return the multiply-accumulates of one step (not the first) of the network as written, whatever its runtime."""
    network = copy.deepcopy(network).cpu()
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):  # shapes only, no arithmetic
        grid = torch.zeros(1, network.bins, height, width)
        _, state = network(grid)  # a first step may skip what needs a past
        with FlopCounterMode(display=False) as counter:
            network(grid, state)
    return int(counter.get_total_flops()) // 2


def measure(
    name: str,
    weights: Path | None,
    height: int,
    width: int,
    device: str,
    steps: int,
    runtime: str = "eager",
    precision: str = "fp32",
) -> Cost:
    """Measure one network in this process; without a weights file its weights are random."""
    where = choose_device(device)
    torch.zeros(1, device=where).add_(1)  # initialise the device before measuring memory
    before = peak_memory(where)
    network = load_or_make_network(name, weights)
    megabytes = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / 1e6
    network = network.to(where)
    generator = torch.Generator().manual_seed(0)
    voxel = torch.randn(network.bins, height, width, generator=generator).to(where)
    with torch.inference_mode():
        made = make_runtime(runtime, network, height, width, where, precision)[0]
        times = [timed(lambda: made.step(voxel).cpu(), where)[0] for _ in range(WARM_UP + steps)]
    memory = peak_memory(where) - before
    model = model_of(network)
    return Cost(
        name,
        None if model.differences else model.name,
        count_parameters(network),
        megabytes,
        count_mac(network, height, width) / 1e9,
        memory / 1e6,
        1e3 * statistics.median(times[WARM_UP:]),
    )


def measure_all(networks: Sequence[tuple[str, Path | None]], *options: Any, **more: Any) -> list[Cost]:
    """Call `measure` for networks, given as (name, weights), each in a separate process, which keeps memory apart.

    Raises the errors of `measure`, and BenchmarkError if such a process is killed.
    """
    costs = []
    for name, weights in networks:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            try:
                costs.append(process.submit(measure, name, weights, *options, **more).result())
            except BrokenProcessPool:
                raise BenchmarkError(f"network {name}: its process was killed (out of memory?)") from None
    return costs


# Table 3 of the paper: size of the checkpoint file in 10**6 bytes, and ms per step on a GTX 1080 Ti. FireNet's 37,777
# fp32 parameters alone are 0.151 of its 0.16.
PAPER_COSTS = {"e2vid": (42.9, 2.0), "firenet": (0.16, 1.2), "spade-e2vid": (45.9, 2.9), "cista-tc": (2.7, 3.0)}


def as_markdown(costs: Sequence[Cost], height: int, width: int, machine: str, method: str) -> str:
    """Return a table, with the paper's numbers in brackets; `method` names runtime and precision."""
    lines = [
        f"One step at {width}×{height} on {machine} ({method}).",
        "In brackets: the paper's Table 3 (size of the checkpoint file; GTX 1080 Ti).",
        "",
        "| network | parameters | fp32 MB (paper) | GMAC | memory at run time, MB | ms per step (paper) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for c in costs:
        paper = PAPER_COSTS.get(c.model or "")
        size, speed = (f" ({paper[0]:g})", f" ({paper[1]:g})") if paper else ("", "")
        lines.append(
            f"| {c.name} | {c.parameters:,} | {c.megabytes:.2f}{size} | {c.gmac:.2f} | {c.memory:.0f}"
            f" | {c.milliseconds:.1f}{speed} |"
        )
    return "\n".join(lines) + "\n"
