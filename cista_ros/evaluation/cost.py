"""What each network costs on this machine: parameters, multiplications, memory, time (the paper's Table 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ..benchmark.machine import peak_memory
from ..networks import Network, count_parameters, load_asked_for, model_of
from ..reconstructor import choose_device
from ..runtime import make_runtime
from .protocols import EvaluationError
from .published import COSTS, PaperCost

WARM_UP = 2


@dataclass(frozen=True)
class Cost:
    """Of one network at one size.

    Attributes:
        name: as it was asked for.
        parameters: learned ones; shared ones count once.
        megabytes: of the state dictionary in fp32 (parameters, and statistics of batch normalisation), 10**6 bytes.
        gmac: 10**9 multiply-accumulates of one step's convolutions, counted by torch.
        memory: 10**6 bytes that building and running it added to the process (CPU: peak resident; GPU: peak allocated).
        milliseconds: median of a step: voxel grid on the device to image on the CPU.
        paper: what the paper's Table 3 says, if this is one of its networks.
    """

    name: str
    parameters: int
    megabytes: float
    gmac: float
    memory: float
    milliseconds: float
    paper: PaperCost | None


def count_mac(network: Network, height: int, width: int) -> int:
    """Multiply-accumulates of one step; torch counts two operations for each. The network must be on the CPU."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        # The second step: the first may leave out what has no past to work on.
        _, state = network(torch.zeros(1, network.bins, height, width))
        first = counter.get_total_flops()
        network(torch.zeros(1, network.bins, height, width), state)
    return (counter.get_total_flops() - first) // 2


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
    """Measure one network in this process, by a runtime as make_runtime takes it; without a file its weights are
    random."""
    where = choose_device(device)
    torch.zeros(1, device=where).add_(1)  # what starting up takes is not the network's
    before = peak_memory(where)
    network = load_asked_for(name, weights)
    megabytes = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / 1e6
    network = network.to(where)
    generator = torch.Generator().manual_seed(0)
    voxel = torch.randn(network.bins, height, width, generator=generator).to(where)
    times = []
    with torch.inference_mode():
        made = make_runtime(runtime, network, height, width, where, precision)[0]
        for _ in range(WARM_UP + steps):
            began = time.perf_counter()
            made.step(voxel).cpu()
            times.append(1000 * (time.perf_counter() - began))
    memory = peak_memory(where) - before
    mac = count_mac(network.cpu(), height, width)
    model = model_of(network)
    return Cost(
        name,
        count_parameters(network),
        megabytes,
        mac / 1e9,
        memory / 1e6,
        float(np.median(times[WARM_UP:])),
        None if model.differences else COSTS.get(model.name),
    )


def measure_all(
    networks: Sequence[tuple[str, Path | None]],
    height: int,
    width: int,
    device: str,
    steps: int,
    runtime: str = "eager",
    precision: str = "fp32",
) -> list[Cost]:
    """Measure networks one after the other, each in a process of its own, so that memory is its own too.

    Raises what `measure` does, and EvaluationError if such a process is killed.
    """
    costs = []
    for name, weights in networks:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            work: Callable[[], Cost] = partial(measure, name, weights, height, width, device, steps, runtime, precision)
            try:
                costs.append(process.submit(work).result())
            except BrokenProcessPool:
                raise EvaluationError(f"network {name}: the process that measures it died (out of memory?)") from None
    return costs


def as_markdown(costs: Sequence[Cost], height: int, width: int, where: str, how: str) -> str:
    """The table, with the paper's numbers beside; `where` is the machine, `how` runtime and precision."""
    lines = [
        f"One step at {width}×{height} on {where} ({how}).",
        "In brackets: the paper's Table 3 (size of the checkpoint file; GTX 1080 Ti).",
        "",
        "| network | parameters | fp32 MB (paper) | GMAC | memory at run time, MB | ms a step (paper) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for c in costs:
        size, speed = (f" ({c.paper.megabytes:g})", f" ({c.paper.milliseconds:g})") if c.paper else ("", "")
        lines.append(
            f"| {c.name} | {c.parameters:,} | {c.megabytes:.2f}{size} | {c.gmac:.2f} | {c.memory:.0f}"
            f" | {c.milliseconds:.1f}{speed} |"
        )
    return "\n".join(lines) + "\n"
