"""Score networks on simulated sequences of pictures that no training used; print a Markdown table.

    python benchmarks/held_out.py PICTURES WEIGHTS … [--sequences 20] [--windows 100] [--size 128] [--drift]

With --drift, instead show the error along one long sequence (--windows 1000), and the contrast that remains after the
scene has come to rest.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cista_ros.networks import Network, load_network
from cista_ros.reconstructor import choose_device
from cista_ros.simulation.pictures import Pictures, load_pictures, split_held_out
from cista_ros.simulation.sequences import MotionConfig, Sequences, SimulationConfig
from cista_ros.training.config import DataConfig
from cista_ros.training.perceptual import load_distance
from cista_ros.training.validation import held_out_sequences, reconstruct, score


def main() -> None:
    """Read the command line, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("weights", nargs="+", help="names of shipped weights, or files")
    parser.add_argument("--sequences", type=int, default=20)
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--drift", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--heads", type=Path)
    options = parser.parse_args()

    device = choose_device(options.device)
    _, held_out = split_held_out(load_pictures(options.pictures), DataConfig().held_out)
    networks = {name: load_network(name).to(device) for name in options.weights}
    # Windows at rest repeat the score of the image before them.
    config = SimulationConfig(motion=MotionConfig(rests=0.0))
    if options.drift:
        config = replace(config, motion=replace(config.motion, events_per_pixel=(0.3, 0.3), pauses=0.0))
    size = (options.size, options.size)
    sequences = held_out_sequences(Pictures(held_out, device), config, options.sequences, options.windows, size, bins=5)
    if options.drift:
        _print_drift(networks, sequences)
        return
    distance = load_distance(options.backbone, options.heads, device) if options.backbone else None
    print(
        f"Simulated held-out set: {options.sequences} sequences of {options.windows} windows at"
        f" {options.size}x{options.size}, from {len(held_out)} pictures; all windows count.\n"
    )
    for i, (name, network) in enumerate(networks.items()):
        images, zeros = reconstruct(network, sequences.voxels)
        scores = {**score(images, sequences.images[1:], distance), "zeros": math.nan if zeros is None else zeros}
        if not i:
            print("| weights | parameters | " + " | ".join(scores) + " |\n|---|" + "---:|" * (len(scores) + 1))
        parameters = sum(p.numel() for p in network.parameters())
        print(
            f"| {Path(name).name} | {parameters:,} | " + " | ".join(f"{v:.3f}" for v in scores.values()) + " |",
            flush=True,
        )


def _print_drift(networks: dict[str, Network], sequences: Sequences) -> None:
    truth = sequences.images[1:]
    still = sequences.voxels.clone()
    half = len(still) // 2
    still[half:] = 0  # the scene is at rest, without noise
    print(
        "Mean squared error in each tenth of the sequence; contrast (standard deviation) after 1, 10, 100 … windows at"
    )
    print("rest, relative to the last image before the rest; mean absolute difference to that image.\n")
    for name, network in networks.items():
        images, _ = reconstruct(network, sequences.voxels)
        errors = (images - truth).square().mean((1, 2, 3, 4))
        tenths = " ".join(f"{float(part.mean()):.4f}" for part in errors.chunk(10))
        rest, _ = reconstruct(network, still)
        contrast = _contrast(rest)
        before = contrast[half - 1]
        steps = [n for n in (1, 10, 100, 1000) if half - 1 + n < len(contrast)]
        left = " ".join(f"{n}: {float(contrast[half - 1 + n] / before):.2f}" for n in steps)
        changes = (rest - rest[half - 1]).abs().flatten(1).mean(1)
        changed = " ".join(f"{n}: {float(changes[half - 1 + n]):.3f}" for n in steps)
        print(f"{Path(name).name}: {tenths} | {left} | {changed}", flush=True)


def _contrast(images: Tensor) -> Tensor:
    return images.flatten(2).std(-1).mean(1)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
