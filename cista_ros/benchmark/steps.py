"""Time the steps of a network, with several runtimes in turn, so that a disturbance affects all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ..errors import CistaError
from ..networks import Network
from ..runtime import Eager, Runtime, make_runtime
from .cost import count_mac
from .machine import timed

WARM_UP = 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The share of a voxel grid's cells that events fill.
FILLED = 0.3
# Side of the matrices of the ceiling: they fit into a CPU's cache, and in half precision occupy all of its cores.
CEILING_SIZE = {"cpu": 1024, "cuda": 8192}
CEILING_SIZE_HALF = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Row:
    """Times of one runtime and precision, for one network and size.

    `ratio` is the reference's median time divided by this one's; `ratio_min` compares the minima. `gflops` counts two
    operations per multiply-accumulate of the network as written, also for a runtime that needs fewer. The ceiling is
    one large matrix product in the same precision. The differences from the reference's images are the largest of all
    pixels and the largest of all images' means.
    """

    network: str
    runtime: str
    device: str
    precision: str
    height: int
    width: int
    steps: int
    ms_median: float
    ms_min: float
    ms_p10: float
    ms_p90: float
    ratio: float
    ratio_min: float
    gflops: float
    ceiling_gflops: float
    ceiling_share: float
    difference: float
    difference_mean: float


def measure_steps(
    name: str,
    network: Network,
    runtimes: Sequence[tuple[str, str]],
    height: int,
    width: int,
    device: torch.device,
    seconds: float,
) -> tuple[list[Row], dict[str, str]]:
    """Measure one network at one size, always together with the reference.

    Args:
        runtimes: (runtime, precision) pairs, as for make_runtime; the reference is added as the first.
        seconds: how long to measure after warming up, but at least five rounds.
    Returns:
        Rows, and for runtimes that cannot run here "runtime precision" -> reason.
    """
    made: list[tuple[Runtime, str]] = [(Eager(network, height, width, device), "reference")]
    refused: dict[str, str] = {}
    for runtime, precision in runtimes:
        try:
            made.append((make_runtime(runtime, network, height, width, device, precision)[0], runtime))
        except CistaError as error:
            refused[f"{runtime} {precision}"] = str(error)
    operations = 2 * count_mac(network, height, width) / 1e9
    ceilings = {way.precision: MatrixProduct(device, DTYPES[way.precision]) for way, _ in made}
    times: list[list[float]] = [[] for _ in made]
    best = dict.fromkeys(ceilings, float("inf"))
    differences = torch.zeros(len(made), 2)  # the largest and the mean of an image
    generator = torch.Generator().manual_seed(0)
    rounds, deadline = 0, None
    with torch.inference_mode():
        while deadline is None or rounds < WARM_UP + 5 or time.perf_counter() < deadline:
            grid = torch.randn(network.bins, height, width, generator=generator)
            grid = (grid * (torch.rand(grid.shape, generator=generator) < FILLED)).to(device)
            images = []
            for samples, (way, _) in zip(times, made, strict=True):
                taken, image = timed(partial(way.step, grid), device)
                samples.append(taken)
                images.append(image.float().clone())
            for precision, ceiling in ceilings.items():
                best[precision] = min(best[precision], ceiling.seconds())
            changes = [(image - images[0]).abs() for image in images]
            found = torch.tensor([(change.max().item(), change.mean().item()) for change in changes])
            differences = differences.maximum(found)
            rounds += 1
            if rounds == WARM_UP:
                deadline = time.perf_counter() + seconds
    rows = []
    reference, *_ = times = [samples[WARM_UP:] for samples in times]
    for (way, called), samples, (difference, mean) in zip(made, times, differences.tolist(), strict=True):
        median, fastest = statistics.median(samples), min(samples)
        tenths = statistics.quantiles(samples, n=10)
        ceiling_gflops = ceilings[way.precision].gflop / best[way.precision]
        rows.append(
            Row(
                network=name,
                runtime=called if called != "auto" else f"auto ({way.name})",
                device=str(device),
                precision=way.precision,
                height=height,
                width=width,
                steps=len(samples),
                ms_median=1e3 * median,
                ms_min=1e3 * fastest,
                ms_p10=1e3 * tenths[0],
                ms_p90=1e3 * tenths[-1],
                ratio=statistics.median(reference) / median,
                ratio_min=min(reference) / fastest,
                gflops=operations / median,
                ceiling_gflops=ceiling_gflops,
                ceiling_share=operations / fastest / ceiling_gflops,
                difference=difference,
                difference_mean=mean,
            )
        )
    return rows, refused


class MatrixProduct:
    """One large matrix product by the fastest library of the machine: the ceiling for the network's arithmetic."""

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        n = (CEILING_SIZE if dtype is torch.float32 else CEILING_SIZE_HALF)[device.type]
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        self.gflop = 2 * n**3 / 1e9
        self._device = device
        pack = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None) if device.type == "cpu" else None
        self._run: Callable[[], object] = lambda: a @ b
        if pack and torch.backends.mkldnn.is_available():
            packed = pack(b, n)
            self._run = lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")

    def seconds(self) -> float:
        """Return the time of one product."""
        return timed(self._run, self._device)[0]
