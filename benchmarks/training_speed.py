"""Measure simulation and training: sequences per second, their shares of the time, iterations in a given time.

python benchmarks/training_speed.py CONFIG PICTURES [--device cuda] [--set data.batch=64] [--iterations 10]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cista_ros.reconstructor import choose_device
from cista_ros.simulation.pictures import load_pictures
from cista_ros.simulation.sequences import simulate
from cista_ros.training.config_files import load_config
from cista_ros.training.loop import Clock
from cista_ros.training.perceptual import load_distance
from cista_ros.training.state import TrainingState
from cista_ros.training.trainer import Trainer, Workers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a recipe's name or a YAML file")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=25.0, help="time to plan for")
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--heads", type=Path)
    options = parser.parse_args()

    # The full length of sequences from the first iteration on: what most of a training is made of.
    config = load_config(options.config, [*options.overrides, "data.windows_grow=0"])
    device = choose_device(options.device)
    distance = load_distance(options.backbone, options.heads, device) if config.loss.perceptual else None
    trainer = Trainer(TrainingState(config), load_pictures(options.pictures), Workers(0, 1, device), distance)
    data, size = config.data, (config.data.size, config.data.size)

    def alone() -> None:
        generator = torch.Generator(device).manual_seed(0)
        simulate(trainer.pictures, config.simulation, data.batch, data.windows, size, config.network.bins, generator)

    per_batch = seconds(alone, options.iterations, device)
    clock = Clock(device)
    for _ in range(2):
        trainer.iterate(clock)
    clock.restart()
    for _ in range(options.iterations):
        trainer.iterate(clock)
    parts = {name: value / options.iterations for name, value in clock.seconds.items()}
    total = sum(parts.values())
    print(f"{config.name} on {device}: {data.batch} sequences of {data.windows} windows of {data.size}x{data.size}")
    for what, taken in (("simulator alone", per_batch), ("training", total)):
        rate = data.batch / taken
        print(f"{what:16} {rate:9.2f} sequences/s  {rate * data.windows:9.1f} windows/s")
    print("shares           " + ", ".join(f"{name} {value / total:.0%}" for name, value in parts.items()))
    print(f"{options.minutes:g} minutes hold about {int(60 * options.minutes / total)} iterations")
    if device.type == "cuda":
        print(f"largest memory   {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB")


def seconds(work: Callable[[], None], times: int, device: torch.device) -> float:
    """Mean seconds of a piece of work, after two warm-ups."""
    for _ in range(2):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(times):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / times


if __name__ == "__main__":
    main()
