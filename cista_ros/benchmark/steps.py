"""Times of a network's step, by several runtimes in turn: what disturbs one sample disturbs its neighbours alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import CistaError
from ..networks import Network
from ..runtime import Eager, Runtime, make_runtime
from .operations import MatrixProduct, count_operations, synchronise

WARM_UP = 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Events fill about a third of a voxel grid's cells.
FILLED = 0.3


@dataclass(frozen=True)
class Row:
    """One way to run one network at one size. Ratios are of medians, reference / this; shares are of the ceiling.

    The ceiling is one large matrix product in the same precision. Differences are the largest, and the worst mean of an
    image, from the reference.
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
        runtimes: (runtime, precision), as make_runtime takes them; the reference comes first by itself.
        seconds: how long to go on, after warming up; at least five rounds are made.
    Returns:
        rows, and why those runtimes that could not run could not: "runtime precision" -> reason.
    """
    made: list[tuple[Runtime, str]] = [(Eager(network), "reference")]
    refused: dict[str, str] = {}
    for runtime, precision in runtimes:
        try:
            made.append((make_runtime(runtime, network, height, width, device, precision)[0], runtime))
        except CistaError as error:
            refused[f"{runtime} {precision}"] = str(error)
    operations = count_operations(network, height, width)
    ceilings = {runtime.precision: MatrixProduct(device, DTYPES[runtime.precision]) for runtime, _ in made}
    times: list[list[float]] = [[] for _ in made]
    best = dict.fromkeys(ceilings, float("inf"))
    differences, means = [0.0] * len(made), [0.0] * len(made)
    generator = torch.Generator().manual_seed(0)
    rounds, deadline = 0, None
    with torch.inference_mode():
        while deadline is None or rounds < WARM_UP + 5 or time.perf_counter() < deadline:
            grid = torch.randn(network.bins, height, width, generator=generator)
            grid = (grid * (torch.rand(grid.shape, generator=generator) < FILLED)).to(device)
            images = []
            for i, (runtime, _) in enumerate(made):
                synchronise(device)
                began = time.perf_counter()
                image = runtime.step(grid)
                synchronise(device)
                if rounds >= WARM_UP:
                    times[i].append(time.perf_counter() - began)
                images.append(image.float().clone())
            for precision, ceiling in ceilings.items():
                best[precision] = min(best[precision], ceiling.seconds())
            for i, image in enumerate(images):
                difference = (image - images[0]).abs()
                differences[i] = max(differences[i], difference.max().item())
                means[i] = max(means[i], difference.mean().item())
            rounds += 1
            if rounds == WARM_UP:
                deadline = time.perf_counter() + seconds
    # The fastest of each: what the machine can do when nothing disturbs it.
    peaks = {precision: ceiling.gflop / best[precision] for precision, ceiling in ceilings.items()}
    rows = []
    reference = times[0]
    for (runtime, called), samples, difference, mean in zip(made, times, differences, means, strict=True):
        median, fastest = statistics.median(samples), min(samples)
        tenths = statistics.quantiles(samples, n=10)
        rows.append(
            Row(
                network=name,
                runtime=called if called != "auto" else f"auto ({runtime.name})",
                device=str(device),
                precision=runtime.precision,
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
                ceiling_gflops=peaks[runtime.precision],
                ceiling_share=operations / fastest / peaks[runtime.precision],
                difference=difference,
                difference_mean=mean,
            )
        )
    return rows, refused
