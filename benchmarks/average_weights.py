"""Average two sets of weights of one architecture: weight-space ensembling (WiSE-FT, Wortsman et al., CVPR 2022).

    python benchmarks/average_weights.py OLD NEW SHARE -o OUT.safetensors

OUT has 1 - SHARE of OLD and SHARE of NEW, with the metadata of NEW. NEW must be fine-tuned from OLD. Kernels become
bfloat16 numbers, as `cista train` does after training with mixed precision; thresholds theta below zero become zero.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open

from cista_ros.networks import load_network, save_network


def main() -> None:
    """Average, and keep the metadata of the new weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="name or file of the initial weights")
    parser.add_argument("new", type=Path, help="weights fine-tuned from them")
    parser.add_argument("share", type=float, help="share of NEW, from 0 to 1")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    network, new = load_network(options.old), load_network(options.new)
    if network.config != new.config:
        raise SystemExit(f"the architectures differ: {network.config}, {new.config}")
    with safe_open(options.new, "pt") as file:
        metadata = dict(file.metadata() or {})
    old_values, new_values = network.state_dict(), new.state_dict()
    mixed = {key: torch.lerp(old_values[key], new_values[key], options.share) for key in old_values}
    mixed = {key: value.clamp(min=0) if key.endswith("theta") else value for key, value in mixed.items()}
    network.load_state_dict({k: v.bfloat16().float() if v.ndim == 4 else v for k, v in mixed.items()})
    network.conventions = new.conventions
    own = {"name", "iterations", "sequences", "hours", "machine", "scores", "training"}
    save_network(network, options.output, {key: value for key, value in metadata.items() if key in own})


if __name__ == "__main__":
    main()
